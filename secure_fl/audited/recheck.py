"""Examine the wire of a run: once when it has ended, and again from its bundle, by whoever can open the secrets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from audit.capture.keylog import KeyLogError, parse_key_log
from audit.capture.pcap import read_packets
from audit.capture.sealing import SealError, open_sealed
from audit.controls.plan import CONTROL_SITE, Control, Saying, control_pictures, control_plan, masking_controls
from audit.detect.fingerprints import ImageIndex
from audit.examine import Evidence, Searcher, examine_wire
from audit.report.document import Document, differences
from audit.report.examination import Examination, examine
from secure_fl.audited.evidence import CAPTURE_FILE, EVIDENCE_FILE, SECRETS_FILE, WireFacts
from secure_fl.errors import IntegrityError

__all__ = ["examined", "recheck_bundle"]

_KNOWN_PICTURE = "image/known"  # the rule of what only a site's index shows
_CONTROL_KEY = b"the audit's own pictures are no secret"


def examined(
    facts: WireFacts,
    capture: Path,
    secrets: Mapping[bytes, Mapping[str, bytes]],
    *,
    controls: tuple[Control, ...] = (),
    indexes: Mapping[str, Searcher] | None = None,
) -> Examination:
    """The examination of a capture. `controls`: by default those that every audit sends."""
    evidence = Evidence(
        captures=facts.captures,
        secrets=secrets,
        port=facts.port,
        sites=facts.sites,
        schema=facts.schema,
        controls=controls or (*control_plan(Saying()), *(masking_controls(Saying()) if facts.schema.masks else ())),
        indexes={CONTROL_SITE: ImageIndex(control_pictures(), _CONTROL_KEY), **(indexes or {})},
    )
    with tempfile.TemporaryDirectory(prefix="secure-fl-spool-") as spool:
        packets = read_packets(capture) if facts.captures and capture.is_file() else iter(())
        return examine_wire(evidence, packets, spool=Path(spool), blind_spots=facts.blind_spots)


def recheck_bundle(bundle: Path, document: Document, key: X25519PrivateKey) -> tuple[str, ...]:
    """Decrypt and search the capture of a verified bundle again; what comes out otherwise than `document` says.

    Findings of the sites' own pictures need the sites' secret indexes and are not derived again.

    Raises:
        IntegrityError: the secrets cannot be opened with this key, or the evidence cannot be read.
    """
    try:
        secrets = parse_key_log(open_sealed((bundle / SECRETS_FILE).read_bytes(), key).decode())
    except (OSError, SealError, KeyLogError, UnicodeDecodeError) as error:
        raise IntegrityError(
            "the session secrets cannot be opened", why=str(error), fix="give the auditor's private key"
        ) from None
    facts = WireFacts.from_bytes((bundle / EVIDENCE_FILE).read_bytes())
    recorded = document.examination
    derived = examined(facts, bundle / CAPTURE_FILE, secrets)
    # What only a site's secret index shows is taken as recorded.
    known = [each for each in recorded.findings if each.rule == _KNOWN_PICTURE and each not in derived.findings]
    if known:
        parts = {each.name: getattr(derived, each.name) for each in fields(derived) if each.name != "verdict"}
        derived = examine(**{**parts, "findings": [*derived.findings, *known]})
    return differences(recorded, derived)
