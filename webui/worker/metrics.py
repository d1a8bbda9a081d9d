"""What the machine and our processes are doing, once a second: read where it disturbs nobody, in the worker.

{"cpu": %, "cores": n, "load": 1 min, "memory": bytes, "memory_total": bytes, "disk": bytes, "disk_total": bytes,
 "sent_s": bytes/s, "received_s": bytes/s,
 "processes": [{"name": "pages" | "worker" | "job …", "pid": n, "cpu": % of one core, "memory": bytes}]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Sampler"]


class Sampler:
    """Each call tells what happened since the one before; the first tells zeros where a span is needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._network: tuple[float, int, int] | None = None
        self._processor: dict[int, tuple[float, float]] = {}  # leader's pid → (moment, CPU seconds of its family)
        self._pages: list[psutil.Process] = []
        psutil.cpu_percent()

    def __call__(self, now_s: float, jobs: Mapping[str, Sequence[psutil.Process]]) -> dict[str, Any]:
        """One sample; `jobs` is title → the processes of what runs, their leader first."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._home))
        if not self._pages or not all(each.is_running() for each in self._pages):
            self._pages = _pages()  # asked seldom: it reads what every process of the machine is
        named = {"worker": [psutil.Process()], "pages": self._pages, **{f"job {key}": jobs[key] for key in jobs}}
        processes = [self._process(name, family, now_s) for name, family in named.items() if family]
        leaders = {family[0].pid for family in named.values() if family}
        self._processor = {pid: each for pid, each in self._processor.items() if pid in leaders}
        return {
            "cpu": psutil.cpu_percent(),
            "cores": psutil.cpu_count() or 1,
            "load": round(os.getloadavg()[0], 2),
            "memory": memory.total - memory.available,
            "memory_total": memory.total,
            "disk": disk.used,
            "disk_total": disk.total,
            **self._traffic(now_s),
            "processes": [each for each in processes if each is not None],
        }

    def _traffic(self, now_s: float) -> dict[str, float]:
        counted = psutil.net_io_counters()
        sent, received = (counted.bytes_sent, counted.bytes_recv) if counted else (0, 0)
        before, self._network = self._network, (now_s, sent, received)
        if before is None or now_s <= before[0]:
            return {"sent_s": 0.0, "received_s": 0.0}
        span = now_s - before[0]
        return {"sent_s": round((sent - before[1]) / span), "received_s": round((received - before[2]) / span)}

    def _process(self, name: str, family: Sequence[psutil.Process], now_s: float) -> dict[str, Any] | None:
        try:
            times = [each.cpu_times() for each in family]
            memory = sum(each.memory_info().rss for each in family)
        except psutil.Error:
            return None
        total, pid = sum(each.user + each.system for each in times), family[0].pid
        moment, before = self._processor.get(pid, (now_s, total))
        self._processor[pid] = (now_s, total)
        cpu = 100 * max(0.0, total - before) / (now_s - moment) if now_s > moment else 0.0
        return {"name": name, "pid": pid, "cpu": round(cpu, 1), "memory": memory}


def _pages() -> list[psutil.Process]:
    """The web server beside us and its own processes, if the same `serve` started both."""
    try:
        for each in psutil.Process(os.getppid()).children():
            if "http" in each.cmdline()[1:5]:
                return [each, *each.children(recursive=True)]
    except psutil.Error:
        pass
    return []
