"""A federation of real processes over TLS: SuperLink, ServerApp, and the sites that live on this machine.

Start order: SuperLink and the preloaded host in parallel → register the roster's node keys → sites →
run → ServerApp. End order: sites, ServerApp, SuperLink. The launcher owns every process through pipes;
whether it returns, raises, or is killed, all of them end.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_fl.app.casting import NodeConfig, board_folder, parts
from secure_fl.app.identity import Roster, RosterEntry
from secure_fl.app.site_privacy import ledger_file
from secure_fl.config import RunConfig
from secure_fl.data import site_sizes
from secure_fl.errors import FederationError, SecureFLError
from secure_fl.federation.kits import kit_node_config, secagg_node_config
from secure_fl.federation.pki import FederationKeys, absent_kits, provision
from secure_fl.federation.processes import Child
from secure_fl.federation.quiet import FLOWER_ENVIRONMENT
from secure_fl.runs import RunRecord

if TYPE_CHECKING:
    from secure_fl.federation.auditing import Wiretap

__all__ = ["deploy"]

_START_TIMEOUT_S = 120.0
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  compared, not bound


def deploy(record: RunRecord, home: Path) -> None:
    """Run `record` on real processes; returns when the ServerApp has recorded the outcome and ended.

    Raises:
        FederationError: a site of this machine has its kit elsewhere, or ca.key is needed and not here (nothing has
            been started), or a process of ours failed. A run that failed by itself is in the record.
    """
    config = record.config
    _refuse_absent_kits(config, home / "federation")
    # Nobody is reached by the name of "every address"; a certificate for it would have to be signed for nothing.
    hosts = [] if config.host == _EVERY_ADDRESS else [config.host]
    keys = provision(home / "federation", sites=config.sites, hosts=hosts)
    here = config.sites - config.remote_sites
    roster = keys.roster.first(config.sites).declaring(dict(enumerate(site_sizes(config)[:here])))
    roster_file = record.folder / "roster.json"
    roster_file.write_text(roster.to_json(), encoding="utf-8")
    (record.folder / "logs").mkdir(exist_ok=True)
    with _flower_home() as flower_home, board_folder(record) as board, _wiretap(record, keys) as wiretap:
        cast = parts(config, board, wait_s=config.round_timeout_s / 2)
        deployment = _Deployment(record, keys, roster, roster_file, _environment(flower_home, config), cast, wiretap)
        try:
            deployment.run()
        except SecureFLError:
            if wiretap is not None:  # also what a failed run has said can be a leak
                wiretap.conclude(record, home)
            raise
        if wiretap is not None:
            wiretap.conclude(record, home)


def _refuse_absent_kits(config: RunConfig, folder: Path) -> None:
    """A site that we are to start must have its kit here: another in its place would lock the real one out."""
    here = config.sites - config.remote_sites
    absent = [entry for entry in absent_kits(folder) if entry.index < here]
    if absent:
        raise FederationError(
            f"{', '.join(entry.name for entry in absent)} cannot be started on this machine",
            why=f"{'the kit does' if len(absent) == 1 else 'the kits do'} not lie in {folder / 'sites'}",
            fix=f"-c remote-sites={config.sites - absent[0].index} if started elsewhere; if a kit is lost: "
            f"secure-fl federation provision --new-kit {absent[0].name}",
        )


@contextmanager
def _wiretap(record: RunRecord, keys: FederationKeys) -> Iterator[Wiretap | None]:
    """The audit of the run, if it is to have one."""
    if not record.config.audit:
        yield None
        return
    from secure_fl.federation.auditing import Wiretap

    with Wiretap(record.folder / "capture", keys) as wiretap:
        yield wiretap


def _reachable(host: str, port: int) -> str:
    """Where a client on this machine finds a listener of `host`."""
    return f"{'127.0.0.1' if host == _EVERY_ADDRESS else host}:{port}"


@dataclass
class _Deployment:
    record: RunRecord
    keys: FederationKeys
    roster: Roster
    roster_file: Path
    environ: dict[str, str]
    cast: list[NodeConfig]
    wiretap: Wiretap | None

    def run(self) -> None:
        config = self.record.config
        control_secret, superexec_secret = secrets.token_hex(32), secrets.token_hex(32)
        superlink = self._child("superlink")
        host = None
        try:
            host = self._child("site_host")
            superlink.send(self._superlink_settings(control_secret, superexec_secret))
            ports = self._answer(superlink, "inner_port")
            if self.wiretap is not None:  # before the address is told: a site that waits for it connects at once
                self.wiretap.listen(config.host, ports["outer_port"])
            self.record.append(
                "federation-started",
                address=f"{config.host}:{ports['outer_port']}",
                tls="1.3",
                mutual_tls=not config.allow_stock_supernodes,
                stock_supernodes=config.allow_stock_supernodes,
                superlink_pid=superlink.pid,
                roster_sha256=hashlib.sha256(self.roster_file.read_bytes()).hexdigest(),
            )
            self._register_and_start(ports["inner_port"], control_secret)
            self._answer(host, "ready")
            self._start_server(host, ports["inner_port"], superexec_secret)
            for entry in self.roster.entries:
                if entry.index < config.sites - config.remote_sites:
                    self._start_site(host, entry, _reachable(config.host, ports["outer_port"]))
            self._watch(host, superlink)
            if self.wiretap is not None:
                from secure_fl.audited.evidence import controls_of

                self.wiretap.send_controls(_reachable(config.host, ports["outer_port"]), controls_of(self.record))
        finally:
            if host is not None:
                host.stop()
            superlink.stop()

    def _child(self, module: str) -> Child:
        log = self.record.folder / "logs" / f"{module.replace('_', '-')}.log"
        return Child(f"secure_fl.federation.{module}", log=log, environ=self.environ)

    def _superlink_settings(self, control_secret: str, superexec_secret: str) -> dict[str, Any]:
        config = self.record.config
        return {
            "host": config.host,
            "port": config.port,
            "ca": str(self.keys.ca_certificate),
            "certificate": str(self.keys.server_certificate),
            "key": str(self.keys.server_key),
            "roster": str(self.roster_file),
            "run_dir": str(self.record.folder),
            "allow_stock": config.allow_stock_supernodes,
            "control_secret": control_secret,
            "superexec_secret": superexec_secret,
            "key_log": str(self.wiretap.key_log) if self.wiretap else "",
            "control_certificate": self.wiretap.control_certificate if self.wiretap else "",
        }

    def _register_and_start(self, inner_port: int, secret: str) -> None:
        # Flower's client modules take a second to import; the children are starting meanwhile.
        from secure_fl.federation.control import control_connection, register, start_run

        with control_connection(inner_port, ca=self.keys.ca_certificate, secret=secret) as client:
            register(client, self.roster)
            start_run(client, self.record.config.to_mapping())

    def _start_server(self, host: Child, inner_port: int, superexec_secret: str) -> None:
        host.send(
            {
                "op": "server",
                "name": "coordinator",
                "log": str(self.record.folder / "logs" / "coordinator.log"),
                "address": f"127.0.0.1:{inner_port}",
                "ca": str(self.keys.ca_certificate),
                "superexec_secret": superexec_secret,
                "upload_timeout_s": self.record.config.round_timeout_s / 4,
                "environ": {
                    "SECURE_FL_RUN_DIR": str(self.record.folder),
                    "SECURE_FL_ROSTER": str(self.roster_file),
                },
            }
        )

    def _start_site(self, host: Child, entry: RosterEntry, address: str) -> None:
        name, kit, config = entry.name, self.keys.kit(entry.name), self.record.config
        node_config = {
            "partition-id": entry.index,
            "num-partitions": config.sites,
            **(kit_node_config(kit) if config.secagg == "none" else secagg_node_config(kit, config)),
            "privacy-ledger": str(ledger_file(self.record.folder.parents[1], name)),
            "insecure-test-rng": config.insecure_test_rng,
            **self.cast[entry.index],
        }
        host.send(
            {
                "op": "site",
                "name": name,
                "log": str(self.record.folder / "logs" / f"{name}.log"),
                "settings": {"address": address, "kit": str(kit), "name": name, "node_config": node_config},
            }
        )

    def _watch(self, host: Child, superlink: Child) -> None:
        """Until the ServerApp has ended. A site that ends is a matter for the round loop."""
        while superlink.alive():
            message = host.receive(0.2)
            if message is None:
                continue
            if "started" in message:
                self.record.append("process-started", name=message["started"], pid=message["pid"])
            if "ended" in message:
                self.record.append("process-ended", name=message["ended"], status=message["status"])
                if message["ended"] == "coordinator":
                    return
        raise FederationError("the superlink process ended during the run", fix=f"see {self.record.folder / 'logs'}")

    def _answer(self, child: Child, key: str) -> dict[str, Any]:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            message = child.receive(0.5)
            if message is not None and key in message:
                return message
        raise FederationError(f"a process of ours did not start within {_START_TIMEOUT_S:g} s")


def _environment(flower_home: Path, config: RunConfig) -> dict[str, str]:
    """What the children see: Flower offline and quiet, one thread for linear algebra unless asked."""
    return {
        **os.environ,
        "FLWR_HOME": str(flower_home),
        **FLOWER_ENVIRONMENT,
        "OMP_NUM_THREADS": str(config.threads),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _flower_home() -> Iterator[Path]:
    """A private folder for Flower's own files, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="secure-fl-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
