"""An audit as a folder that anyone can verify: evidence, document, what is drawn from it, and one signature over all.

    statement.dsse.json   signed list of every other file, with digests     document.json    the audit
    report.html           the page                                          findings.sarif   for code hosts and CI
    model.cdx.json        CycloneDX ML-BOM                                  log-proof.json   place in the log of audits
    report.pdf            where one could be made                           …                what the caller attached

The folder appears whole or not at all. The log of audits is written before the statement is signed: a crash between
the two leaves an entry without a bundle, which is seen, never a bundle without an entry.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.report.derived import BOM, DOCUMENT, PAGE, SARIF, derived_files
from audit.report.document import Document
from audit.report.dsse import key_id, seal_envelope
from audit.report.pdf import Pdf, make_pdf
from audit.report.sections import Attachment
from audit.report.statement import PAYLOAD_TYPE, Statement, Subject, predicate
from audit.report.transparency import AuditLog, Entry, LogProof

__all__ = ["ENVELOPE", "LOG_PROOF", "PDF", "RESERVED", "Bundle", "write_bundle"]

ENVELOPE, LOG_PROOF, PDF = "statement.dsse.json", "log-proof.json", "report.pdf"
RESERVED = frozenset({DOCUMENT, PAGE, SARIF, BOM, LOG_PROOF, PDF, ENVELOPE})
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """What was written. `document` is the one that was signed, with its attachments."""

    folder: Path
    document: Document
    proof: LogProof
    pdf: str  # who made the PDF, or why there is none


def write_bundle(
    folder: Path,
    document: Document,
    attachments: Mapping[str, Path | bytes],
    key: Ed25519PrivateKey,
    log: AuditLog,
    *,
    notes: Mapping[str, str] | None = None,
    pdf: Callable[[Document], Pdf] = make_pdf,
) -> Bundle:
    """Write, log and sign an audit; `folder` must not exist. Files are 0600, folders 0700.

    attachments: path inside the bundle to a file or bytes; notes: to a few words on it, for the page.

    Raises:
        FileExistsError: the folder is there already.
        ValueError: an attachment has a name that is reserved or leads out of the bundle.
        OSError: a file could not be read or written; nothing is left behind.
    """
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} exists; a bundle is never written over")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        bundle = _fill(staged, document, attachments, notes or {}, key, log, pdf)
        os.rename(staged, folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return replace(bundle, folder=folder)


def _fill(
    staged: Path,
    document: Document,
    attachments: Mapping[str, Path | bytes],
    notes: Mapping[str, str],
    key: Ed25519PrivateKey,
    log: AuditLog,
    pdf: Callable[[Document], Pdf],
) -> Bundle:
    attached = []
    for name, content in sorted(attachments.items()):
        if name in RESERVED:
            raise ValueError(f"{name} is a name that the bundle needs for itself")
        attached.append(_write(staged, name, content))
    listed = tuple(Attachment(each.name, each.bytes, each.sha256, notes.get(each.name, "")) for each in attached)
    # Through its bytes once, so that what is drawn is what a verifier will read.
    document = Document.from_bytes(replace(document, attachments=listed).to_bytes())
    subjects = [*attached, *(_write(staged, name, text) for name, text in derived_files(document).items())]
    made = pdf(document)
    if made.content is not None:
        subjects.append(_write(staged, PDF, made.content))
    says = predicate(document)
    proof = log.append(Entry(says.run, says.verdict, says.document_sha256, key_id(key.public_key())))
    subjects.append(_write(staged, LOG_PROOF, proof.to_bytes()))
    statement = Statement(tuple(sorted(subjects, key=lambda each: each.name)), says)
    _write(staged, ENVELOPE, seal_envelope(PAYLOAD_TYPE, statement.to_bytes(), key))
    return Bundle(staged, document, proof, made.note)


def _write(staged: Path, name: str, content: Path | bytes) -> Subject:
    """Copy into the bundle, durable, hashed on the way."""
    Subject(name, "", 0)  # refuses a name that leads out
    target = staged / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed, length = hashlib.sha256(), 0
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in _pieces(content):
            hashed.update(piece)
            length += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return Subject(name, hashed.hexdigest(), length)


def _pieces(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
