"""A stock `flower-supernode`, with nothing of ours but the installed package, takes part."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.federation.conftest import Federation

Federate = Callable[..., Federation]


@contextmanager
def supernode(running: Federation, home: Path, index: int, port: int) -> Iterator[None]:
    """Start Flower's own SuperNode for site `index`; end it with everything that it started."""
    kit = home / "federation" / "sites" / f"site-{index}"
    scripts = Path(sys.executable).parent
    command = [
        *(str(scripts / "flower-supernode"), "--superlink", running.wait_for("federation-started")[0]["address"]),
        *("--root-certificates", str(kit / "ca.crt"), "--auth-supernode-private-key", str(kit / "node.key")),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--node-config", f'partition-id={index} site="{kit.name}" identity-key="{kit / "identity.key"}"'),
    ]
    environ = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
    with (home / "supernode.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        yield
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=15)
        for each in alive:
            each.kill()
        process.wait()


def test_a_stock_supernode_trains_beside_our_sites_and_the_record_says_that_it_was_allowed(
    federate: Federate, home: Path, free_port: int
):
    running = federate("sites=3", "remote-sites=1", "rounds=1", "allow-stock-supernodes=true", "round-timeout-s=240")
    running.wait_for("process-started", name="coordinator")  # by then its node key is registered
    with supernode(running, home, 2, free_port):
        running.result(420)
    started = running.find("federation-started")[0]
    assert (started["mutual_tls"], started["stock_supernodes"]) == (False, True)
    assert {e["site"] for e in running.find("reply-accepted")} == {"site-0", "site-1", "site-2"}


def test_a_stock_supernode_is_turned_away_unless_it_was_allowed(federate: Federate, home: Path, free_port: int):
    running = federate("sites=3", "remote-sites=1", "rounds=1", "join-timeout-s=30", "quorum=0.6")
    with supernode(running, home, 2, free_port):
        running.wait_for("site-refused", reason="no client certificate")
        running.result(300)
    assert {e["site"] for e in running.find("reply-accepted")} == {"site-0", "site-1"}
