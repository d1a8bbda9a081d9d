"""The application as a whole: what it loads, what it never tells, and what survives its end."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.webui.conftest import PASSWORD, ROOT, TOTP_SECRET, Browser, Clock, run_ids
from tests.webui.test_permissions import path_of, routes
from webui.app import create_app
from webui.services import Services
from webui.settings import Settings
from webui.store.users import Role, User

# These two load the model that is in service, and with it torch; nothing else does.
MODEL = ("/classify", "/api/v1/models/current")
HEAVY = ("flwr", "opacus", "torch", "ray", "secure_fl.app", "secure_fl.training", "secure_fl.federation")


def pages(app: Flask, run_id: str, user: User) -> Iterator[str]:
    """Every address that can be read, with ids of things that are there."""
    for method, rule in routes(app):
        if method == "GET" and not rule.rule.endswith("/events"):
            path = path_of(rule).replace("<id>", {"/admi": user.id}.get(rule.rule[:5], run_id))
            for part, value in {"<tab>": "log", "<form>": "html", "<name>": "digits"}.items():
                path = path.replace(part, value)
            yield path.replace("<", "").replace(">", "")


def contents(services: Services) -> str:
    """A digest of every row of the database."""
    lines = "\n".join(services.database.reading().iterdump())
    return hashlib.sha256(lines.encode()).hexdigest()


def test_reading_never_changes_anything(
    app: Flask, services: Services, client_as: Callable[..., Browser], full_home: Path
) -> None:
    run_id = run_ids(full_home)["plain"]
    browser = client_as(Role.ADMIN)
    assert browser.user is not None
    before, statuses = contents(services), {}
    for path in pages(app, run_id, browser.user):
        statuses[path] = browser.get(path).status_code
    assert contents(services) == before
    assert {path: status for path, status in statuses.items() if status >= 500} == {}
    assert sum(status == 200 for status in statuses.values()) > 25


def test_no_answer_and_no_log_tells_a_secret(
    app: Flask,
    services: Services,
    client_as: Callable[..., Browser],
    full_home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_id = run_ids(full_home)["plain"]
    caplog.set_level(logging.DEBUG)
    browser = client_as(Role.ADMIN)
    assert browser.user is not None
    known = services.users.credentials(browser.user.name)
    assert known is not None
    secrets = [
        PASSWORD,
        TOTP_SECRET,
        known.password_hash,
        services.settings.metrics_token(),
        *services.settings.secret_keys(),
        services.settings.signing_key().private_bytes_raw().hex(),
        str(browser.cookie()),
    ]
    browser.post("/login", data={"name": "anna", "password": PASSWORD + "!"})
    browser.post("/account/password", data={"current": PASSWORD, "password": PASSWORD + " 2", "again": "no"})
    told = [browser.get(path).get_data(as_text=True) for path in pages(app, run_id, browser.user)]
    told += [record.getMessage() for record in caplog.records]
    told += [json.dumps([str(each) for each in services.actions.latest(limit=1000)])]
    assert [secret for secret in secrets for text in told if secret in text] == []


def test_a_restart_keeps_sessions_and_jobs(
    settings: Settings, clock: Clock, services: Services, client_as: Callable[..., Browser]
) -> None:
    browser = client_as(Role.OPERATOR)
    job = browser.post("/api/v1/runs", json={"preset": "smoke"}).json["id"]
    id = browser.cookie()
    assert id is not None
    again = create_app(settings, clock=clock).test_client()
    again.set_cookie("__Host-sid", id, domain="localhost", secure=True)
    found = Browser(again).get(f"/api/v1/jobs/{job}")
    assert (found.status_code, found.json["state"]) == (200, "queued")
    assert services.actions.verify().ok


def test_the_pages_load_neither_flower_nor_training_code(recorded: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from tests.webui.conftest import BASE
from tests.webui.test_permissions import routes
from tests.webui.test_app import pages
from webui.app import create_app
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role
import tempfile, shutil
home = Path(tempfile.mkdtemp()) / "home"
shutil.copytree({str(recorded)!r}, home)
app = create_app(Settings(home=home, argon2_memory_kib=64, limits=False))
here = app.extensions["services"]
user = here.users.add("anna", Role.ADMIN, "")
client = app.test_client()
id = here.sessions.start(user.id, Stage.FULL, address="", agent="")
client.set_cookie("__Host-sid", id, domain="localhost", secure=True)
run = sorted(each.name for each in (home / "runs").iterdir() if each.is_dir())[0]
served = [client.get(path, base_url=BASE).status_code for path in pages(app, run, user) if path not in {MODEL!r}]
shutil.rmtree(home.parent)
assert served.count(200) > 25, served
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"
