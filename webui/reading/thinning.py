"""Fewer points for the same picture: a line of 2,000 points is more than a screen can show.

Largest-Triangle-Three-Buckets (Steinarsson, "Downsampling Time Series for Visual Representation", University of Iceland
2013, section 4.2): all points but the ends go into equal buckets; of each, the point is kept that spans the largest
triangle with the one kept before and the mean of the bucket after. Peaks survive, which every n-th point would miss.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from webui.reading.curves import Chart, Curve

__all__ = ["MOST", "largest_triangles", "thinned"]

MOST = 2000  # rows of a chart


def thinned(chart: Chart, most: int = MOST) -> Chart:
    """The same chart with at most `most` values of x: each curve chooses its share of them, and all keep those."""
    if len(chart.x) <= most:
        return chart
    kept = {0, len(chart.x) - 1}
    for curve in chart.curves:
        there = [at for at, value in enumerate(curve.values) if value is not None]
        values = [value for value in curve.values if value is not None]
        own = largest_triangles([chart.x[at] for at in there], values, (most - 2) // len(chart.curves))
        kept.update(there[at] for at in own)
    order = sorted(kept)
    curves = (Curve(each.name, tuple(each.values[at] for at in order), each.dashed) for each in chart.curves)
    return replace(chart, x=tuple(chart.x[at] for at in order), curves=tuple(curves))


def largest_triangles(x: Sequence[float], y: Sequence[float], most: int) -> list[int]:
    """Which of the points (x, y), in order, to keep: the first, the last, and `most` in all; `most` is 3 at least."""
    count, inner = len(x), most - 2
    if count <= most:
        return list(range(count))
    edges = [1 + at * (count - 2) // inner for at in range(inner + 1)]
    kept = [0]
    for bucket, (low, high) in enumerate(itertools.pairwise(edges)):
        after = range(high, edges[bucket + 2]) if bucket + 2 <= inner else range(count - 1, count)
        mean_x, mean_y = sum(x[at] for at in after) / len(after), sum(y[at] for at in after) / len(after)
        before_x, before_y = x[kept[-1]], y[kept[-1]]

        def area(at: int, bx: float = before_x, by: float = before_y, mx: float = mean_x, my: float = mean_y) -> float:
            return abs((bx - mx) * (y[at] - by) - (bx - x[at]) * (my - by))  # twice that of the triangle

        kept.append(max(range(low, high), key=area))
    return [*kept, count - 1]
