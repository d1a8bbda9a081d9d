"""The audit of a deployment: capture from the first packet, controls before the last, then evidence for a verdict.

Order of one audited run:

    before the SuperLink   a private folder in memory (tmpfs where there is one) for the session secrets;
                           a certificate of a day for the controls
    its port is known      capture starts, before any site does, so that every session is seen from its first packet
    the run has ended      the controls cross the same port; then the sites, the SuperLink and the capture end

Threat model. The audit shows an auditor what a coordinator and its sites exchanged, to find leaks that nobody intended
or that a naive program made. It runs beside the coordinator: a coordinator that lies about its own audit must be
audited from outside (another machine's capture, or the tap). Session secrets can open the captured sessions for ever:
they exist in audit mode only, in a file of mode 0600 in a folder of mode 0700, and leave it sealed to the auditor.
"""

from __future__ import annotations

import datetime
import hmac
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from audit.capture.account import CaptureAccount, CaptureUnavailable
from audit.capture.interfaces import interfaces_serving
from audit.capture.keylog import create_key_log, wipe
from audit.capture.process import CaptureProcess
from audit.controls.plan import CONTROL_SITE, Control
from audit.findings import BlindSpot
from audit.report.transparency import AuditLog
from secure_fl.app.site_privacy import ledger_file
from secure_fl.audited.evidence import CAPTURE_FILE, facts_of
from secure_fl.errors import FederationError
from secure_fl.federation.auditor import auditor_keys, read_recipient
from secure_fl.federation.controls import send_controls
from secure_fl.federation.pki import FederationKeys, control_kit
from secure_fl.runs import RunRecord

__all__ = ["Wiretap"]

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder of its own is made in it


@dataclass
class Wiretap:
    """Capture, secrets and controls of one run, as a context manager.

    `folder` receives the capture, and is gone at the end: what was captured is in the report, or nowhere.
    """

    folder: Path
    keys: FederationKeys
    port: int = 0
    control_certificate: str = ""
    account: CaptureAccount | None = None
    blind_spots: list[BlindSpot] = field(default_factory=list)
    _private: Path = field(init=False)
    _capture: CaptureProcess | None = None

    def __post_init__(self) -> None:
        memory = _MEMORY if _MEMORY.is_dir() else None
        self._private = Path(tempfile.mkdtemp(prefix="secure-fl-audit-", dir=memory))
        self.folder.mkdir(mode=0o700, exist_ok=True)
        create_key_log(self.key_log)
        kit = self._private / "kit"
        kit.mkdir(mode=0o700)
        try:
            self.control_certificate = control_kit(self.keys, kit, moment=datetime.datetime.now(datetime.UTC))
        except FederationError:  # nobody enters, so nobody would leave
            self.__exit__()
            raise

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.key_log.exists():
            wipe(self.key_log)
        for folder in (self._private, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def key_log(self) -> Path:
        """Where the coordinator's listener writes the secrets of its sessions (NSS key log)."""
        return self._private / "sessions.keys"

    @property
    def certificates(self) -> Mapping[str, str]:
        """Whose certificate is whose, by SHA-256."""
        sites = {entry.certificate_sha256: entry.name for entry in self.keys.roster.entries}
        return {**sites, self.control_certificate: CONTROL_SITE}

    @property
    def capture_file(self) -> Path:
        """The captured packets (pcap)."""
        return self.folder / CAPTURE_FILE

    def listen(self, host: str, port: int) -> None:
        """Start the capture. Without the rights to, that is a blind spot of the audit and not the end of the run."""
        self.port = port
        try:
            interfaces = ",".join(interfaces_serving(str(socket.getaddrinfo(host, None)[0][4][0])))
            capture = CaptureProcess(interface=interfaces, port=port, path=self.capture_file)
            self._capture = capture.__enter__()
        except (CaptureUnavailable, OSError) as reason:
            self.blind_spots.append(BlindSpot("capture/unavailable", f"nothing was captured: {reason}"))

    def send_controls(self, address: str, controls: tuple[Control, ...]) -> None:
        """Send the known leaks; one that cannot be sent will be missed in the examination."""
        try:
            send_controls(address, self._private / "kit", controls)
        except (httpx.HTTPError, FederationError) as error:
            self.blind_spots.append(BlindSpot("controls/not-sent", f"the controls could not be sent: {error}"))

    def stop(self) -> None:
        """End the capture; what the kernel lost becomes a blind spot."""
        if self._capture is not None:
            capture, self._capture = self._capture, None
            capture.__exit__(None, None, None)
            self.account = capture.account
            self.blind_spots += capture.account.blind_spots()

    def conclude(self, record: RunRecord, home: Path) -> None:
        """End the capture and write the report; the secrets are sealed into it and leave this machine's memory.

        Raises:
            SecureFLError, OSError: no report could be made. The run itself is in its record.
        """
        from secure_fl.audited.conclusion import Captured, conclude

        self.stop()
        auditor = auditor_keys(self.keys.folder / "auditor")
        recipient = Path(record.config.auditor) if record.config.auditor else auditor.recipient
        here = record.config.sites - record.config.remote_sites
        local = [entry.name for entry in self.keys.roster.first(here).entries]
        captured = Captured(
            facts=facts_of(
                record,
                port=self.port,
                sites=self.certificates,
                account=self.account,
                blind_spots=tuple(self.blind_spots),
            ),
            capture=self.capture_file,
            key_log=self.key_log.read_bytes(),
            site_keys={name: _index_key(self.keys.kit(name) / "identity.key") for name in local},
            ledgers={name: ledger_file(home, name) for name in local},
        )
        log = AuditLog(home / "runs" / "audits.log")
        conclude(record, captured, recipient=read_recipient(recipient), signer=auditor.signer(), log=log)


def _index_key(identity: Path) -> bytes:
    """A secret of the site's that tells nothing of its identity key."""
    return hmac.digest(identity.read_bytes(), b"secure-fl picture index 1", "sha256")
