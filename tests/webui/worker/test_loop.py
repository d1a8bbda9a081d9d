"""Jobs as real processes: they succeed, are cancelled, and outlive whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from secure_fl.runs.index import RunIndex
from webui.orders import order
from webui.services import Services, open_services
from webui.settings import Settings
from webui.store.jobs import Job, JobState
from webui.store.users import Role, User
from webui.worker.loop import Loop

ROOT = Path(__file__).resolve().parents[3]
_SMALL = {"sites": 2, "rounds": 2, "samples": 200, "local-epochs": 1, "model": "light_cnn", "grid": "local"}
_LONG = {**_SMALL, "rounds": 400}
TRUTH_S = 10.0


@pytest.fixture
def services(home: Path) -> Services:  # on the real clock: processes have one
    return open_services(Settings(home=home, argon2_memory_kib=64))


@pytest.fixture
def owner(services: Services) -> User:
    return services.users.add("otto", Role.OPERATOR, "no password")


@pytest.fixture
def submit(services: Services, owner: User) -> Callable[..., Job]:
    def put(kind: str = "run", **wish: object) -> Job:
        made = order(kind, wish, services.settings.home)
        return services.jobs.submit(owner, made.kind, made.title, made.request)

    return put


@contextmanager
def a_worker(services: Services) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as `serve` starts it; what it started ends with the test."""
    command = [sys.executable, "-m", "webui", "worker", f"--home={services.settings.home}"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        for job in services.jobs.running():
            if job.pid is not None and psutil.pid_exists(job.pid):
                os.killpg(job.pid, signal.SIGKILL)


def until(condition: Callable[[], bool], limit_s: float = 60.0) -> float:
    """Seconds until `condition` held; fails after `limit_s`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, "it did not come to that in time"
        time.sleep(0.05)
    return time.monotonic() - began


def rounds_of(services: Services, job: Job) -> int:
    run_id = services.jobs.get(job.id).run_id
    return RunIndex(services.settings.home).row(run_id).round if run_id else 0


def test_a_run_at_low_priority_outlives_its_worker_and_the_next_one_takes_over(
    services: Services, submit: Callable[..., Job]
) -> None:
    job = submit(settings=_SMALL | {"rounds": 40})
    with a_worker(services) as first:
        until(lambda: rounds_of(services, job) >= 1)
        process = psutil.Process(services.jobs.get(job.id).pid)
        assert process.nice() == 10
        assert process.environ()["OMP_NUM_THREADS"] == "1"
        assert os.getsid(process.pid) == process.pid
        first.kill()
        first.wait()
        with a_worker(services):
            until(lambda: services.jobs.get(job.id).state.final)
    done = services.jobs.get(job.id)
    assert (done.state, done.exit_code, done.message) == (JobState.SUCCEEDED, 0, "")
    assert done.pid == process.pid, "the same process, to its end"
    (row,) = RunIndex(services.settings.home).list()
    assert (row.id, row.status, row.round) == (done.run_id, "succeeded", 40)
    seen = {each["name"] for sample in services.samples.since(1, 0) for each in sample["processes"]}
    assert {"worker", f"job {job.title}"} <= seen


def test_a_killed_run_is_shown_as_interrupted_and_goes_on_when_told(
    services: Services, submit: Callable[..., Job]
) -> None:
    job = submit(settings=_SMALL | {"rounds": 20})
    with a_worker(services):
        until(lambda: rounds_of(services, job) >= 1)
        os.kill(services.jobs.get(job.id).pid or 0, signal.SIGKILL)
        assert until(lambda: services.jobs.get(job.id).state.final) < TRUTH_S
        killed = services.jobs.get(job.id)
        assert (killed.state, killed.message) == (JobState.INTERRUPTED, "its process was killed by signal 9")
        again = submit("resume", run_id=killed.run_id)
        until(lambda: services.jobs.get(again.id).state.final)
    assert services.jobs.get(again.id).state is JobState.SUCCEEDED
    assert RunIndex(services.settings.home).row(killed.run_id or "").round == 20


def test_with_worker_and_run_both_killed_the_page_tells_the_truth(
    services: Services, submit: Callable[..., Job]
) -> None:
    job = submit(settings=_LONG)
    with a_worker(services) as worker:
        until(lambda: services.jobs.get(job.id).pid is not None)
        worker.kill()
        os.kill(services.jobs.get(job.id).pid or 0, signal.SIGKILL)
        assert until(lambda: services.jobs.get(job.id).state is JobState.INTERRUPTED) < TRUTH_S


def test_cancelling_lets_the_round_finish_and_saves(services: Services, submit: Callable[..., Job]) -> None:
    job, waiting = submit(settings=_LONG), submit(settings=_SMALL)
    with a_worker(services):
        until(lambda: rounds_of(services, job) >= 1)
        assert services.jobs.get(waiting.id).state is JobState.QUEUED, "one run at a time"
        assert services.jobs.cancel(waiting.id).state is JobState.CANCELLED
        services.jobs.cancel(job.id)
        until(lambda: services.jobs.get(job.id).state.final)
    done = services.jobs.get(job.id)
    assert done.state is JobState.CANCELLED
    assert RunIndex(services.settings.home).row(done.run_id or "").status == "interrupted"


def test_a_job_that_does_not_stop_is_ended(services: Services, submit: Callable[..., Job]) -> None:
    submit(settings=_LONG)
    loop = Loop(services.settings, grace_s=0.0)
    loop.tick()
    (job,) = services.jobs.running()
    os.kill(job.pid or 0, signal.SIGSTOP)  # it can hear nothing
    services.jobs.cancel(job.id)

    def ended() -> bool:
        loop.tick()
        return services.jobs.get(job.id).state.final

    until(ended, limit_s=TRUTH_S)
    assert services.jobs.get(job.id).state is JobState.CANCELLED


def test_a_claim_without_a_start_goes_back_to_the_queue(services: Services, submit: Callable[..., Job]) -> None:
    job = submit(settings=_SMALL)
    assert services.jobs.claim({"run"}) is not None  # and the worker dies here
    assert services.jobs.claim({"run"}) is None
    Loop(services.settings)._watch(services.jobs.running()[0])
    assert services.jobs.get(job.id).state is JobState.QUEUED


def test_a_start_that_was_not_written_down_is_found_by_its_mark(services: Services, submit: Callable[..., Job]) -> None:
    job = submit(settings=_LONG)
    Loop(services.settings).tick()
    pid = services.jobs.get(job.id).pid
    with services.database.writing() as connection:
        connection.execute("UPDATE jobs SET pid = NULL, pid_born_s = NULL")
    try:
        Loop(services.settings).tick()
        assert services.jobs.get(job.id).pid == pid
    finally:
        os.killpg(pid or 0, signal.SIGKILL)


def test_an_order_that_fails_says_why(services: Services, submit: Callable[..., Job]) -> None:
    job = submit(settings={"dataset": "nothing-here", **_SMALL})
    with a_worker(services):
        until(lambda: services.jobs.get(job.id).state.final)
    done = services.jobs.get(job.id)
    assert done.state is JobState.FAILED and done.exit_code in (2, 4)
    assert "nothing-here" in done.message
