"""The byte ledger: which part of what was captured is what.

Each byte of TCP payload on the audited port belongs to one category of one direction of one session. Categories that
begin with "blind/" hold bytes that nobody could read; `unaccounted_bytes` is what is in no readable category, so that
a layer that forgets to book its bytes shows up as unaccounted and never as silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

__all__ = ["MAX_PAGES", "Ledger", "Page"]

# A hostile capture may open millions of sessions; those beyond the bound share the page of session "".
MAX_PAGES = 1 << 17


class Page:
    """The account of one direction of one session."""

    __slots__ = ("captured", "parts")

    def __init__(self) -> None:
        self.captured = 0  # bytes of TCP payload, repetitions counted
        self.parts: Counter[str] = Counter()

    @property
    def unaccounted_bytes(self) -> int:
        """What was captured and is in no readable category."""
        return self.captured - sum(n for part, n in self.parts.items() if not part.startswith("blind/"))


class Ledger:
    """All pages."""

    def __init__(self) -> None:
        self.pages: dict[tuple[str, str], Page] = {}

    def page(self, session: str, direction: str) -> Page:
        """The page of a session and direction, opened when it is first asked for."""
        key = (session, direction)
        if key not in self.pages and len(self.pages) >= MAX_PAGES:
            key = ("", direction)
        return self.pages.setdefault(key, Page())

    @property
    def captured_bytes(self) -> int:
        """Bytes of TCP payload on the audited port."""
        return sum(page.captured for page in self.pages.values())

    @property
    def unaccounted_bytes(self) -> int:
        """Of them, those in no readable category. Pages are added up by size: none can make up for another."""
        return sum(abs(page.unaccounted_bytes) for page in self.pages.values())

    def by_category(self) -> Mapping[str, int]:
        """Bytes of each category over all pages, largest first."""
        total: Counter[str] = Counter()
        for page in self.pages.values():
            total.update(page.parts)
        return {part: size for part, size in total.most_common() if size}
