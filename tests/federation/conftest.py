"""What federation tests share: quick run records, and a real SuperLink process of ours to knock at."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from secure_fl.config_sources import resolve
from secure_fl.federation.kits import kit_node_config, secagg_node_config
from secure_fl.federation.launch import execute
from secure_fl.federation.pki import FederationKeys, provision
from secure_fl.federation.processes import Child
from secure_fl.federation.site import MessageApp, SiteSettings, run_site
from secure_fl.runs import Event, RunRecord
from tests.federation.adversaries import Gated

MakeRecord = Callable[..., RunRecord]

SMALL = ("samples=200", "test-samples=100", "local-epochs=1", "rounds=2", "sites=3", "min-size=5")


@pytest.fixture
def make_record(home: Path) -> MakeRecord:
    """`make_record("rounds=1", …)`: a record of the smallest real run (digits, light CNN)."""

    def make(*assignments: str) -> RunRecord:
        resolved = resolve(flags={}, assignments=(*SMALL, *assignments), environ={}, preset="smoke")
        return RunRecord.create(home, resolved, command=("test",))

    return make


@dataclass(frozen=True)
class RunningSuperLink:
    """A SuperLink process behind our gates, its ports, its keys and the record that it writes to."""

    child: Child
    keys: FederationKeys
    record: RunRecord
    outer_port: int
    inner_port: int
    control_secret: str
    superexec_secret: str

    def names(self, who: str, reason: str, *, within_s: float = 10.0) -> bool:
        """Whether the record names this refusal; it is written a moment after the peer was cut off."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if (who, reason) in [(e["who"], e["reason"]) for e in self.record.events() if e.kind == "site-refused"]:
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuperLink]:
    """One SuperLink for the tests of a module; site-0 and site-1 are in its roster, site-2 is not."""
    home = tmp_path_factory.mktemp("superlink")
    record = RunRecord.create(home, resolve(flags={}, environ={}, preset="smoke"), command=("test",))
    keys = provision(home / "federation", sites=3, hosts=["127.0.0.1"])
    roster = record.folder / "roster.json"
    roster.write_text(keys.roster.first(2).to_json())
    control, superexec = secrets.token_hex(16), secrets.token_hex(32)
    child = Child("secure_fl.federation.superlink", log=home / "superlink.log", environ=os.environ)
    try:
        child.send(
            {
                "host": "127.0.0.1",
                "port": 0,
                "ca": str(keys.ca_certificate),
                "certificate": str(keys.server_certificate),
                "key": str(keys.server_key),
                "roster": str(roster),
                "run_dir": str(record.folder),
                "allow_stock": False,
                "control_secret": control,
                "key_log": "",
                "control_certificate": "",
                "superexec_secret": superexec,
            }
        )
        ports = child.receive(60)
        assert ports is not None, "the superlink did not start"
        yield RunningSuperLink(child, keys, record, ports["outer_port"], ports["inner_port"], control, superexec)
    finally:
        child.stop()


class Federation:
    """A deployment that runs in a thread of the test, with sites of the test's own beside it."""

    def __init__(self, record: RunRecord, home: Path) -> None:
        self.record, self._home = record, home
        self._stop = threading.Event()
        self._gates: list[Gated] = []
        self._pool = ThreadPoolExecutor(max_workers=32)
        self._run = self._pool.submit(execute, record, home)

    def wait_for(
        self, kind: str, *, count: int = 1, within_s: float = 120.0, after: int = -1, **fields: object
    ) -> list[Event]:
        """The first `count` events of this kind with these fields, as soon as there are that many."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self.find(kind, after=after, **fields)
            if len(found) >= count:
                return found
            if self._run.done():
                break
            time.sleep(0.05)
        found = self.find(kind, after=after, **fields)
        assert len(found) >= count, f"{len(found)} of {count} {kind} {fields}; {self._kinds()}"
        return found

    def find(self, kind: str, *, after: int = -1, **fields: object) -> list[Event]:
        """The events of this kind with these fields so far, `after` a sequence number."""
        events = [event for event in self.record.events() if event.kind == kind and event.seq > after]
        return [event for event in events if all(event.get(name) == value for name, value in fields.items())]

    def join(
        self, index: int, app: MessageApp, stop: threading.Event | None = None, *, kits: Path | None = None
    ) -> Future[None]:
        """Start a site of the test's own, with the kit of site `index`: from `kits`, or where it was made."""
        if isinstance(app, Gated):
            self._gates.append(app)
        address = str(self.wait_for("federation-started")[0]["address"]).replace("0.0.0.0:", "127.0.0.1:")
        kit = (kits or self._home / "federation" / "sites") / f"site-{index}"
        own = (
            kit_node_config(kit) if self.record.config.secagg == "none" else secagg_node_config(kit, self.record.config)
        )
        config = {"partition-id": index, **own}
        settings = SiteSettings(address=address, kit=str(kit), name=kit.name, node_config=config, give_up_after_s=5.0)
        ended = stop or self._stop
        return self._pool.submit(run_site, settings, app, stop=lambda: ended.is_set() or self._stop.is_set())

    def pid(self, name: str) -> int:
        """Process id of a site that the deployment started."""
        return int(self.wait_for("process-started", name=name)[0]["pid"])

    def result(self, timeout_s: float = 240.0) -> None:
        """Wait for the end; raises what `execute` raised."""
        self._run.result(timeout_s)

    def close(self) -> None:
        """End everything that the test started."""
        self.record.request_stop()
        self._stop.set()
        for gate in self._gates:
            gate.open(10_000)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _kinds(self) -> list[str]:
        return [event.kind for event in self.record.events()]


@pytest.fixture
def federate(make_record: MakeRecord, home: Path) -> Iterator[Callable[..., Federation]]:
    """`federate("sites=4", …)`: a running deployment; all of it has ended when the test ends."""
    running: list[Federation] = []

    def start(*assignments: str) -> Federation:
        running.append(Federation(make_record("grid=deployment", *assignments), home))
        return running[-1]

    yield start
    for each in running:
        each.close()
