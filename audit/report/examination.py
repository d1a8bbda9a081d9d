"""What the capture says, and nothing else: the part of a report that `secure-fl audit verify --recheck` derives again.

Whoever holds the capture and the sealed session secrets can decode and scan once more and must come to an equal
`Examination`, field by field. So it holds no opinion and no time of its own, and its verdict is computed, never set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from audit.findings import BlindSpot, Finding, Verdict, verdict

__all__ = ["Capture", "Control", "Examination", "Flow", "Ledger", "LedgerLine", "Polarity", "WireSession", "examine"]


class Polarity(StrEnum):
    """What a control is there to show."""

    POSITIVE = "positive"  # it must be found
    NEGATIVE = "negative"  # it must pass in silence


@dataclass(frozen=True)
class Capture:
    """The account of one interface. `kernel_drops` and `freezes` come from the kernel, the rest from the file."""

    interface: str
    port: int
    file: str  # its name in the bundle
    packets: int
    bytes: int  # captured, on the wire
    kernel_drops: int
    freezes: int
    sha256: str
    started_s: float  # Unix time
    ended_s: float


@dataclass(frozen=True, order=True)
class WireSession:
    """One TCP connection to the audited port. The names are those of `audit.decode.conversation.Session`."""

    id: str
    site: str
    client: str
    server: str
    opened_s: float
    closed_s: float
    client_bytes: int  # TCP payload that the client sent
    server_bytes: int
    version: str
    suite: str
    client_certificates: tuple[str, ...]  # SHA-256 of each DER certificate, leaf first
    server_certificates: tuple[str, ...]
    decrypted: bool
    control: bool  # a session of the audit's own controls, not of a site


@dataclass(frozen=True, order=True)
class LedgerLine:
    """Bytes that one category explains; `site` is "" for what belongs to none."""

    site: str
    direction: str  # "to-coordinator" or "to-site"
    category: str  # "tls/handshake", "http/head", "object/ArrayChunk" ...
    bytes: int


@dataclass(frozen=True)
class Ledger:
    """Where every captured byte of TCP payload went. The lines and what is unaccounted for make up the whole."""

    captured_bytes: int
    unaccounted_bytes: int
    lines: tuple[LedgerLine, ...]

    def __post_init__(self) -> None:
        explained = sum(line.bytes for line in self.lines)
        if explained + self.unaccounted_bytes != self.captured_bytes:
            raise ValueError(
                f"the ledger explains {explained} and leaves {self.unaccounted_bytes} of {self.captured_bytes} bytes"
            )


@dataclass(frozen=True, order=True)
class Flow:
    """Decrypted bytes of one site, direction and round; `round` is "join", a number, or "" outside of rounds."""

    site: str
    direction: str
    round: str
    bytes: int
    messages: int


@dataclass(frozen=True, order=True)
class Control:
    """Something that the audit itself sent through the audited port, and what became of it."""

    name: str
    polarity: Polarity
    sends: str  # what was sent, in a sentence
    expected: str  # the rule that must fire, or "silence"
    fired: bool
    seen: str  # which rule fired, where

    @property
    def behaved(self) -> bool:
        """A positive control fired; a negative one did not."""
        return self.fired is (self.polarity is Polarity.POSITIVE)


@dataclass(frozen=True)
class Examination:
    """All that follows from the captures; made by `examine`."""

    verdict: Verdict
    captures: tuple[Capture, ...]
    sessions: tuple[WireSession, ...]
    ledger: Ledger
    flows: tuple[Flow, ...]
    findings: tuple[Finding, ...]
    blind_spots: tuple[BlindSpot, ...]
    controls: tuple[Control, ...]

    def __post_init__(self) -> None:
        due = _judged(self.captures, self.sessions, self.ledger, self.findings, self.blind_spots, self.controls)
        if self.verdict is not due:
            raise ValueError(f"the verdict is {self.verdict}, but what stands below it makes it {due}")

    @property
    def controlled(self) -> bool:
        """There are controls of both polarities, and each behaved as it must."""
        return _controlled(self.controls)


def examine(
    *,
    captures: Sequence[Capture],
    sessions: Sequence[WireSession],
    ledger: Ledger,
    flows: Sequence[Flow],
    findings: Sequence[Finding],
    blind_spots: Sequence[BlindSpot],
    controls: Sequence[Control],
) -> Examination:
    """The examination of these parts, sorted (so that order of arrival plays no part), with its verdict."""
    return Examination(
        verdict=_judged(captures, sessions, ledger, findings, blind_spots, controls),
        captures=tuple(captures),
        sessions=tuple(sorted(sessions)),
        ledger=Ledger(ledger.captured_bytes, ledger.unaccounted_bytes, tuple(sorted(ledger.lines))),
        flows=tuple(sorted(flows)),
        findings=tuple(sorted(findings, key=lambda each: (each.place, each))),
        blind_spots=tuple(sorted(blind_spots)),
        controls=tuple(controls),
    )


def _judged(
    captures: Sequence[Capture],
    sessions: Sequence[WireSession],
    ledger: Ledger,
    findings: Sequence[Finding],
    blind_spots: Sequence[BlindSpot],
    controls: Sequence[Control],
) -> Verdict:
    """PASS only where all was captured, decrypted and accounted for, even if nobody named a blind spot."""
    whole = bool(captures) and not any(each.kernel_drops for each in captures) and ledger.unaccounted_bytes == 0
    opened = bool(sessions) and all(each.decrypted for each in sessions)
    found = verdict(findings, blind_spots, controlled=_controlled(controls))
    return Verdict.INCOMPLETE if found is Verdict.PASS and not (whole and opened) else found


def _controlled(controls: Sequence[Control]) -> bool:
    return {each.polarity for each in controls} == set(Polarity) and all(each.behaved for each in controls)
