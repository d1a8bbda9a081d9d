"""What an examination of a run's wire rests on, from the run's record, and as the file in the bundle.

`evidence.json` holds all that the capture and the session secrets do not: which port, whose certificate is whose, what
may be said, what the capture lost. With these three, `recheck` comes to the same examination.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from audit.capture.account import CaptureAccount
from audit.controls.plan import CONTROL_SITE, Control, Saying, control_plan, masking_controls
from audit.detect.schema import Schema
from audit.findings import BlindSpot, Place
from audit.report.examination import Capture
from secure_fl.audited.schema import Extent, wire_schema
from secure_fl.audited.secagg import clean_saying
from secure_fl.errors import IntegrityError
from secure_fl.privacy.regime import planned
from secure_fl.runs import RunRecord

__all__ = ["CAPTURE_FILE", "EVIDENCE_FILE", "SECRETS_FILE", "WireFacts", "controls_of", "facts_of"]

CAPTURE_FILE, SECRETS_FILE, EVIDENCE_FILE = "capture.pcap", "sessions.sealed", "evidence.json"
_FORMAT = "secure-fl-evidence/1"


@dataclass(frozen=True)
class WireFacts:
    """See the module. `sites`: SHA-256 of a certificate to the name of its owner."""

    port: int
    sites: Mapping[str, str]
    schema: Schema
    captures: tuple[Capture, ...]
    blind_spots: tuple[BlindSpot, ...]

    def to_bytes(self) -> bytes:
        """The file's content."""
        document = {
            "format": _FORMAT,
            "port": self.port,
            "sites": dict(self.sites),
            "schema": self.schema.to_mapping(),
            "captures": [asdict(each) for each in self.captures],
            "blind_spots": [asdict(each) for each in self.blind_spots],
        }
        return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> WireFacts:
        """The reverse.

        Raises:
            IntegrityError: it is not what `to_bytes` writes.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            if document["format"] != _FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            return cls(
                port=int(document["port"]),
                sites=dict(document["sites"]),
                schema=Schema.from_mapping(document["schema"]),
                captures=tuple(Capture(**each) for each in document["captures"]),
                blind_spots=tuple(
                    BlindSpot(**{**each, "place": Place(**each["place"])}) for each in document["blind_spots"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{EVIDENCE_FILE} cannot be read", why=str(error)) from None


def facts_of(
    record: RunRecord,
    *,
    port: int,
    sites: Mapping[str, str],
    account: CaptureAccount | None,
    blind_spots: tuple[BlindSpot, ...],
) -> WireFacts:
    """The facts of a run that was captured; without an account nothing was."""
    captures: tuple[Capture, ...] = ()
    if account is not None:
        captures = (
            Capture(
                interface=account.interface,
                port=account.port,
                file=CAPTURE_FILE,
                packets=account.packets,
                bytes=account.bytes,
                kernel_drops=account.kernel_drops,
                freezes=account.freezes,
                sha256=account.sha256,
                started_s=account.started_s,
                ended_s=account.ended_s,
            ),
        )
    return WireFacts(port, sites, wire_schema(planned(record.config), _extent(record)), captures, blind_spots)


def controls_of(record: RunRecord) -> tuple[Control, ...]:
    """The audit's controls; the clean one says what an honest site of this run could say."""
    extent, start = _extent(record), record.summary().start
    rng = np.random.default_rng(0)
    if record.config.secagg != "none":
        saying = clean_saying(record.config, extent.parameters, rng)
        return (*control_plan(saying), *masking_controls(saying))
    clean = Saying(
        arrays={"u": rng.normal(0, 0.01, extent.parameters).astype(np.float32)},
        notes={
            "site": CONTROL_SITE,
            "run": record.id,
            "round": 1,
            "spec": str(start.get("spec_digest") or "0" * 64),
            "samples": 1,
            "signature": rng.bytes(64),
        },
        metrics={"steps": 1},
    )
    return control_plan(clean)


def _extent(record: RunRecord) -> Extent:
    """What the started run knows; a run that failed before has said nothing in which arrays could be."""
    summary = record.summary()
    rounds = [*summary.rounds]
    classes = max((len(each.per_class_accuracy) for each in rounds), default=0)
    return Extent(record.id, int(summary.start.get("parameters") or 0), classes)
