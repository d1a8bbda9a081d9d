"""What a run costs the machine: CPU and memory once a second, for the paper's resource figure.

Each line of `resources.jsonl` is one sample:

    t_s               seconds since this sampler began (a resumed run appends, and begins at 0 again)
    time_s            seconds since 1970, to place the rounds of `events.jsonl` beside it
    cpu_percent       the whole machine; 100 means all cores busy
    memory_used_bytes the whole machine: total minus available
    run_cpu_percent   this process and all its descendants, on the same scale
    run_memory_bytes  the same processes

`run_memory_bytes` sums RSS − shared over the processes and adds the largest shared part once, so that
libraries that all of them map are not counted over and over. The exact figure (USS) costs 13 ms a process
with torch loaded, this one 0.03 ms (measured); it is high where two processes map different libraries less,
and low where a forked child shares its parent's pages. The CPU time of a process that ends between two
samples is lost from its last sample on.

Figures are of this machine only; what remote sites use is in their replies (`reply-accepted`).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

__all__ = ["ProcessTree", "ResourceSampler", "Sample", "read_samples"]

_log = logging.getLogger(__name__)
_FIRST_S = 0.1
# CPU figures of a shorter interval are noise: process times tick in hundredths of a second.
_SHORTEST_S = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `resources.jsonl`; the module's docstring has the units."""

    t_s: float
    time_s: float
    cpu_percent: float
    memory_used_bytes: int
    run_cpu_percent: float
    run_memory_bytes: int


class ProcessTree:
    """CPU seconds and memory of a process and all its descendants; they may die at any moment."""

    def __init__(self, root_pid: int) -> None:
        import psutil

        self._root = psutil.Process(root_pid)
        # By process (pid and birth time, so that a reused pid is another process), the CPU seconds seen.
        self._seen_s: dict[psutil.Process, float] = {}
        self.measure()

    def measure(self) -> tuple[float, int]:
        """CPU seconds used since the last call, and memory in bytes now."""
        used_s, private_bytes, shared_bytes = 0.0, 0, 0
        seen_s: dict[psutil.Process, float] = {}
        for process in self._processes():
            usage = _usage(process)
            if usage is None:
                continue
            seen_s[process], memory_bytes, shared = usage
            used_s += max(0.0, seen_s[process] - self._seen_s.get(process, 0.0))
            private_bytes += max(0, memory_bytes - shared)
            shared_bytes = max(shared_bytes, shared)
        self._seen_s = seen_s
        return used_s, private_bytes + shared_bytes

    def _processes(self) -> list[psutil.Process]:
        import psutil

        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []


def _usage(process: psutil.Process) -> tuple[float, int, int] | None:
    """CPU seconds, resident bytes and shared bytes; None when the process has just ended."""
    import psutil

    try:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
    except psutil.Error:
        return None
    return times.user + times.system, memory.rss, getattr(memory, "shared", 0)


class ResourceSampler:
    """Context manager: samples in a thread of its own until the block ends.

    The first sample is taken after a tenth of a second and the last when the block ends, so that even a
    short run has some. If the disk refuses, the run goes on without samples and the log says so once.
    """

    def __init__(
        self,
        path: Path,
        *,
        period_s: float = 1.0,
        root_pid: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if period_s <= 0:
            raise ValueError(f"period_s is {period_s}; it must be positive")
        self.path = path
        self.period_s = period_s
        self._tree = ProcessTree(os.getpid() if root_pid is None else root_pid)
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resource-sampler", daemon=True)

    def __enter__(self) -> ResourceSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            self._sample_until_over()
        except OSError as error:
            _log.warning("resource use is no longer recorded: %s", error)

    def _sample_until_over(self) -> None:
        began_s = previous_s = time.monotonic()
        self._tree.measure()
        machine_percent()  # like `measure`: the first call only sets the mark that the next one counts from
        due_s, count = began_s + min(_FIRST_S, self.period_s), 0
        with self.path.open("a", encoding="utf-8") as file:
            while True:
                is_over = self._over.wait(max(0.0, due_s - time.monotonic()))
                now_s = time.monotonic()
                if is_over and count and now_s - previous_s < _SHORTEST_S:
                    return
                sample = self._sample(now_s - began_s, now_s - previous_s)
                file.write(json.dumps(asdict(sample)) + "\n")
                file.flush()
                if is_over:
                    return
                previous_s, count = now_s, count + 1
                due_s = began_s + self.period_s * (1 + (now_s - began_s) // self.period_s)

    def _sample(self, t_s: float, interval_s: float) -> Sample:
        import psutil

        used_s, memory_bytes = self._tree.measure()
        memory = psutil.virtual_memory()
        capacity_s = interval_s * (psutil.cpu_count() or 1)
        return Sample(
            t_s=round(t_s, 3),
            time_s=round(self._clock(), 3),
            cpu_percent=machine_percent(),
            memory_used_bytes=memory.total - memory.available,
            run_cpu_percent=round(min(100.0, 100.0 * used_s / capacity_s), 1) if capacity_s > 0 else 0.0,
            run_memory_bytes=memory_bytes,
        )


def machine_percent() -> float:
    """CPU of the whole machine since the last call in this thread, 0 to 100."""
    import psutil

    return psutil.cpu_percent(None)


def read_samples(path: Path) -> list[Sample]:
    """All samples of a file, oldest first; none when there is no file. A line torn by a crash is left out."""
    if not path.exists():
        return []
    samples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            samples.append(Sample(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return samples
