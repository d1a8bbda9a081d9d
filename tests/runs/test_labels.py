from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.runs.labels import spread

shares = st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=12)


@given(shares, st.floats(0.01, 0.3))
def test_labels_stay_inside_apart_and_in_order(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap, low=0.0, high=1.0)
    room = min(gap, 1.0 / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    ascending = np.array(places)[order]
    assert ascending[0] >= -1e-9
    assert ascending[-1] <= 1 + 1e-9
    assert (np.diff(ascending) >= room - 1e-9).all()


@given(st.lists(st.floats(0.2, 0.8), min_size=1, max_size=5))
def test_no_small_shift_of_any_group_would_be_nearer(wanted: list[float]) -> None:
    """A projection onto a convex set: no feasible point is nearer in least squares (checked on random ones)."""
    gap = 0.05
    places = np.array(spread(wanted, gap, low=-9.0, high=9.0))
    order = np.argsort(wanted, kind="stable")
    best = ((places - wanted) ** 2).sum()
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = np.empty(len(wanted))
        steps = gap + rng.exponential(0.05, len(wanted))
        other[order] = np.sort(wanted)[0] - rng.uniform(-0.2, 0.2) + np.cumsum(steps) - steps[0]
        assert ((other - wanted) ** 2).sum() >= best - 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1, low=0.0, high=1.0) == pytest.approx([0.9, 0.1, 0.5])


def test_labels_that_meet_are_spread_around_their_place() -> None:
    assert spread([0.5, 0.5, 0.5], 0.1, low=0.0, high=1.0) == pytest.approx([0.4, 0.5, 0.6])


def test_nothing_to_label_is_no_trouble() -> None:
    assert spread([], 0.1, low=0.0, high=1.0) == []
