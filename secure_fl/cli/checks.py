"""The checks of `secure-fl doctor` on the machine and on what a federation keeps on it.

A check is a function that returns `Check`s and changes nothing. `fix` is a command or an action;
it is there whenever the level is not ok. `fail` means that a run would not work, or not safely.
"""

from __future__ import annotations

import datetime
import errno
import os
import shutil
import socket
import sqlite3
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secure_fl.cli.output import shown_path

__all__ = [
    "Check",
    "certificates",
    "disk",
    "memory",
    "port",
    "private_keys",
    "processor",
    "python",
    "runs",
    "shared_memory",
]

GIB = 2**30
MIB = 2**20
PYTHON = (3, 11)
LEAST_FREE_BYTES = 500 * MIB
GOOD_FREE_BYTES = 3 * GIB
# Resident memory as measured on the deployment grid, rounded up; what the processes share is counted for each.
SITE_BYTES = 600 * MIB
COORDINATOR_BYTES = 1 * GIB
SHM = Path("/dev/shm")  # noqa: S108
SHM_BYTES = 64 * MIB
EXPIRY_DAYS = 30


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    level: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """The interpreter is new enough."""
    found = ".".join(map(str, version))
    if version < PYTHON:
        return Check(
            "python", "fail", f"{found} is too old", "install Python 3.11 or newer, and make a new environment"
        )
    return Check("python", "ok", found)


def processor() -> Check:
    """Cores and how busy they are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    found = f"{cores} cores, load {load:.1f}"
    if load > 2 * cores:
        return Check("processor", "warn", f"{found}: busy", "wait for other work to end, or expect slow rounds")
    return Check("processor", "ok", found)


def memory(available_bytes: int, sites: int = 5) -> Check:
    """Enough memory for `sites` site processes and a coordinator."""
    need = COORDINATOR_BYTES + sites * SITE_BYTES
    found = f"{available_bytes / GIB:.1f} GiB available; {sites} sites on this machine need about {need / GIB:.1f} GiB"
    if available_bytes < need:
        return Check("memory", "warn", found, "run with --grid local, or fewer --sites")
    return Check("memory", "ok", found)


def shared_memory(folder: Path = SHM) -> Check:
    """Room in shared memory, which Flower's simulation engine uses."""
    if not folder.is_dir():
        return Check("shared memory", "ok", f"{folder} is not there; only --grid ray would use it")
    free = shutil.disk_usage(folder).free
    if free < SHM_BYTES:
        fix = "in a container: start it with --shm-size=1g; or avoid --grid ray"
        return Check("shared memory", "warn", f"{free / MIB:.0f} MiB free in {folder}", fix)
    return Check("shared memory", "ok", f"{free / GIB:.1f} GiB free in {folder}")


def port(host: str = "127.0.0.1", number: int = 0) -> Check:
    """The coordinator can listen (0: on any free port)."""
    try:
        with socket.create_server((host, number)) as listener:
            return Check("port", "ok", f"{host}:{listener.getsockname()[1]} can be listened on")
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        return Check("port", "fail", f"{host}:{number} {reason}", "choose another with -c port=NUMBER, or 0 for any")


def disk(home: Path) -> Check:
    """The home folder can be written, and has room for records."""
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("disk", "fail", f"{shown_path(place)} cannot be written", "choose another place: --home DIR")
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free for {home}"
    if free < LEAST_FREE_BYTES:
        return Check("disk", "fail", found, "free some space, or choose another place: --home DIR")
    if free < GOOD_FREE_BYTES:
        return Check("disk", "warn", found, "delete runs you do not need: secure-fl runs list, runs delete RUN")
    return Check("disk", "ok", found)


def certificates(folder: Path, *, now: datetime.datetime | None = None) -> list[Check]:
    """No certificate of the federation in `folder` has expired or soon will; and whose are not here to be looked at."""
    from secure_fl.federation.kits import kit_is_here

    kits = [file for file in sorted(folder.glob("sites/*/tls.crt")) if kit_is_here(file.parent)]
    files = [file for file in (folder / "ca.crt", folder / "server.crt", *kits) if file.exists()]
    if not files:
        return [Check("certificates", "ok", "none yet; the first run on the deployment grid makes them")]
    moment = now or datetime.datetime.now(datetime.UTC)
    checks = [each for file in files if (each := _certificate(file, moment, signer=folder / "ca.key"))]
    good = [Check("certificates", "ok", f"{len(files)} valid for more than {EXPIRY_DAYS} days")]
    return [*(checks or good), *_kits_elsewhere(folder)]


def _kits_elsewhere(folder: Path) -> list[Check]:
    """The sites whose certificates cannot be judged here: the roster holds their fingerprints only."""
    from secure_fl.errors import SecureFLError
    from secure_fl.federation.pki import absent_kits

    try:
        absent = [entry.name for entry in absent_kits(folder)]
    except SecureFLError as error:
        return [Check("roster", "fail", str(error), "restore it from a backup")]
    if not absent:
        return []
    names = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
    found = f"not known for kits that are elsewhere ({names}): `federation site` warns of the end in its own log"
    return [Check("certificates", "ok", found)]


def _certificate(file: Path, now: datetime.datetime, *, signer: Path) -> Check | None:
    """A check for a certificate that needs attention; None for a good one. `signer`: where ca.key should be."""
    from cryptography import x509

    anew = "the next run renews it; a site elsewhere needs the new tls.crt"
    if not signer.exists():
        anew = f"bring ca.key to {shown_path(signer.parent)}, and: secure-fl federation provision"
    if file.name == "ca.crt":
        anew = f"move {shown_path(file.parent)} away; the next run makes a new authority, and sites need new kits"
    try:
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return Check("certificates", "fail", f"{shown_path(file)} cannot be read", "restore it from a backup")
    if ends <= now:
        return Check("certificates", "fail", f"{shown_path(file)} expired on {ends:%Y-%m-%d}", anew)
    if ends - now < datetime.timedelta(days=EXPIRY_DAYS):
        return Check("certificates", "warn", f"{shown_path(file)} expires on {ends:%Y-%m-%d}", anew)
    return None


def private_keys(folder: Path) -> list[Check]:
    """Private keys can be read by their owner only."""
    keys = sorted(folder.rglob("*.key"))
    loose = [key for key in keys if stat.S_IMODE(key.stat().st_mode) & 0o077]
    if loose:
        fix = f"chmod 600 {' '.join(shown_path(key) for key in loose)}"
        return [Check("private keys", "fail", f"{len(loose)} can be read by others", fix)]
    return [Check("private keys", "ok", f"{len(keys)}, all for their owner only")] if keys else []


def runs(home: Path) -> Check:
    """The index of runs can be read."""
    from secure_fl.errors import SecureFLError

    if not (home / "runs").is_dir():
        return Check("runs", "ok", "none yet")
    from secure_fl.runs.index import DAMAGED, RunIndex

    try:
        rows = RunIndex(home).list()
    except (SecureFLError, sqlite3.Error, OSError) as error:
        index = shown_path(home / "runs" / "index.sqlite")
        return Check("runs", "fail", f"the index cannot be read: {error}", f"rm {index} (it is made anew)")
    damaged = [row.id for row in rows if row.status == DAMAGED]
    if damaged:
        found = f"{len(rows)} recorded, {len(damaged)} of them damaged: {', '.join(damaged[:3])}"
        return Check("runs", "warn", found, f"secure-fl runs show {damaged[0]}")
    return Check("runs", "ok", f"{len(rows)} recorded")
