"""What every test stands on: a machine that is cut off from the network, steady randomness, and few threads.

A test may reach this machine only. Anything else fails as it would on an unplugged one, so a test that relies
on a download without saying so cannot pass by luck, and what we say about being offline is tested for real.
"""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before numpy or torch is imported: idle threads of a second pool slow the two cores of a small machine down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
# Before Flower is imported: no telemetry, no update check, and nothing of the user's own Flower settings.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
_FLOWER_HOME = tempfile.TemporaryDirectory(prefix="flwr-home-")
os.environ["FLWR_HOME"] = _FLOWER_HOME.name

import psutil
import pytest
from hypothesis import settings

# The same examples on every machine and in every run; a slow machine is no reason to fail.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

_ROOT = Path(__file__).resolve().parent.parent
_OWN = {each.address.partition("%")[0] for name in psutil.net_if_addrs().values() for each in name}


def _stays_here(host: str) -> bool:
    """Whether traffic to `host`, a number or name, cannot leave this machine."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", "localhost", socket.gethostname())
    return address.is_loopback or address.is_unspecified or str(address) in _OWN


def _unplugged(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): sees every connection and name look-up of this process, whoever makes it."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a local (AF_UNIX) socket has no host
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0] or ""
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if not _stays_here(host):
        raise OSError(errno.ENETUNREACH, f"tests are cut off from the network and may not reach {host}")


sys.addaudithook(_unplugged)


def pytest_collection_finish() -> None:
    """What is imported by now (torch, Flower) stays: the collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of larger real images (CIFAR-10, MedMNIST, pretrained weights); skips where there is none."""
    given = os.environ.get("SECURE_FL_SHARED_DATA")
    folder = Path(given) if given else _ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = "SECURE_FL_SHARED_DATA names no folder" if given else "set SECURE_FL_SHARED_DATA to their folder"
        pytest.skip(f"the larger real images are not on this machine: {where}")
    return folder


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as home of runs and keys, the current one too, with no setting left in the environment."""
    for name in [each for each in os.environ if each.startswith("SFL_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("SFL_HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder
