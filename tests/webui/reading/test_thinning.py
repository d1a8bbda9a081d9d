"""Charts of long runs keep their shape with fewer points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from webui.reading.curves import Chart, Curve
from webui.reading.thinning import largest_triangles, thinned


def naive(x: np.ndarray, y: np.ndarray, most: int) -> list[int]:
    """Every triangle of every bucket, by the determinant of its corners."""
    middle = np.arange(1, len(x) - 1)
    starts = [len(middle) * each // (most - 2) for each in range(most - 1)]
    buckets = [middle[low:high] for low, high in itertools.pairwise(starts)] + [np.array([len(x) - 1])]
    kept = [0]
    for bucket, after in itertools.pairwise(buckets):
        corner = [x[after].mean(), y[after].mean(), 1.0]
        before = [x[kept[-1]], y[kept[-1]], 1.0]
        areas = [abs(np.linalg.det([before, [x[at], y[at], 1.0], corner])) / 2 for at in bucket]
        kept.append(int(bucket[int(np.argmax(areas))]))
    return [*kept, len(x) - 1]


@pytest.mark.parametrize(("count", "most"), [(10, 3), (11, 10), (97, 20), (1000, 33)])
def test_the_points_are_those_of_the_plain_definition(count: int, most: int) -> None:
    rng = np.random.default_rng(count)
    x, y = np.cumsum(rng.uniform(0.5, 2.0, count)), np.cumsum(rng.normal(size=count))
    found = largest_triangles(list(x), list(y), most)
    assert found == naive(x, y, most)
    assert len(found) == most


def test_few_points_are_all_kept() -> None:
    assert largest_triangles([1, 2, 3], [5, 0, 5], 3) == [0, 1, 2]


def test_a_long_chart_keeps_its_ends_its_peaks_and_one_row_for_all_curves() -> None:
    smooth = [0.001 * each for each in range(10_000)]
    gaps = [None if each % 3 else 0.5 for each in range(10_000)]
    peak = [9.0 if each == 4321 else 0.0 for each in range(10_000)]
    curves = (Curve("smooth", tuple(smooth)), Curve("gaps", tuple(gaps), dashed=True), Curve("peak", tuple(peak)))
    chart = thinned(Chart("it", "It", tuple(range(10_000)), curves, "number", "says"), most=300)
    assert len(chart.x) <= 300
    assert (chart.x[0], chart.x[-1]) == (0, 9999) and list(chart.x) == sorted(set(chart.x))
    assert 4321 in chart.x and max(each or 0 for each in chart.curves[2].values) == 9.0
    assert all(len(each.values) == len(chart.x) for each in chart.curves)
    assert [each.dashed for each in chart.curves] == [False, True, False]
    assert chart.curves[0].values == tuple(0.001 * each for each in chart.x)


def test_a_chart_that_fits_is_left_as_it_is() -> None:
    chart = Chart("it", "It", (1, 2), (Curve("a", (1.0, None)),), "number", "says")
    assert thinned(chart) is chart
