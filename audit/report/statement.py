"""The in-toto statement of an audit: the digest of every file of the bundle, and the few facts that a machine asks for.

in-toto Attestation Framework, Statement v1 (https://in-toto.io/Statement/v1) with a predicate type of our own. The
document itself is a subject like the capture or the model; the predicate repeats its verdict and binds both to the log
of audits and to the code that drew the page.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from audit.report.document import Document
from audit.report.shape import ShapeError, canonical, from_mapping

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "Predicate", "Statement", "Subject", "predicate", "renderer_sha256"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://secure-fl.example/audit/v1"
_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True)
class Subject:
    """A file of the bundle by its path; `bytes` tells a truncated file from an altered one."""

    name: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        parts = self.name.split("/")
        if not self.name or "\\" in self.name or "\0" in self.name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{self.name!r} is no path inside a bundle")


@dataclass(frozen=True)
class Predicate:
    """What the statement says besides digests."""

    run: str
    verdict: str
    reason: str
    document_sha256: str
    examination_sha256: str
    renderer_sha256: str  # of the code that drew the derived files


@dataclass(frozen=True)
class Statement:
    """Subjects in order of their names, each once."""

    subjects: tuple[Subject, ...]
    predicate: Predicate

    def __post_init__(self) -> None:
        names = [subject.name for subject in self.subjects]
        if names != sorted(set(names)):
            raise ValueError("the subjects are not sorted, or one is there twice")

    def to_bytes(self) -> bytes:
        """RFC 8785 JSON: the payload of the envelope."""
        subjects = [
            {"name": each.name, "digest": {"sha256": each.sha256}, "annotations": {"bytes": each.bytes}}
            for each in self.subjects
        ]
        return canonical(
            {"_type": _TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": self.predicate}
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Statement:
        """The reverse, of a payload whose signature is verified; raises ShapeError for anything else than ours."""
        try:
            fields = json.loads(payload)
            found = cls(
                tuple(_subject(each) for each in fields["subject"]),
                from_mapping(Predicate, fields["predicate"], "predicate"),
            )
        except ShapeError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
            raise ShapeError(f"this is no statement of an audit: {why}") from why
        if found.to_bytes() != payload:
            raise ShapeError("the statement is of another type, spelled otherwise, or says more than an audit does")
        return found


def predicate(document: Document) -> Predicate:
    """The facts of a document."""
    return Predicate(
        run=document.run.id,
        verdict=document.verdict.value,
        reason=document.reason,
        document_sha256=hashlib.sha256(document.to_bytes()).hexdigest(),
        examination_sha256=document.examination_sha256,
        renderer_sha256=renderer_sha256(),
    )


def renderer_sha256() -> str:
    """Digest of the code that draws the derived files: where it is equal, the same document gives the same bytes."""
    folder = resources.files("audit.report")
    files = sorted((each.name, each.read_bytes()) for each in folder.iterdir() if each.name.endswith((".py", ".css")))
    return hashlib.sha256(b"".join(b"%s\0%d\0%s" % (n.encode(), len(text), text) for n, text in files)).hexdigest()


def _subject(raw: dict[str, Any]) -> Subject:
    fields = {"name": raw["name"], "sha256": raw["digest"]["sha256"], "bytes": raw["annotations"]["bytes"]}
    return from_mapping(Subject, fields, "subject")
