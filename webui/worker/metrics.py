"""What the machine and our processes are doing, once a second: read where it disturbs nobody, in the worker.

{"cpu": %, "cores": n, "load": 1 min, "memory": bytes, "memory_total": bytes, "disk": bytes, "disk_total": bytes,
 "sent_s": bytes/s, "received_s": bytes/s,
 "processes": [{"name": "pages" | "worker" | "job …", "pid": n, "cpu": % of one core, "memory": bytes}]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Sampler"]


class Sampler:
    """Each call tells what happened since the one before; the first tells zeros where a span is needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._network: tuple[float, int, int] | None = None
        self._processor: dict[int, tuple[float, float]] = {}  # pid → (moment, CPU seconds of it and all below)
        psutil.cpu_percent()

    def __call__(self, now_s: float, jobs: Mapping[str, int]) -> dict[str, Any]:
        """One sample; `jobs` is title → pid of what runs."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._home))
        named = {"worker": os.getpid(), **_pages(), **{f"job {title}": pid for title, pid in jobs.items()}}
        processes = [self._process(name, pid, now_s) for name, pid in named.items()]
        self._processor = {pid: each for pid, each in self._processor.items() if pid in named.values()}
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

    def _process(self, name: str, pid: int, now_s: float) -> dict[str, Any] | None:
        try:
            leader = psutil.Process(pid)
            family = [leader, *leader.children(recursive=True)] if name != "worker" else [leader]
            times = [each.cpu_times() for each in family]
            memory = sum(each.memory_info().rss for each in family)
        except psutil.Error:
            return None
        total = sum(each.user + each.system for each in times)
        moment, before = self._processor.get(pid, (now_s, total))
        self._processor[pid] = (now_s, total)
        cpu = 100 * max(0.0, total - before) / (now_s - moment) if now_s > moment else 0.0
        return {"name": name, "pid": pid, "cpu": round(cpu, 1), "memory": memory}


def _pages() -> dict[str, int]:
    """The web server beside us, if the same `serve` started both."""
    try:
        beside = [each.pid for each in psutil.Process(os.getppid()).children() if "http" in each.cmdline()[1:5]]
    except psutil.Error:
        return {}
    return {"pages": beside[0]} if beside else {}
