"""The end of an audit: examine the wire, measure what the model gives away, write and sign the report.

The bundle is `audit/` in the run's folder (`audit-2/` after it was resumed); `AuditLog` beside the runs remembers each.
Without a captured packet, or where the run failed, there is a report all the same: it says INCOMPLETE, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from audit.bundle import ENVELOPE, Bundle, write_bundle
from audit.capture.keylog import parse_key_log
from audit.capture.sealing import seal
from audit.detect.fingerprints import ImageIndex
from audit.report.document import FORMAT, Document, judged
from audit.report.measurements import Leakage, ManifestCheck, Outcome, Privacy
from audit.report.shape import from_mapping
from audit.report.transparency import AuditLog
from secure_fl.audited.evidence import CAPTURE_FILE, EVIDENCE_FILE, SECRETS_FILE, WireFacts, controls_of
from secure_fl.audited.leakage import measure_leakage
from secure_fl.audited.pictures import index_of
from secure_fl.audited.recheck import examined
from secure_fl.audited.searches import searches_part
from secure_fl.audited.secagg import SEEN
from secure_fl.audited.sections import (
    environment_part,
    model_part,
    robustness_part,
    run_part,
    scope_part,
    spent,
    unmeasured_privacy,
)
from secure_fl.data import load_site
from secure_fl.errors import DataError, SecureFLError
from secure_fl.runs import RunRecord
from secure_fl.runs.atomic import file_sha256

__all__ = ["BUNDLE", "Captured", "conclude"]

BUNDLE = "audit"
_NOTES = {
    CAPTURE_FILE: "every packet of the audited port",
    SECRETS_FILE: "secrets of the TLS sessions, sealed to the auditor",
    EVIDENCE_FILE: "port, certificates, schema and the capture's own account",
    "events.jsonl": "the run's hash-chained record",
    "config.json": "the run's settings",
}


@dataclass(frozen=True)
class Captured:
    """What the wiretap of a run hands over. `site_keys`: a secret of each site on this machine, for its index;
    `ledgers`: each site's privacy ledger."""

    facts: WireFacts
    capture: Path
    key_log: bytes
    site_keys: Mapping[str, bytes]
    ledgers: Mapping[str, Path]


def conclude(
    record: RunRecord, captured: Captured, *, recipient: X25519PublicKey, signer: Ed25519PrivateKey, log: AuditLog
) -> Bundle:
    """Write the report of an audited run and enter its verdict into the record.

    Raises:
        OSError: the bundle cannot be written.
        SecureFLError: data or model of the run cannot be read.
    """
    size = captured.capture.stat().st_size if captured.capture.is_file() else 0
    record.append("audit-started", bytes=size)
    indexes = _indexes(record, captured.site_keys)
    examination = examined(
        captured.facts,
        captured.capture,
        parse_key_log(captured.key_log.decode()),
        controls=controls_of(record),
        indexes=indexes,
    )
    privacy, leakage = _measured(record, captured)
    document = Document(
        format=FORMAT,
        verdict=judged(examination, privacy, leakage),
        run=run_part(record, record.summary().active_s),
        scope=scope_part(record, indexed=len(indexes)),
        examination=examination,
        searches=searches_part(captured.capture, examination),
        privacy=privacy,
        leakage=leakage,
        robustness=robustness_part(record),
        model=model_part(record, {site: index.merkle_root for site, index in indexes.items()}),
        environment=environment_part(record),
        attachments=(),
    )
    attachments: dict[str, Path | bytes] = {
        SECRETS_FILE: seal(captured.key_log, recipient),
        EVIDENCE_FILE: captured.facts.to_bytes(),
        "events.jsonl": record.folder / "events.jsonl",
        "config.json": record.folder / "config.json",
    }
    if size:
        attachments[CAPTURE_FILE] = captured.capture
    bundle = write_bundle(_free(record.folder), document, attachments, signer, log, notes=_NOTES)
    record.append(
        "audit-finished",
        verdict=str(document.verdict),
        reason=document.reason,
        bundle=bundle.folder.name,
        statement_sha256=file_sha256(bundle.folder / ENVELOPE),
        pdf=bundle.pdf,
    )
    return bundle


def _free(folder: Path) -> Path:
    """Where the report goes; a run that was resumed has one for each attempt."""
    tried = (folder / (BUNDLE if number == 1 else f"{BUNDLE}-{number}") for number in count(1))
    return next(path for path in tried if not path.exists())


def _indexes(record: RunRecord, site_keys: Mapping[str, bytes]) -> dict[str, ImageIndex]:
    """What each site on this machine knows its pictures by; none for a site whose pictures cannot be read."""
    found = {}
    for site, key in site_keys.items():
        try:
            own = load_site(record.config, int(site.rpartition("-")[2]))
        except DataError:
            continue
        found[site] = index_of(own.train.images, own.normalisation, key)
    return found


def _measured(record: RunRecord, captured: Captured) -> tuple[Privacy, Leakage]:
    """The privacy and leakage sections; a run that left no model has nothing to measure."""
    try:
        found = measure_leakage(record, seed=record.config.seed)
    except SecureFLError as error:
        nothing = f"Nothing was measured: {error.what}."
        check = ManifestCheck(Outcome.NOT_TESTED, "", "", nothing)
        return replace(_claimed(record, captured, ()), note=nothing), Leakage(nothing, (), (), check)
    privacy = _claimed(record, captured, found["privacy"]["bounds"])
    if found["privacy"]["note"]:
        privacy = replace(privacy, note=found["privacy"]["note"])
    leakage = from_mapping(
        Leakage,
        {
            "note": " ".join(filter(None, (SEEN.get(record.config.secagg, ""), found["membership_note"]))),
            "memberships": [_only(each, "advantage", "epsilon_low") for each in found["membership"]],
            "inversions": [_inversion(found["inversion"])],
            "manifest": found["manifest"],
        },
    )
    return privacy, leakage


def _claimed(record: RunRecord, captured: Captured, bounds: Any) -> Privacy:
    if not record.config.dp_epsilon:
        return replace(unmeasured_privacy(record.config), bounds=_bounds(bounds))
    return Privacy(note="", spent=spent(record, captured.ledgers), bounds=_bounds(bounds))


def _bounds(bounds: Any) -> Any:
    return from_mapping(Privacy, {"note": "", "spent": [], "bounds": list(bounds)}).bounds


def _inversion(found: Mapping[str, Any]) -> dict[str, Any]:
    reconstructions = [_only(each, "ssim") for each in found["reconstructions"]]
    return {**_only(found, "steps"), "reconstructions": reconstructions}


def _only(mapping: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in without}
