"""The worker's loop: take over what is running, watch it, end what is to end, start what waits; twice a second.

There is one worker for a home (a file lock; a second one waits for its turn). It may be killed at any moment: the jobs
are not its children in any sense that matters, and whoever comes next finds each by its row or its mark. It leaves
jobs running when it is asked to end, so a restart of the Command Center loses nothing.

Slots: one job that computes, and one audit beside it, which only reads.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import tomli_w

from secure_fl.errors import SecureFLError
from webui.orders import arguments
from webui.settings import Settings
from webui.store.actions import Actions
from webui.store.db import Database
from webui.store.jobs import Job, Jobs, JobState
from webui.store.samples import Samples
from webui.worker.children import Child, adopt, launch
from webui.worker.metrics import Sampler
from webui.worker.outcome import outcome, run_id

__all__ = ["SLOTS", "Loop", "job_folder", "work"]

SLOTS = (frozenset({"run", "resume", "replay", "compare"}), frozenset({"audit"}))
TICK_S = 0.5
# How long a job may take to finish its round after it was asked to stop.
GRACE_S = 60.0
_log = logging.getLogger(__name__)


def work(settings: Settings, *, parent: int | None = None) -> int:
    """Be the worker until SIGTERM or SIGINT, or until process `parent` is gone; returns 0."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stopping.append(got))

    def over() -> bool:
        return bool(stopping) or (parent is not None and os.getppid() != parent)

    with _alone(settings, over) as mine:
        loop = Loop(settings) if mine else None
        while loop is not None and not over():
            loop.tick()
            time.sleep(TICK_S)
    return 0


class Loop:
    """What the worker knows; `tick` is one turn, and everything else follows from the table."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time, grace_s: float = GRACE_S) -> None:
        database = Database(settings.database)
        self._settings, self._clock, self._grace_s = settings, clock, grace_s
        self._jobs, self._samples = Jobs(database, clock), Samples(database)
        self._actions = Actions(database, clock, settings.signing_key())
        self._children: dict[str, Child] = {}
        self._asked: set[str] = set()
        self._sampler, self._sampled_s = Sampler(settings.home), 0
        self._born_s = psutil.Process().create_time()

    def tick(self) -> None:
        """One turn."""
        running = self._jobs.running()
        for job in running:
            self._watch(job)
        busy = {job.kind for job in self._jobs.running()}
        for kinds in SLOTS:
            claimed = None if busy & kinds else self._jobs.claim(kinds)
            if claimed is not None:
                self._start(claimed)
        self._sample(running)

    def _watch(self, job: Job) -> None:
        child = self._children.get(job.id) or adopt(job.id, job.pid, job.pid_born_s)
        if child is None:  # a worker died between its claim and the start
            self._jobs.requeue(job.id)
            return
        self._children[job.id] = child
        if job.pid is None:
            self._jobs.has_process(job.id, child.pid, child.born_s)
        if job.run_id is None and (found := run_id(job_folder(self._settings, job.id))):
            self._jobs.writes(job.id, found)
        if child.ended():
            self._finish(job, child)
        elif job.cancel_s is not None:
            self._stop(job, child)

    def _stop(self, job: Job, child: Child) -> None:
        if self._clock() - (job.cancel_s or 0.0) > self._grace_s:
            child.end_family()
        elif job.id not in self._asked:
            self._asked.add(job.id)
            child.ask_to_stop()

    def _start(self, job: Job) -> None:
        folder = job_folder(self._settings, job.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = folder / "config.toml"
        config.write_text(tomli_w.dumps({"secure-fl": dict(job.request.get("settings", {}))}), encoding="utf-8")
        try:
            command = arguments(job.kind, job.request, self._settings.home, config)
            child = launch(job.id, command, home=self._settings.home, folder=folder, environ=os.environ)
        except (OSError, SecureFLError) as error:
            self._jobs.finish(job.id, JobState.FAILED, None, str(error))
            return
        self._children[job.id] = child
        self._jobs.has_process(job.id, child.pid, child.born_s)

    def _finish(self, job: Job, child: Child) -> None:
        child.end_family()
        found = outcome(
            job_folder(self._settings, job.id), exit_code=child.exit_code, cancelled=job.cancel_s is not None
        )
        self._jobs.finish(job.id, found.state, found.exit_code, found.message)
        self._actions.add("job ended", found.state.value, object=f"{job.kind} {job.id}", user_name="worker")
        self._children.pop(job.id, None)
        self._asked.discard(job.id)

    def _sample(self, running: list[Job]) -> None:
        now = int(self._clock())
        if now == self._sampled_s:
            return
        self._sampled_s = now
        families = {}
        for job in running:
            if child := self._children.get(job.id):
                families[job.title] = family = child.family()
                child.stay_low(family)
        self._samples.add(now, self._sampler(self._clock(), families))
        self._jobs.beat(os.getpid(), self._born_s)


def job_folder(settings: Settings, id: str) -> Path:
    """Where a job's settings and output lie."""
    return settings.folder / "jobs" / id


@contextmanager
def _alone(settings: Settings, over: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock of the home's worker; False if `over` came before our turn."""
    handle = os.open(settings.folder / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waited = False
        while not over():
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    _log.warning("another worker runs the jobs of this home; waiting for its end")
                waited = True
                time.sleep(TICK_S)
                continue
            yield True
            return
        yield False
    finally:
        os.close(handle)
