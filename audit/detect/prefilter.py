"""Where a file or a wrapper might begin: all patterns in one pass over the bytes.

Hyperscan (Intel, BSD licence) where it is installed: 1.5 GB/s of CPU for all patterns. Without it Python's `re`, one
pass a pattern, each anchored on a literal: the same hits in the same order (tests/audit/detect/test_prefilter.py),
slower by the number of patterns. Blocks and not Hyperscan's streams: in streaming mode the binding crashed the
process in a trial; the caller lets blocks overlap instead.

Expressions are of fixed width and in the syntax that both engines share, "." matching any byte.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["HyperscanPrefilter", "Pattern", "PortablePrefilter", "Prefilter", "best_prefilter"]


@dataclass(frozen=True)
class Pattern:
    """Bytes to look for. `width`: how many they are; `back`: how far behind the item's start they stand."""

    expression: bytes
    width: int
    back: int = 0


class Prefilter(Protocol):
    """What both engines do."""

    def hits(self, data: bytes) -> list[tuple[int, int]]:
        """(offset, index of the pattern) of every occurrence, overlapping ones too, in ascending order."""
        ...


class PortablePrefilter:
    """Python's `re`, one pass a pattern."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = [re.compile(each.expression, re.DOTALL) for each in patterns]

    def hits(self, data: bytes) -> list[tuple[int, int]]:
        """As in `Prefilter`."""
        found = []
        for index, pattern in enumerate(self._patterns):
            # Not finditer: it leaves out an occurrence that overlaps the one before.
            match = pattern.search(data)
            while match:
                found.append((match.start(), index))
                match = pattern.search(data, match.start() + 1)
        return sorted(found)


class HyperscanPrefilter:
    """All patterns as one automaton.

    Raises:
        ImportError: hyperscan is not installed.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        import hyperscan

        self._widths = [each.width for each in patterns]
        self._lock = threading.Lock()  # one scratch space serves one scan at a time
        self._database: Any = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=[each.expression for each in patterns],
            ids=list(range(len(patterns))),
            elements=len(patterns),
            flags=[hyperscan.HS_FLAG_DOTALL] * len(patterns),
        )

    def hits(self, data: bytes) -> list[tuple[int, int]]:
        """As in `Prefilter`."""
        if not data:
            return []
        found: list[tuple[int, int]] = []
        widths = self._widths

        def note(index: int, _start: int, end: int, _flags: int, _context: object) -> None:
            found.append((end - widths[index], index))

        with self._lock:
            self._database.scan(data, match_event_handler=note)
        return sorted(found)


def best_prefilter(patterns: Sequence[Pattern]) -> Prefilter:
    """Hyperscan where it is installed, else the portable engine."""
    if importlib.util.find_spec("hyperscan") is None:
        return PortablePrefilter(patterns)
    return HyperscanPrefilter(patterns)
