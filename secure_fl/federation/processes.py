"""Child processes that cannot be orphaned and that are told secrets only through a pipe.

A child runs `python -m MODULE` in a session of its own (so that Ctrl-C in the terminal reaches only
the launcher), speaks JSON lines on standard input and output, and logs to a file. It treats the end
of standard input as the order to stop: when the launcher dies, however it dies, the pipe closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from secure_fl.errors import FederationError

__all__ = ["Child", "claim_stdout", "die_with_parent"]


class Child:
    """One child process and its two-way channel of JSON lines."""

    def __init__(self, module: str, *, log: Path, environ: Mapping[str, str]) -> None:
        self._module = module
        self._log = log
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with log.open("ab") as stream:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=dict(environ),
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one JSON line to the child.

        Raises:
            FederationError: the child has ended.
        """
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise self._ended()
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except OSError:
            raise self._ended() from None

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line from the child, or None when none came in time.

        Raises:
            FederationError: the child has ended, or reports an error of its own.
        """
        try:
            message = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if message is None:
            self._inbox.put(None)
            raise self._ended()
        if "error" in message:
            raise FederationError(str(message["error"]), fix=f"see {self._log}")
        return message

    def stop(self, grace_s: float = 10.0) -> None:
        """Close the channel, wait, then insist. Never raises; the process is gone afterwards."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for action in (self._process.terminate, self._kill_group):
            try:
                self._process.wait(grace_s)
                break
            except subprocess.TimeoutExpired:
                action()
        self._process.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def _ended(self) -> FederationError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        tail = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        name = self._module.rpartition(".")[2]
        return FederationError(
            f"the {name} process ended unexpectedly (exit status {self._process.returncode})",
            why=tail[0] if tail else "",
            fix=f"see {self._log}",
        )


def claim_stdout() -> Callable[[dict[str, Any]], None]:
    """In a child: keep standard output for JSON lines; whatever else prints goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def report(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return report


def die_with_parent(parent: int) -> None:
    """In a forked child: be killed when process `parent` ends.

    Linux does this at once (prctl); elsewhere, and against the race at start, a thread looks.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
