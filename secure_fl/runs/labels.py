"""Where to write the names at the ends of lines, so that none covers another. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["spread"]


def spread(wanted: Sequence[float], gap: float, *, low: float, high: float) -> list[float]:
    """Positions in [low, high], at least `gap` apart, in the order of `wanted`, as close to it as possible.

    With the i-th smallest shifted down by i·gap, "at least a gap apart" becomes "ascending", and the
    ascending sequence nearest to given numbers in least squares is what pooling adjacent violators
    yields (isotonic regression). Where there is no room, the gap is made smaller.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []  # (sum, count) of numbers that share one place
    for rank, index in enumerate(order):
        total, count = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before, members = pools.pop()
            total, count = total + before, count + members
        pools.append((total, count))
    top = high - (len(wanted) - 1) * gap
    level = [min(max(total / count, low), top) for total, count in pools for _ in range(count)]
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = level[rank] + rank * gap
    return places
