"""The queue: in order, once, and in exactly one state."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from secure_fl.errors import ConfigError, NotFoundError
from tests.webui.conftest import Clock
from webui.services import Services
from webui.store.jobs import Job, JobState
from webui.store.users import Role, User


@pytest.fixture
def put(services: Services, make_user: Callable[..., User]) -> Callable[..., Job]:
    owner = make_user(Role.OPERATOR, "otto")

    def submit(kind: str = "run", key: str | None = None, **request: object) -> Job:
        return services.jobs.submit(owner, kind, kind, request, key=key)

    return submit


def test_who_came_first_is_taken_first_and_once(services: Services, put: Callable[..., Job]) -> None:
    ids = [put().id for _ in range(20)]
    taken: list[str] = []

    def work() -> None:
        while job := services.jobs.claim({"run"}):
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(taken) == sorted(ids) and len(set(taken)) == 20


def test_only_what_was_asked_for_is_taken(services: Services, put: Callable[..., Job]) -> None:
    audit = put("audit")
    assert services.jobs.claim({"run", "resume"}) is None
    claimed = services.jobs.claim({"audit"})
    assert claimed is not None and (claimed.id, claimed.state) == (audit.id, JobState.RUNNING)


def test_the_same_key_at_the_same_time_is_one_job(services: Services, put: Callable[..., Job]) -> None:
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(put(key="k", rounds=3).id)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(seen)) == 1 and len(seen) == 8
    with pytest.raises(ConfigError, match="another order"):
        put(key="k", rounds=4)


def test_the_first_verdict_counts_and_nothing_undoes_it(services: Services, put: Callable[..., Job]) -> None:
    job = put()
    services.jobs.finish(job.id, JobState.FAILED, 1, "not even started")
    assert services.jobs.get(job.id).state is JobState.QUEUED
    services.jobs.claim({"run"})
    services.jobs.finish(job.id, JobState.SUCCEEDED, 0, "")
    services.jobs.finish(job.id, JobState.FAILED, 1, "late")
    services.jobs.requeue(job.id)
    assert services.jobs.cancel(job.id).state is JobState.SUCCEEDED


def test_a_worker_that_fell_silent_is_gone(services: Services, clock: Clock) -> None:
    assert services.jobs.worker() is None
    services.jobs.beat(7, clock())
    for silence, alive in ((5.0, True), (0.5, False)):
        clock.now += silence
        worker = services.jobs.worker()
        assert worker is not None and (worker.pid, worker.alive) == (7, alive)


def test_there_is_no_job_until_there_is_one(services: Services) -> None:
    with pytest.raises(NotFoundError):
        services.jobs.get("1")
    assert services.jobs.of_run("r") is None
    assert services.jobs.unfinished() == []
