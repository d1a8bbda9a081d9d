"""Stock Flower on one machine: a SuperLink over TLS, some SuperNodes, and their end.

The keys come from our own authority and nodes are admitted through Flower's Control API; the processes are
Flower's commands as installed, with the settings that they have by default. Telemetry, update checks and
the installation of dependencies are off: they would only add to the peer's time.

Flower starts its own children in sessions of their own, so ending a process group would miss them: every
descendant is noted before its parent is told to stop, and whatever is left after that is killed by its id.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import tomli_w
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest, StartRunRequest, StreamLogsRequest
from flwr.proto.run_pb2 import Run
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab

from secure_fl.federation.control import control_connection, register
from secure_fl.federation.pki import provision

__all__ = ["StockDeployment", "StockFlowerError"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StockFlowerError(Exception):
    """The stock deployment did not do its part; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class _Program:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class StockDeployment:
    """Context manager: all processes are up when it is entered, and gone when it is left.

    Args:
        folder: private and empty; keys, logs and Flower's own home go there.
        sites: number of SuperNodes.
    """

    def __init__(self, folder: Path, sites: int) -> None:
        self._folder, self._sites = folder, sites
        self._keys = provision(folder / "federation", sites=sites, hosts=["127.0.0.1"])
        self._port, *self._node_ports = _free_ports(sites + 1)
        self._programs: list[_Program] = []
        self._environ = _environment(folder / "flower")

    def __enter__(self) -> StockDeployment:
        try:
            self._start_superlink()
            with self._control() as client:
                register(client, self._keys.roster)
            for index in range(self._sites):
                self._start_supernode(index)
            self._wait("all SuperNodes are online", lambda: self._online() == self._sites)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def pids(self) -> list[int]:
        """The processes that we started, and all that they have started."""
        return [each.pid for each in self._family()]

    def start(self, settings: Mapping[str, str]) -> int:
        """Start a run of the apps in this package with `settings` as its run config; returns its id."""
        bundle = _bundle(settings)
        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        with self._control() as client:
            return client.StartRun(StartRunRequest(fab=fab_to_proto(fab), federation="", app_spec="")).run_id

    def state(self, run_id: int) -> Run:
        """Status and traffic counters of a run, as the SuperLink keeps them.

        `bytes_sent` and `bytes_recv` count the bodies of messages and objects to and from all SuperNodes.
        """
        self._check_alive()
        with self._control() as client:
            run: Run = client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id]
        return run

    def log_of(self, run_id: int) -> str:
        """What the ServerApp has printed; only for a run that has ended (Flower streams until then)."""
        with self._control() as client:
            return "".join(each.log_output for each in client.StreamLogs(StreamLogsRequest(run_id=run_id)))

    def _control(self) -> AbstractContextManager[ControlHttpClient]:
        return control_connection(self._port, ca=self._keys.ca_certificate, secret="")

    def _start_superlink(self) -> None:
        tls = {
            "--ssl-ca-certfile": self._keys.ca_certificate,
            "--ssl-certfile": self._keys.server_certificate,
            "--ssl-keyfile": self._keys.server_key,
        }
        options = [str(each) for pair in tls.items() for each in pair]
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        self._start("flower-superlink", "superlink", [*address, *options, "--enable-supernode-auth"])
        trusted = ssl.create_default_context(cafile=str(self._keys.ca_certificate))
        self._wait("the SuperLink answers", lambda: _healthy(f"https://127.0.0.1:{self._port}/health", trusted))

    def _start_supernode(self, index: int) -> None:
        kit = self._keys.kit(f"site-{index}")
        options = {
            "--superlink": f"127.0.0.1:{self._port}",
            "--root-certificates": kit / "ca.crt",
            "--auth-supernode-private-key": kit / "node.key",
            "--host": "127.0.0.1",
            "--port": self._node_ports[index],
            "--node-config": f"partition-id={index} num-partitions={self._sites}",
        }
        self._start("flower-supernode", f"supernode-{index}", [str(each) for pair in options.items() for each in pair])

    def _start(self, command: str, name: str, arguments: Sequence[str]) -> None:
        program = Path(sys.executable).with_name(command)
        if not program.exists():
            raise StockFlowerError(f"{command} is not beside {sys.executable}: is Flower installed there?")
        log = self._folder / f"{name}.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [str(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self._environ,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._programs.append(_Program(name, process, log))

    def _online(self) -> int:
        with self._control() as client:
            nodes = client.ListNodes(ListNodesRequest()).nodes_info
        return sum(node.status == "online" for node in nodes)

    def _wait(self, until: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not done():
            self._check_alive()
            if time.monotonic() > deadline:
                raise StockFlowerError(f"waited {_START_TIMEOUT_S:.0f} s in vain until {until}")
            time.sleep(0.25)

    def _check_alive(self) -> None:
        for each in self._programs:
            if (status := each.process.poll()) is not None:
                tail = "\n".join(each.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                raise StockFlowerError(f"{each.name} ended with status {status}\n{tail}")

    def _family(self) -> list[psutil.Process]:
        found = []
        for each in self._programs:
            try:
                parent = psutil.Process(each.process.pid)
                found += [parent, *parent.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found

    def _stop(self) -> None:
        """SuperNodes first, then the SuperLink, which waits for them; then whatever is left."""
        family = self._family()
        for group in (self._programs[1:], self._programs[:1]):
            for each in group:
                if each.process.poll() is None:
                    each.process.send_signal(signal.SIGTERM)
            for each in group:
                try:
                    each.process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    each.process.kill()
                    each.process.wait()
        _, left = psutil.wait_procs(family, timeout=2.0)
        for survivor in left:
            try:
                survivor.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5.0)
        self._programs.clear()


def _end_with_parent() -> None:
    """In the child, before the program starts: be told to stop when we die, however we die (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment(flower_home: Path) -> dict[str, str]:
    """Flower starts its children by name and they import the apps by name: hence PATH and PYTHONPATH."""
    flower_home.mkdir()
    return os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(_ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def _bundle(settings: Mapping[str, str]) -> bytes:
    """A Flower App Bundle that names the apps of this package and carries no code."""
    app = {
        "publisher": "benchmarks",
        "components": {
            "serverapp": "benchmarks.stock_flower.server_app:app",
            "clientapp": "benchmarks.stock_flower.client_app:app",
        },
        "config": dict(settings),
    }
    project = {
        "project": {"name": "stock-flower", "version": "1.0.0", "dependencies": ["flwr>=1.41.0"]},
        "tool": {"flwr": {"app": app}},
    }
    bundle, _ = build_fab_from_files({"pyproject.toml": tomli_w.dumps(project).encode()})
    return bundle


def _healthy(url: str, trusted: ssl.SSLContext) -> bool:
    try:
        return httpx.get(url, verify=trusted, timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_ports(count: int) -> list[int]:
    """Distinct TCP ports of the loopback address that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
