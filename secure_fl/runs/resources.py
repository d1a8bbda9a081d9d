"""What a run costs the machine: CPU and memory once a second, for the paper's resource figure.

Each line of `resources.jsonl` is one sample:

    t_s               seconds since this sampler began (a resumed run appends, and begins at 0 again)
    time_s            seconds since 1970, to place the rounds of `events.jsonl` beside it
    cpu_percent       the whole machine; 100 means all cores busy
    memory_used_bytes the whole machine: total minus available
    run_cpu_percent   this process and all its descendants, on the same scale
    run_memory_bytes  the same processes

`run_memory_bytes` is the sum of the processes' proportional set sizes (PSS: a page that n processes share counts
1/n for each), so that libraries and the pages that forked sites share are counted once. It costs 15 ms a process
with torch loaded, so it is taken every five seconds and stands until the next time. Where the system knows no PSS
(macOS), it is USS. The CPU time of a process that ends between two samples is lost from its last sample on.

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
_MEMORY_PERIOD_S = 5.0


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

    def __init__(self, root_pid: int, *, memory_period_s: float = _MEMORY_PERIOD_S) -> None:
        import psutil

        self._root = psutil.Process(root_pid)
        # By process (pid and birth time, so that a reused pid is another process), the CPU seconds seen.
        self._seen_s: dict[psutil.Process, float] = {}
        self._memory_bytes, self._memory_period_s = 0, memory_period_s
        self._memory_due_s = 0.0
        self.measure()

    def measure(self) -> tuple[float, int]:
        """CPU seconds used since the last call, and memory in bytes, at most a memory period old."""
        processes = self._processes()
        seen_s = {process: used for process in processes if (used := _cpu_s(process)) is not None}
        used_s = sum(max(0.0, used - self._seen_s.get(process, 0.0)) for process, used in seen_s.items())
        self._seen_s = seen_s
        if time.monotonic() >= self._memory_due_s:
            self._memory_bytes = sum(_memory_bytes(process) for process in processes)
            self._memory_due_s = time.monotonic() + self._memory_period_s
        return used_s, self._memory_bytes

    def _processes(self) -> list[psutil.Process]:
        import psutil

        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []


def _cpu_s(process: psutil.Process) -> float | None:
    """CPU seconds of a process; None when it has just ended."""
    import psutil

    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _memory_bytes(process: psutil.Process) -> int:
    """PSS, or USS where there is none; 0 when the process has just ended or may not be looked at."""
    import psutil

    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(memory, "pss", memory.uss))


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
