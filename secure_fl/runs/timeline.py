"""The time axis of the resource figure: seconds in which the run was active, whatever lay between.

A run that is interrupted in the evening and resumed in the morning would be two slivers at the ends of
an empty figure. So a gap between two samples that is much longer than the usual distance, or before
another attempt, is a break: it takes no room on the axis and is marked instead. Pure functions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from secure_fl.runs.resources import Sample
from secure_fl.runs.rows import RoundRow

__all__ = ["Span", "Timeline", "round_spans"]

# A gap is a break when it is this many times the usual distance of samples, and at least so many seconds.
_BREAK_FACTOR = 10.0
_BREAK_AT_LEAST_S = 15.0


@dataclass(frozen=True, slots=True)
class Span:
    """Where a round lies on the axis, in active seconds."""

    round: int
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """`active_s[i]` belongs to the clock time `clock_s[i]`; both ascend. `breaks_s` are where time was left out."""

    clock_s: tuple[float, ...]
    active_s: tuple[float, ...]
    breaks_s: tuple[float, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Timeline:
        """samples: oldest first, at least one. A clock that was set back counts as no time passing."""
        clock_s, active_s, breaks_s = [samples[0].time_s], [0.0], []
        gaps_s = [later.time_s - earlier.time_s for earlier, later in pairwise(samples)]
        longest_s = max(_BREAK_AT_LEAST_S, _BREAK_FACTOR * median(gaps_s)) if gaps_s else 0.0
        for (before, sample), gap_s in zip(pairwise(samples), gaps_s, strict=True):
            is_break = gap_s > longest_s or sample.t_s < before.t_s  # `t_s` begins anew with each attempt
            if is_break:
                breaks_s.append(active_s[-1])
            active_s.append(active_s[-1] + (0.0 if is_break else max(0.0, gap_s)))
            clock_s.append(max(clock_s[-1], sample.time_s))
        return cls(tuple(clock_s), tuple(active_s), tuple(breaks_s))

    def place(self, clock_s: float) -> float:
        """The active seconds at a clock time, linear between samples and held at the ends."""
        right = bisect_right(self.clock_s, clock_s)
        if right == 0 or right == len(self.clock_s):
            return self.active_s[-1 if right else 0]
        span_s = self.clock_s[right] - self.clock_s[right - 1]
        share = (clock_s - self.clock_s[right - 1]) / span_s
        return self.active_s[right - 1] + share * (self.active_s[right] - self.active_s[right - 1])


def round_spans(timeline: Timeline, rounds: Sequence[RoundRow]) -> list[Span]:
    """Where each finished round lies on the axis; round 0 has no beginning of its own and is left out."""

    def place(moment: str) -> float:
        return timeline.place(datetime.fromisoformat(moment).timestamp())

    return [Span(row.round, place(row.started), place(row.finished)) for row in rounds if row.started and row.finished]
