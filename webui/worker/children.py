"""A job as a process: started so that nothing of ours can be slowed by it, found again after we died, and ended.

Each job leads a session and process group of its own: a signal to us does not reach it, and its end takes all that it
started along. It runs at nice 10 with one OpenMP thread, with arguments as a list, never through a shell. A variable
in its environment names the job, so that a process whose number was not written down in time is found all the same.

Linux weighs sessions against each other ("autogroups", sched(7)), and the nice value of a process only against others
of its session. So a job at nice 10 in a session of its own would take as much from the pages as one at nice 0;
`stay_low` gives its sessions, and those that sites open for themselves, a third of the pages' weight: enough for pages
to be quick, and for a job to go on where a machine is never idle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import secure_fl
from secure_fl.runs.liveness import is_alive

__all__ = ["Child", "adopt", "launch"]

_NICE = 10
_NICE_OF_SESSIONS = 5  # 335 against 1024, where all want the processor
_MARK = "SECURE_FL_JOB"
_CODE = Path(secure_fl.__file__).parents[1]


@dataclass(slots=True)
class Child:
    """One job's process; `process` is None for one that another worker started."""

    job_id: str
    pid: int
    born_s: float
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    _low: set[int] = field(default_factory=set)

    def ended(self) -> bool:
        """Whether it is over; `exit_code` is then what its parent could see, if that is us."""
        if self.process is None:
            return not is_alive(self.pid, self.born_s)
        self.exit_code = self.process.poll()
        return self.exit_code is not None

    def family(self) -> list[psutil.Process]:
        """The job's process and all below it; none once it is over."""
        try:
            leader = psutil.Process(self.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return []

    def stay_low(self, family: Sequence[psutil.Process]) -> None:
        """Lower the weight of every session of its `family`; to be called now and then, for new ones."""
        for each in family:
            with suppress(OSError):  # it is gone, another system, or too much at once: the next call tries again
                session = os.getsid(each.pid)
                if session not in self._low:
                    Path(f"/proc/{each.pid}/autogroup").write_text(str(_NICE_OF_SESSIONS))
                    self._low.add(session)

    def ask_to_stop(self) -> None:
        """SIGTERM to the leader alone: it finishes its round, saves, and ends the others itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def end_family(self) -> None:
        """SIGKILL to whatever of it is left; by its mark, since its number may be somebody else's by now."""
        for process in _marked(self.job_id):
            with suppress(psutil.Error):
                process.kill()


def launch(job_id: str, arguments: Sequence[str], *, home: Path, folder: Path, environ: Mapping[str, str]) -> Child:
    """Start `secure-fl ARGUMENTS` with its output in `folder`."""
    kept = {name: value for name, value in environ.items() if not name.startswith("SFL_")}  # those are settings
    command = [sys.executable, "-P", "-m", "secure_fl", "--home", str(home), "--format", "jsonl", *arguments]
    with (folder / "stdout.jsonl").open("wb") as out, (folder / "stderr.log").open("wb") as err:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=home,
            env={**kept, _MARK: job_id, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_CODE)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    with suppress(OSError):  # gone already
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return Child(job_id, process.pid, _born_s(process.pid), process)


def adopt(job_id: str, pid: int | None, born_s: float | None) -> Child | None:
    """The process of a job that another worker started; None if it never was, or is no more.

    One whose number was not written down is found by its mark.
    """
    if pid is not None and born_s is not None:
        return Child(job_id, pid, born_s)
    for process in _marked(job_id):
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == process.pid:
                return Child(job_id, process.pid, process.create_time())
    return None


def _marked(job_id: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or not ours to look at
            if process.environ().get(_MARK) == job_id:
                yield process


def _born_s(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
