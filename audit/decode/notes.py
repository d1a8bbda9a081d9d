"""What decoding has to say, kept to a bound: a hostile capture must not fill memory with complaints.

The first `LIMIT` findings and blind spots of a rule are kept as they are; of the others only the number and the bytes
remain, so that the verdict is the same and the report says how many there were.
"""

from __future__ import annotations

from collections import Counter

from audit.findings import BlindSpot, Finding

__all__ = ["LIMIT", "Notes"]

LIMIT = 100


class Notes:
    """Collects findings and blind spots."""

    def __init__(self) -> None:
        self._kept: list[Finding | BlindSpot] = []
        self._seen: Counter[tuple[type[Finding | BlindSpot], str]] = Counter()
        self._more_bytes: Counter[tuple[type[Finding | BlindSpot], str]] = Counter()

    def add(self, note: Finding | BlindSpot) -> None:
        """Keep the note, or count it where its rule has had its share."""
        key = (type(note), note.rule)
        self._seen[key] += 1
        if self._seen[key] <= LIMIT:
            self._kept.append(note)
        else:
            self._more_bytes[key] += note.length

    def findings(self) -> tuple[Finding, ...]:
        """All findings in the order in which they came; one line at the end for those that were only counted."""
        kept = [each for each in self._kept if isinstance(each, Finding)]
        more = [Finding(rule, text, length=length) for rule, text, length in self._rest(Finding)]
        return tuple(kept + more)

    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """The same for blind spots."""
        kept = [each for each in self._kept if isinstance(each, BlindSpot)]
        more = [BlindSpot(rule, text, length=length) for rule, text, length in self._rest(BlindSpot)]
        return tuple(kept + more)

    def _rest(self, kind: type[Finding | BlindSpot]) -> list[tuple[str, str, int]]:
        return [
            (rule, f"{seen - LIMIT} more of this kind", self._more_bytes[kind, rule])
            for (of, rule), seen in self._seen.items()
            if of is kind and seen > LIMIT
        ]
