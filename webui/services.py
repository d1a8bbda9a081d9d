"""What a view calls: the stores and the settings of this application, in one object."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from webui.auth.passwords import Passwords
from webui.inference.service import ModelService
from webui.live import Hub
from webui.reading.records import Records
from webui.settings import Settings
from webui.store.actions import Actions
from webui.store.db import Database
from webui.store.flags import Flags
from webui.store.jobs import Jobs
from webui.store.samples import Samples
from webui.store.serving import Serving
from webui.store.sessions import Sessions
from webui.store.users import Users

__all__ = ["Services", "open_services", "services"]

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Services:
    """One of each, over one database."""

    settings: Settings
    clock: Clock
    database: Database
    users: Users
    sessions: Sessions
    actions: Actions
    jobs: Jobs
    samples: Samples
    passwords: Passwords
    records: Records
    serving: Serving
    flags: Flags
    models: ModelService
    hub: Hub


def open_services(settings: Settings, clock: Clock = time.time) -> Services:
    """Open the database of `settings`, made or brought up to date where needed."""
    database = Database(settings.database)
    jobs, records = Jobs(database, clock), Records(settings.home)
    serving = Serving(database, clock)
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        users=Users(database, clock),
        sessions=Sessions(database, clock, idle_s=settings.idle_s, longest_s=settings.longest_s),
        actions=Actions(database, clock, settings.signing_key()),
        jobs=jobs,
        samples=Samples(database),
        passwords=Passwords(memory_kib=settings.argon2_memory_kib),
        records=records,
        serving=serving,
        flags=Flags(database, clock),
        models=ModelService(settings.home, records, serving),
        hub=Hub(lambda: (jobs.signature(), records.signature()), clock=clock),
    )


def services() -> Services:
    """Those of the application that answers this request."""
    found: Services = current_app.extensions["services"]
    return found
