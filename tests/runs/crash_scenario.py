"""Run as a program by test_crash.py: drives a record as a coordinator would, and is killed on the way.

    crash_scenario.py points TEMPLATE HOME   one process for each point at which it can be killed
    crash_scenario.py drive FOLDER           resume and go on for ever, one line on stdout for each step

A point is a moment before a system call that changes the disk, or the middle of a write. At the point the
process sends itself a real SIGKILL, so nothing is cleaned up. What had been acknowledged before is reported.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from secure_fl.runs import RunRecord

ROUNDS = 3


def vector(number: int) -> np.ndarray:
    """The model after a round, (1000,) float32."""
    return np.full(1000, number, dtype=np.float32)


def steps(record: RunRecord, rounds: range, say: Callable[[str, int], None]) -> None:
    """What a coordinator writes; `say` is told each step as soon as it is acknowledged."""
    record.append("run-started", pid=os.getpid(), resumed_from_round=rounds.start - 1 if rounds.start else None)
    say("started", 0)
    for number in rounds:
        record.append("round-started", round=number, sites=["site-0"])
        say("opened", number)
        checkpoint = record.save_checkpoint(number, vector(number), "5bec")
        say("saved", number)
        record.append(
            "round-finished",
            round=number,
            loss=1.0,
            accuracy=0.5,
            checkpoint=checkpoint.name,
            checkpoint_sha256=checkpoint.sha256,
        )
        say("finished", number)


def resume(record: RunRecord, rounds: int, say: Callable[[str, int], None] = lambda step, number: None) -> None:
    """Go on from the last complete round, for so many rounds in all."""
    last = record.last_checkpoint()
    steps(record, range(last.round + 1 if last else 0, rounds), say)


class Killer:
    """Counts the moments at which the disk is about to change, and ends the process at one of them."""

    def __init__(self, point: int) -> None:
        self.left = point
        self.write = os.write

    def install(self) -> None:
        for name in ("write", "fsync", "replace", "ftruncate", "rename"):
            setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **extra: Any) -> Any:
            self.moment(lambda: None)
            if name == "write":
                self.moment(lambda: real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2]))
            if name == "fsync" and os.readlink(f"/proc/self/fd/{arguments[0]}").endswith(".partial"):
                self.moment(lambda: os.truncate(arguments[0], os.fstat(arguments[0]).st_size // 2))
            return real(*arguments, **extra)

        return call

    def moment(self, half: Callable[[], Any]) -> None:
        if self.left == 0:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def run_until(point: int, record: RunRecord, pipe: int) -> NoReturn:
    """Drive the record, acknowledging each step through the pipe; end at the point, or at the end."""
    killer = Killer(point)
    killer.install()
    steps(record, range(ROUNDS), lambda step, number: killer.write(pipe, f"{step} {number}\n".encode()))
    os._exit(0)


def points(template: Path, home: Path) -> None:
    """Try point after point until the scenario ends before one is reached; report each as a line of JSON."""
    for point in itertools.count():
        folder = home / f"point-{point:03d}"
        shutil.copytree(template, folder)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            run_until(point, RunRecord.open(folder), writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:
            acknowledged = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        report = {"folder": str(folder), "acknowledged": acknowledged, "killed": killed, "status": status}
        print(json.dumps(report), flush=True)
        if not killed:
            return


def main() -> None:
    """See the top of the file."""
    match sys.argv[1:]:
        case ["points", template, home]:
            points(Path(template), Path(home))
        case ["drive", folder]:
            resume(RunRecord.open(Path(folder)), 10**6, lambda step, number: print(step, number, flush=True))
        case other:
            raise SystemExit(f"unknown arguments {other}")


if __name__ == "__main__":
    main()
