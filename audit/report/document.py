"""The audit as one value, from which page, SARIF, ML-BOM and PDF are drawn and which is what is signed.

    document.json  ⇄  Document  →  report.html, findings.sarif, model.cdx.json, report.pdf

Nothing is optional: a part that is missing is a `ShapeError`, and a verdict that its own findings contradict cannot be
built. Meanings never change within a format; a new meaning takes a new number in `FORMAT`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.findings import Verdict
from audit.report.examination import Examination
from audit.report.measurements import Leakage, Outcome, Privacy
from audit.report.sections import (
    Attachment,
    Environment,
    Model,
    Robustness,
    Run,
    Scope,
    Searches,
)
from audit.report.shape import ShapeError, canonical, digest, from_mapping, strict_json, to_mapping

__all__ = ["FORMAT", "Document", "differences", "judged"]

FORMAT = "secure-fl-audit/1"


@dataclass(frozen=True)
class Document:
    """A whole audit, in the order of the page. `attachments` is filled in by whoever writes the bundle."""

    format: str
    verdict: Verdict
    run: Run
    scope: Scope
    examination: Examination
    searches: Searches
    privacy: Privacy
    leakage: Leakage
    robustness: Robustness
    model: Model
    environment: Environment
    attachments: tuple[Attachment, ...]

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"the format is {self.format!r}; this version reads {FORMAT!r}")
        due = judged(self.examination, self.privacy, self.leakage)
        if self.verdict is not due:
            raise ValueError(f"the verdict is {self.verdict}, but what stands below it makes it {due}")

    def to_mapping(self) -> dict[str, Any]:
        """Plain objects, lists, texts and numbers."""
        return dict(to_mapping(self))

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Document:
        """The reverse; raises ShapeError that names what is missing, unknown or contradictory."""
        return from_mapping(cls, raw)

    def to_bytes(self) -> bytes:
        """RFC 8785 JSON, as in `document.json`."""
        return canonical(self)

    @classmethod
    def from_bytes(cls, text: bytes) -> Document:
        """The reverse; raises ShapeError, also for JSON that is not canonical."""
        return cls.from_mapping(strict_json(text))

    @property
    def examination_sha256(self) -> str:
        """Digest of all that a recheck derives again."""
        return digest(self.examination)

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in one sentence."""
        return _reason(self)


def judged(examination: Examination, privacy: Privacy, leakage: Leakage) -> Verdict:
    """FAIL too where a measurement contradicts the claimed ε, or the model is not the promised one."""
    outcomes = [*(bound.outcome for bound in privacy.bounds), leakage.manifest.outcome]
    return Verdict.FAIL if Outcome.VIOLATED in outcomes else examination.verdict


def differences(recorded: Examination, derived: Examination) -> tuple[str, ...]:
    """What two examinations do not agree on, each line with its place; empty where they are equal."""
    return tuple(_differences(to_mapping(recorded), to_mapping(derived), ""))


def _reason(document: Document) -> str:
    seen = document.examination
    parts = []
    if seen.findings:
        sites = sorted({each.place.site or "an unknown peer" for each in seen.findings})
        parts.append(f"{_count(len(seen.findings), 'thing')} crossed the wire that must not, from {_listed(sites)}")
    if broken := [bound.test for bound in document.privacy.bounds if bound.outcome is Outcome.VIOLATED]:
        parts.append(f"more privacy was spent than claimed ({_listed(sorted(set(broken)))})")
    if document.leakage.manifest.outcome is Outcome.VIOLATED:
        parts.append("the model that was sent is not the one of the signed manifest")
    if parts:
        return f"{_sentence('; '.join(parts))}."
    if seen.verdict is Verdict.PASS:
        return (
            f"Every session ({len(seen.sessions):,}) was decrypted, every byte ({seen.ledger.captured_bytes:,}) is "
            f"accounted for, nothing was found, and every control ({len(seen.controls):,}) behaved as it must."
        )
    return f"{_sentence('; '.join(_gaps(seen)))}."


def _gaps(seen: Examination) -> list[str]:
    wrong = [each.name for each in seen.controls if not each.behaved]
    closed = [each.id for each in seen.sessions if not each.decrypted]
    drops = sum(each.kernel_drops for each in seen.captures)
    said = [
        (len(seen.blind_spots), f"{_count(len(seen.blind_spots), 'thing')} could not be seen"),
        (not seen.captures, "nothing was captured"),
        (not seen.sessions, "no session was seen at all"),
        (len(closed), f"{_count(len(closed), 'session')} could not be decrypted"),
        (seen.ledger.unaccounted_bytes, f"{_count(seen.ledger.unaccounted_bytes, 'byte')} without an account"),
        (drops, f"the kernel dropped {_count(drops, 'packet')}"),
        (len(wrong), f"{_count(len(wrong), 'control')} did not behave"),
        (not wrong and not seen.controlled, "the controls did not all run"),
    ]
    return [text for applies, text in said if applies]


def _differences(one: Any, other: Any, at: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [line for key in one for line in _differences(one[key], other.get(key), f"{at}.{key}".lstrip("."))]
    if isinstance(one, list) and isinstance(other, list):
        return _in_lists(one, other, at)
    return [] if one == other else [f"{at}: recorded {_shown(one)}, derived {_shown(other)}"]


def _in_lists(one: list[Any], other: list[Any], at: str) -> list[str]:
    """Elements that only one of the lists has; an element in another place counts where all else is equal."""
    here, there = (Counter(canonical(each) for each in side) for side in (one, other))
    lines = [f"{at}: only recorded: {text.decode()}" for text in (here - there).elements()]
    lines += [f"{at}: only derived: {text.decode()}" for text in (there - here).elements()]
    return lines or ([] if one == other else [f"{at}: in another order"])


def _shown(value: Any) -> str:
    try:
        return canonical(value).decode()
    except ShapeError:
        return repr(value)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
