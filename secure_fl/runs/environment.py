"""Where a run took place: enough to explain a number a year later, nothing that names the person.

Host name, user, paths and network addresses are left out on purpose; a record is made to be shared.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import secure_fl

__all__ = ["PACKAGES", "environment", "git_state"]

# What can change a result, or the wire.
PACKAGES = ("flwr", "torch", "torchvision", "numpy", "safetensors", "scikit-learn", "pillow", "cryptography", "psutil")
_GIT_TIMEOUT_S = 5.0


def environment(source: Path | None = None) -> dict[str, Any]:
    """A JSON-able description; `source` is the tree whose git state counts (ours by default)."""
    import psutil

    return {
        "secure_fl": secure_fl.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_model": cpu_model(),
        "cpu_cores_physical": psutil.cpu_count(logical=False),
        "cpu_cores_logical": psutil.cpu_count(),
        "cpu_cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": {name: package_version(name) for name in PACKAGES},
        "git": git_state(source or Path(secure_fl.__file__).resolve().parent.parent),
    }


def package_version(name: str) -> str | None:
    """The installed version, or None; reads metadata only, imports nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the kernel gives it, or the machine type where it gives none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine()


def git_state(source: Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of a checkout whose root is `source`; None when it is not one.

    A tree without commits has commit None. `dirty` counts changed and untracked files.
    """
    git = shutil.which("git")
    if git is None or not (source / ".git").exists():
        return None
    status = _git(git, source, "status", "--porcelain")
    if status is None:
        return None
    return {"commit": _git(git, source, "rev-parse", "--verify", "--quiet", "HEAD") or None, "dirty": bool(status)}


def _git(git: str, source: Path, *arguments: str) -> str | None:
    """Git's answer, or None when it refuses (not our repository, no commit) or takes too long."""
    command = [git, "-C", str(source), *arguments]
    # Never lock or refresh the user's index, never page, never translate.
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, no shell, no text of a user
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False, env=quiet
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
