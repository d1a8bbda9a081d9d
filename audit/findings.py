"""What an audit can say: a finding, something that it could not see, and the verdict that follows.

    FAIL        something was found that must not cross the wire
    INCOMPLETE  nothing was found, but something could not be seen, or a control did not behave
    PASS        everything was seen, everything was accounted for, and the controls prove that a leak would have shown

PASS is never the default: `verdict` gives it only to an audit that names no finding and no blind spot, and that
has run its controls. A finding outranks a blind spot: what was found stays found however much was missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["BlindSpot", "Finding", "Place", "Verdict", "verdict"]


class Verdict(StrEnum):
    """The outcome of an audit."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True, order=True)
class Place:
    """Where on the wire something was: as much of it as is known; `offset` counts bytes from the start of `unit`."""

    session: str = ""  # "s0003", the connection, in order of its first packet
    site: str = ""  # name or node of the site that the connection belongs to
    direction: str = ""  # "to-coordinator" or "to-site"
    round: str = ""  # Flower's group of the message: the round's number, or "join"
    message: str = ""  # id of the Flower message, or the route of the request
    path: str = ""  # record and key inside the message, as "metrics/note" or "update/u"
    unit: str = ""  # what `offset` counts in: "array", "object", "value", "stream", "file"
    offset: int = 0


@dataclass(frozen=True, order=True)
class Finding:
    """Something that must not be there. The bytes themselves are never kept, only their digest."""

    rule: str  # "image/jpeg", "pixels/u8-hwc", "schema/unknown-field" ...
    message: str  # one sentence for a person
    place: Place = field(default_factory=Place)
    length: int = 0  # bytes that the finding covers
    evidence_sha256: str = ""
    via: tuple[str, ...] = ()  # encodings that were undone to see it, outermost first: ("gzip", "base64")


@dataclass(frozen=True, order=True)
class BlindSpot:
    """Something that the audit could not see; one is enough for INCOMPLETE."""

    rule: str  # "capture/kernel-drop", "tcp/gap", "tls/no-secret", "http/trailing" ...
    message: str
    place: Place = field(default_factory=Place)
    length: int = 0  # bytes, where known


def verdict(findings: Sequence[Finding], blind_spots: Sequence[BlindSpot], *, controlled: bool) -> Verdict:
    """The verdict by the rule above. `controlled`: the controls ran and each behaved as it must."""
    if findings:
        return Verdict.FAIL
    if blind_spots or not controlled:
        return Verdict.INCOMPLETE
    return Verdict.PASS
