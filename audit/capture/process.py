"""The capture in a process of its own, for callers whose interpreter is busy with a run.

    with CaptureProcess(interface="lo", port=9092, path=folder / "wire.pcap") as capture:
        ...
    capture.account

The child is `python -m audit.capture.process`: settings come as one JSON line on standard input, answers go as JSON
lines to standard output, and the end of standard input is the order to stop. So no child outlives its parent, however
that dies, and Ctrl-C in the terminal, which ends the run, does not cut the capture short. It inherits privileges and
network namespace of its caller. A child that is killed leaves an account all the same: one that is a blind spot.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from audit.capture.account import CaptureAccount, CaptureUnavailable
from audit.capture.ring import RING_BYTES, Recording

__all__ = ["CaptureProcess", "main"]

_NICE = -10
_ROOT = Path(__file__).resolve().parents[2]  # where `audit` is imported from, in the child as here


class CaptureProcess:
    """Captures in a child process between `with` and its end; the interface of `Capture`.

    Entering raises `CaptureUnavailable`, and `OSError` where the file cannot be made.
    """

    def __init__(
        self,
        *,
        interface: str,
        port: int,
        path: Path,
        ring_bytes: int = RING_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = {"interface": interface, "port": port, "path": str(path), "ring_bytes": ring_bytes}
        self._interface, self._port, self._clock = interface, port, clock
        self._account: CaptureAccount | None = None
        self._started_s = 0.0
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> CaptureProcess:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._started_s = self._clock()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "audit.capture.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        answer = self._ask(self._child, json.dumps(self._settings).encode() + b"\n")
        if answer.get("ready"):
            return self
        status = self._end(self._child)
        if "error" in answer:
            raise OSError(answer["error"])
        raise CaptureUnavailable(answer.get("unavailable", f"the capturing process ended at once, status {status}"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is None:
            raise RuntimeError("a capture ends after it has begun")
        answer = self._ask(self._child, b"")
        status = self._end(self._child)
        try:
            self._account = CaptureAccount(**answer["account"])
        except (KeyError, TypeError):
            self._account = self._nothing(f"the capturing process ended with status {status} and gave no account")

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._child is None:
            raise RuntimeError("a capture has a process after it has begun")
        return self._child.pid

    @property
    def account(self) -> CaptureAccount:
        """What was captured and what was lost; once the `with` block has ended."""
        if self._account is None:
            raise RuntimeError("a capture gives its account after its end")
        return self._account

    @staticmethod
    def _ask(child: subprocess.Popen[bytes], line: bytes) -> Mapping[str, Any]:
        """Send `line`, or the order to stop if it is empty, and wait for the answer; empty if the child has ended."""
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child has no pipes")
        try:
            if line:
                child.stdin.write(line)
                child.stdin.flush()
            else:
                child.stdin.close()
            answer = json.loads(child.stdout.readline())
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> int:
        with child:  # closes the pipes and waits
            pass
        return int(child.returncode)

    def _nothing(self, failure: str) -> CaptureAccount:
        return CaptureAccount(
            interface=self._interface,
            port=self._port,
            packets=0,
            bytes=0,
            kernel_drops=0,
            freezes=0,
            sha256="",
            started_s=self._started_s,
            ended_s=self._clock(),
            failure=failure,
        )


def main() -> int:
    """The child. Exit status 0 with an account, 1 where nothing could be captured."""
    settings = json.loads(sys.stdin.buffer.readline())
    with suppress(PermissionError):  # where allowed, the watcher goes before the watched, or it loses what they send
        os.nice(_NICE)
    try:
        recording = Recording(
            settings["interface"],
            settings["port"],
            Path(settings["path"]),
            ring_bytes=settings["ring_bytes"],
            clock=time.time,
        )
    except CaptureUnavailable as error:
        _answer({"unavailable": error.reason})
        return 1
    except OSError as error:
        _answer({"error": str(error)})
        return 1
    _answer({"ready": True})
    account = recording.run(sys.stdin.fileno())
    _answer({"account": dataclasses.asdict(account)})
    return 0


def _answer(message: Mapping[str, Any]) -> None:
    # The parent may have died; the file is complete all the same, but there is nobody to tell.
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
