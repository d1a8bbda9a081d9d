"""Audits on disk: each lies in its run's folder, as `audit/` (docs/reference/audit-bundle.md).

What is shown is what `document.json` says. Whether it is what the auditor signed is a question of its own, which
`verification_of` asks with the public key of this home; the page says which of both was asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from audit.bundle import ENVELOPE, PDF
from audit.findings import Verdict
from audit.report.derived import BOM, DOCUMENT, PAGE, SARIF
from audit.report.document import Document
from audit.report.measurements import Outcome
from audit.report.shape import ShapeError
from audit.verify import Verification, verify_bundle
from secure_fl.errors import NotFoundError
from secure_fl.runs.record import runs_folder

__all__ = ["DOWNLOADS", "AuditLine", "Gate", "audit_of", "audits_of", "bundle_file", "gates_of", "verification_of"]

# What may be fetched, with its type. The capture and the sealed secrets stay here: an auditor copies the folder.
DOWNLOADS = {
    PAGE: "text/html",
    PDF: "application/pdf",
    DOCUMENT: "application/json",
    SARIF: "application/sarif+json",
    BOM: "application/vnd.cyclonedx+json",
    ENVELOPE: "application/json",
    "log-proof.json": "application/json",
}


@dataclass(frozen=True)
class AuditLine:
    """An audit in a list; problem: why its document cannot be read, or ""."""

    run: str
    verdict: str
    reason: str
    started: str
    findings: int
    blind_spots: int
    problem: str = ""


@dataclass(frozen=True)
class Gate:
    """Something that an audit had to show. state: ok, bad or warn (could not be shown)."""

    name: str
    state: str
    words: str


def audits_of(home: Path) -> tuple[AuditLine, ...]:
    """All audits of a home, newest run first."""
    folder = runs_folder(home)
    runs = (
        sorted((each.name for each in folder.iterdir() if (each / "audit" / DOCUMENT).is_file()), reverse=True)
        if folder.is_dir()
        else []
    )
    return tuple(_line(home, run) for run in runs if not run.startswith("."))


def audit_of(home: Path, run: str) -> Document:
    """The document of a run's audit.

    Raises:
        NotFoundError: the run was not audited.
        ShapeError: the document is not one.
    """
    path = _folder(home, run) / DOCUMENT
    try:
        stamp = path.stat()
    except FileNotFoundError:
        raise NotFoundError("no audit of such a run", fix="the list of audits has them all") from None
    return _document(path, stamp.st_mtime_ns, stamp.st_size)


def bundle_file(home: Path, run: str, name: str) -> Path:
    """A file of the bundle that may be fetched; raises NotFoundError for every other name."""
    path = _folder(home, run) / name
    if name not in DOWNLOADS or not path.is_file() or path.is_symlink():
        raise NotFoundError("no such file in this audit")
    return path


def verification_of(home: Path, run: str) -> Verification:
    """Check the bundle against the auditor's public key that lies in this home.

    Raises:
        NotFoundError: there is no such audit, or no key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key_file = home / "federation" / "auditor" / "sign.pub"
    if not key_file.is_file():
        raise NotFoundError("no auditor's key here", why="federation/auditor/sign.pub is missing")
    key = load_pem_public_key(key_file.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise NotFoundError("no auditor's key here", why="federation/auditor/sign.pub is no Ed25519 key")
    return verify_bundle(_folder(home, run), key)


def gates_of(document: Document) -> tuple[Gate, ...]:
    """What had to hold for PASS, and whether it did."""
    seen, manifest = document.examination, document.leakage.manifest
    drops = sum(each.kernel_drops for each in seen.captures)
    closed = sum(not each.decrypted for each in seen.sessions)
    behaved = sum(each.behaved for each in seen.controls)
    violated = [each for each in document.privacy.bounds if each.outcome is Outcome.VIOLATED]
    return (
        Gate("Nothing found", "bad" if seen.findings else "ok", _many(len(seen.findings), "finding")),
        Gate("Nothing unseen", "warn" if seen.blind_spots else "ok", _many(len(seen.blind_spots), "blind spot")),
        Gate(
            "Whole capture",
            "ok" if seen.captures and not drops else "warn",
            _many(drops, "packet") + " dropped by the kernel",
        ),
        Gate(
            "Every session read",
            "ok" if seen.sessions and not closed else "warn",
            f"{len(seen.sessions) - closed} of {_many(len(seen.sessions), 'session')} decrypted",
        ),
        Gate(
            "Every byte explained",
            "warn" if seen.ledger.unaccounted_bytes else "ok",
            f"{seen.ledger.unaccounted_bytes:,} of {seen.ledger.captured_bytes:,} bytes without an account",
        ),
        Gate(
            "Controls behaved",
            "ok" if seen.controlled else "warn",
            f"{behaved} of {_many(len(seen.controls), 'control')}",
        ),
        Gate("Promised model", _STATES[manifest.outcome], manifest.detail),
        Gate(
            "Claimed privacy",
            "bad" if violated else "ok" if document.privacy.spent else "warn",
            f"{_many(len(violated), 'lower bound')} above the claim"
            if document.privacy.spent
            else document.privacy.note,
        ),
    )


_STATES = {Outcome.CONSISTENT: "ok", Outcome.VIOLATED: "bad", Outcome.NOT_TESTED: "warn"}


def _folder(home: Path, run: str) -> Path:
    if not re.fullmatch(r"\d{8}-\d{6}-[0-9a-z]{4,}", run):
        raise NotFoundError("no audit of such a run")
    return runs_folder(home) / run / "audit"


@lru_cache(maxsize=16)
def _document(path: Path, modified_ns: int, size_bytes: int) -> Document:
    """Parsed once for each state of the file."""
    return Document.from_bytes(path.read_bytes())


def _line(home: Path, run: str) -> AuditLine:
    path = _folder(home, run) / DOCUMENT
    try:
        stamp = path.stat()
        return _summary(path, run, stamp.st_mtime_ns, stamp.st_size)
    except (ShapeError, OSError) as error:
        return AuditLine(run, str(Verdict.INCOMPLETE), "", "", 0, 0, problem=str(error))


@lru_cache(maxsize=1024)
def _summary(path: Path, run: str, modified_ns: int, size_bytes: int) -> AuditLine:
    """A line is kept where a whole document would be too large to keep."""
    document = Document.from_bytes(path.read_bytes())
    seen = document.examination
    return AuditLine(
        run, str(document.verdict), document.reason, document.run.started, len(seen.findings), len(seen.blind_spots)
    )


def _many(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
