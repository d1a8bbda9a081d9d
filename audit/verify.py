"""Is a bundle what its auditor signed? Needs the folder and the public key; no federation, no network, no PyTorch.

In this order, and each step only if the one before it held: the envelope's one spelling and its signature; then, and
not before, the statement inside it; the set of files and the digest of each; the document; what is drawn from the
document, by drawing it again; the place in the log of audits. The key must come by another way than the bundle.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.bundle import ENVELOPE, LOG_PROOF, PDF
from audit.report.derived import DOCUMENT, derived_files
from audit.report.document import Document
from audit.report.dsse import SignatureError, key_id, open_envelope
from audit.report.shape import ShapeError
from audit.report.statement import PAYLOAD_TYPE, Statement, Subject, predicate, renderer_sha256
from audit.report.transparency import Entry, LogProof
from audit.report.words import size, visible

__all__ = ["Verification", "verify_bundle"]

_CHUNK = 1 << 20
_READABLE = 1 << 28  # bytes of a file that is read whole: envelope, document and what is drawn from it


@dataclass(frozen=True)
class Verification:
    """`problems`: each names what is wrong and where. `notes`: what was signed but could not be checked further."""

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    document: Document | None = None
    proof: LogProof | None = None

    @property
    def ok(self) -> bool:
        """Every byte is the auditor's, and the parts agree with each other."""
        return not self.problems


def verify_bundle(folder: Path, public_key: Ed25519PublicKey) -> Verification:
    """Check a bundle. Never raises for what a bundle holds; a folder that cannot be read is a problem too."""
    try:
        statement = Statement.from_bytes(open_envelope(_read(folder, ENVELOPE), PAYLOAD_TYPE, public_key))
        if problems := _file_problems(folder, statement.subjects):
            return Verification(tuple(problems))
        return _contents(folder, statement, public_key)
    except (SignatureError, ShapeError) as why:
        return Verification((f"{ENVELOPE}: {visible(str(why))}",))
    except OSError as why:
        return Verification((f"cannot be read: {visible(str(why))}",))


def _file_problems(folder: Path, subjects: tuple[Subject, ...]) -> list[str]:
    """Files that are missing, added, altered or no files; all of them, so that the damage can be judged."""
    expected = {subject.name: subject for subject in subjects}
    folders = {name.rpartition("/")[0] for name in expected} - {""}
    folders |= {"/".join(each.split("/")[:depth]) for each in folders for depth in range(1, each.count("/") + 1)}
    found, problems = set(), []
    for name, mode in _entries(folder, ""):
        if stat.S_ISDIR(mode):
            problems += [] if name in folders else [f"{visible(name)}/: this folder was added"]
        elif not stat.S_ISREG(mode):
            problems.append(f"{visible(name)}: a link or device where only files may be")
        elif name != ENVELOPE:
            found.add(name)
    problems += [f"{visible(name)}: this file was added" for name in sorted(found - expected.keys())]
    problems += [f"{visible(name)}: this file is missing" for name in sorted(expected.keys() - found)]
    for name in sorted(found & expected.keys()):
        problems += _altered(folder, expected[name])
    return problems


def _entries(folder: Path, prefix: str) -> list[tuple[str, int]]:
    """Path and mode of everything below, links not followed."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name, mode = prefix + entry.name, entry.stat(follow_symlinks=False).st_mode
            found.append((name, mode))
            if stat.S_ISDIR(mode):
                found += _entries(folder / entry.name, name + "/")
    return found


def _altered(folder: Path, subject: Subject) -> list[str]:
    hashed, length = hashlib.sha256(), 0
    with _open(folder / subject.name) as file:
        while piece := file.read(min(_CHUNK, subject.bytes + 1)):
            hashed.update(piece)
            length += len(piece)
    name = visible(subject.name)
    if length != subject.bytes:
        more = "shorter" if length < subject.bytes else "longer"
        return [f"{name}: {size(abs(length - subject.bytes))} {more} than when it was signed"]
    return [] if hashed.hexdigest() == subject.sha256 else [f"{name}: altered; its SHA-256 is not the signed one"]


def _contents(folder: Path, statement: Statement, key: Ed25519PublicKey) -> Verification:
    """The files are those that were signed; do they also agree with each other?"""
    subjects = {subject.name: subject for subject in statement.subjects}
    try:
        document = Document.from_bytes(_signed(folder, DOCUMENT, subjects))
        proof = LogProof.from_bytes(_signed(folder, LOG_PROOF, subjects))
    except ShapeError as why:
        return Verification((f"{DOCUMENT} or {LOG_PROOF}: {visible(str(why))}",))
    problems, notes = _derived(folder, document, statement, subjects)
    says, repeated = statement.predicate, predicate(document)
    for field in ("run", "verdict", "reason", "document_sha256", "examination_sha256"):
        if getattr(says, field) != getattr(repeated, field):
            problems.append(f"{ENVELOPE}: its {field} is not the one of {DOCUMENT}")
    attached = {each.name: (each.bytes, each.sha256) for each in document.attachments}
    listed = {n: (s.bytes, s.sha256) for n, s in subjects.items() if n not in _own(document)}
    if attached != listed:
        problems.append(f"{DOCUMENT}: its attachments are not the files of the bundle")
    if proof.entry != Entry(says.run, says.verdict, says.document_sha256, key_id(key)):
        problems.append(f"{LOG_PROOF}: it is the proof of another audit")
    problems += [f"{LOG_PROOF}: {each}" for each in proof.problems()]
    return Verification(tuple(problems), tuple(notes), document, proof)


def _derived(
    folder: Path, document: Document, statement: Statement, subjects: Mapping[str, Subject]
) -> tuple[list[str], list[str]]:
    if statement.predicate.renderer_sha256 != renderer_sha256():
        made_by = document.environment.versions.get("secure-fl", "unknown")
        return [], [
            f"drawn by another version (secure-fl {visible(made_by)}): page, SARIF and BOM are as signed, but were not "
            f"drawn again to compare them with {DOCUMENT}"
        ]
    drawn = derived_files(document)
    wrong = [name for name, text in drawn.items() if _signed(folder, name, subjects) != text]
    return [f"{name}: it is not what {DOCUMENT} says" for name in wrong], [
        f"{PDF} is as signed; it cannot be drawn again to the byte" for _ in (1,) if PDF in subjects
    ]


def _own(document: Document) -> set[str]:
    return {*derived_files(document), LOG_PROOF, PDF}


def _signed(folder: Path, name: str, subjects: Mapping[str, Subject]) -> bytes:
    """A file read once more, still the one that was signed: it could have been changed since it was hashed."""
    if name not in subjects:
        raise ShapeError(f"{name} is not signed")
    text = _read(folder, name)
    if hashlib.sha256(text).hexdigest() != subjects[name].sha256:
        raise ShapeError(f"{name} changed while it was being verified")
    return text


def _read(folder: Path, name: str) -> bytes:
    with _open(folder / name) as file:
        length = os.fstat(file.fileno()).st_size
        if length > _READABLE:
            raise OSError(f"{name} is larger than {size(_READABLE)}")
        return file.read(length)


def _open(path: Path) -> BinaryIO:
    """For reading, links and devices refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no regular file")
    return os.fdopen(descriptor, "rb")
