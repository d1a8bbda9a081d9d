"""What was claimed of privacy beside what audits measured: the accountant's upper bound, and the proven lower one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audit.report.measurements import Bound
from audit.report.shape import ShapeError
from secure_fl.errors import NotFoundError
from webui.reading.audits import audit_of, audits_of

__all__ = ["BoundLine", "bounds_of"]


@dataclass(frozen=True)
class BoundLine:
    """One test of one audit. upper: ε that was claimed; lower: ε that the test proves was spent (None: nothing)."""

    run: str
    test: str
    site: str
    upper: float | None
    lower: float | None
    confidence: float | None
    outcome: str
    detail: str
    assumes: str


def bounds_of(home: Path) -> tuple[BoundLine, ...]:
    """Those of all audits, newest run first."""
    found = []
    for line in audits_of(home):
        try:
            document = audit_of(home, line.run)
        except (NotFoundError, ShapeError):
            continue
        found += [_line(line.run, each) for each in document.privacy.bounds]
    return tuple(found)


def _line(run: str, bound: Bound) -> BoundLine:
    return BoundLine(
        run=run,
        test=bound.test,
        site=bound.site,
        upper=bound.claimed,
        lower=bound.lower,
        confidence=bound.confidence,
        outcome=str(bound.outcome),
        detail=bound.detail,
        assumes=bound.assumes,
    )
