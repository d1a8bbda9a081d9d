"""The machine and our processes on it, as they are this moment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Host", "Process", "host_of", "processes_of"]


@dataclass(frozen=True)
class Host:
    """Shares are 0 … 1. cpu: since the last call in this process; load: mean of runnable processes over a minute."""

    cpu: float
    cores: int
    load: float
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    received_bytes: int
    sent_bytes: int
    up_s: float

    @property
    def memory(self) -> float:
        return self.memory_used_bytes / self.memory_bytes

    @property
    def disk(self) -> float:
        return 1 - self.disk_free_bytes / self.disk_bytes


@dataclass(frozen=True)
class Process:
    """One of ours. cpu_s: used since it began; share: of one core, mean over its life."""

    role: str
    pid: int
    cpu_s: float
    share: float
    memory_bytes: int
    threads: int
    nice: int
    age_s: float
    depth: int


def host_of(home: Path) -> Host:
    """Figures of this machine, and of the disk on which `home` lies."""
    memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(str(home)), psutil.net_io_counters()
    return Host(
        cpu=psutil.cpu_percent(None) / 100,
        cores=psutil.cpu_count() or 1,
        load=os.getloadavg()[0],
        memory_bytes=memory.total,
        memory_used_bytes=memory.total - memory.available,
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        received_bytes=network.bytes_recv if network else 0,
        sent_bytes=network.bytes_sent if network else 0,
        up_s=time.time() - psutil.boot_time(),
    )


def processes_of(roots: Iterable[tuple[str, int]]) -> tuple[Process, ...]:
    """The processes that are named by role and pid, each followed by its descendants; those that ended are left out."""
    found: dict[int, Process] = {}
    for role, pid in roots:
        try:
            root = psutil.Process(pid)
            family = [(root, 0), *((child, 1) for child in root.children(recursive=True))]
        except psutil.Error:
            continue
        for process, depth in family:
            if process.pid not in found and (read := _read(process, role if depth == 0 else f"part of {role}", depth)):
                found[process.pid] = read
    return tuple(found.values())


def _read(process: psutil.Process, role: str, depth: int) -> Process | None:
    try:
        with process.oneshot():
            times, age_s = process.cpu_times(), max(0.01, time.time() - process.create_time())
            used_s = times.user + times.system
            return Process(
                role=role,
                pid=process.pid,
                cpu_s=used_s,
                share=used_s / age_s,
                memory_bytes=process.memory_info().rss,
                threads=process.num_threads(),
                nice=int(process.nice()),
                age_s=age_s,
                depth=depth,
            )
    except psutil.Error:
        return None
