"""What one scan, with everything that is unwrapped in it, has found, may still cost, and could not see.

Hostile bytes can ask for any amount of work: thousands of starts that nearly are files, bombs, wrappers in wrappers.
All of it is paid from one credit, 16 MiB and 8 bytes more for each byte scanned, so that the time stays linear; what
is refused for want of credit becomes a `BlindSpot`, and a stream with one never passes the audit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from audit.detect.formats import Format, Match
from audit.detect.prefilter import Prefilter
from audit.findings import BlindSpot, Finding, Place

__all__ = ["CREDIT", "CREDIT_A_BYTE", "MAX_FINDINGS", "Account"]

CREDIT, CREDIT_A_BYTE = 16 << 20, 8
MAX_FINDINGS = 1000


@dataclass
class Account:
    """What one stream, with everything unwrapped from it, has found, may still cost, and could not see."""

    place: Place
    engine: Prefilter
    findings: list[Finding] = field(default_factory=list)
    blind_spots: dict[str, BlindSpot] = field(default_factory=dict)
    credit: int = CREDIT
    open: int = 0
    headerless: bool = True  # whether headerless deflate is tried at all

    def spend(self, cost: int, origin: int) -> bool:
        """Whether `cost` can still be paid."""
        if self.credit < cost:
            self.blind("scan/work", "the bytes ask for more unwrapping than an audit grants", origin)
            return False
        self.credit -= cost
        return True

    def blind(self, rule: str, message: str, origin: int) -> None:
        """Note what stays unseen, once a rule."""
        self.blind_spots.setdefault(rule, BlindSpot(rule, message, self._at(origin)))

    def find(self, kind: Format, match: Match, head: bytes, origin: int, via: tuple[str, ...]) -> None:
        """Note a file. `origin`: where in the stream it, or the outermost of its wrappers, begins."""
        if len(self.findings) >= MAX_FINDINGS:
            self.blind("scan/findings", f"more than {MAX_FINDINGS} findings; no more are listed", origin)
            return
        inside = f" inside {' in '.join(reversed(via))}" if via else ""
        digest = hashlib.sha256(head).hexdigest()
        message = match.description + inside
        self.findings.append(Finding(kind.rule, message, self._at(origin), match.length, digest, via))

    def _at(self, origin: int) -> Place:
        return replace(self.place, offset=self.place.offset + origin)
