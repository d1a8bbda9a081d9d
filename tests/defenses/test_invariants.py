"""What holds of a rule whatever the updates are: each test names the rules of which it is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from defenses.registry import RULES
from tests.defenses.rounds import ALL, PARAMETERS, ROBUST, aggregated, updates

# MoNNA has its pivot. Bulyan's last picks are two vectors that are each other's nearest, and MDA may have several
# subsets of one diameter: both then take the lower row.
UNORDERED = tuple(name for name in RULES if name not in ("monna", "bulyan", "mda"))
SHIFTED = ("mean", "median", "trimmed_mean", "meamed", "krum", "multi_krum", "bulyan", "geometric_median")
SHIFTED += ("mda", "monna", "smea", "caf", "dnc", "nnm+median", "nnm+multi_krum", "nnm+geometric_median")
# With f=0 the plain mean. Not so: rules that pick or weigh whatever f is.
MEAN_WITHOUT_ATTACKERS = ("mean", "trimmed_mean", "meamed", "multi_krum", "bulyan", "mda", "monna", "smea", "caf")
MEAN_WITHOUT_ATTACKERS += ("dnc", "nnm+mean", "arc+mean", "nnm+trimmed_mean")
BETWEEN = ("mean", "median", "trimmed_mean", "meamed", "krum", "multi_krum", "bulyan", "geometric_median", "mda")
BETWEEN += ("monna", "smea", "caf", "dnc", "nnm+median", "nnm+krum")
CASES = settings(max_examples=15)


def as_rule(name: str) -> str:
    return name if name.split("+")[-1] in RULES else f"{name}+mean"


@pytest.mark.parametrize("name", UNORDERED)
@CASES
@given(seed=st.integers(0, 10**6))
@example(seed=411)  # SignGuard: two clusters of as many updates
def test_the_order_of_the_updates_does_not_matter(name: str, seed: int) -> None:
    rows, order = updates(11, 64, seed), np.random.default_rng(seed).permutation(11)
    one, other = aggregated(name, rows, 2), aggregated(name, rows[order], 2)
    np.testing.assert_allclose(one.step, other.step, atol=2e-5)
    np.testing.assert_array_equal(one.kept[order], other.kept)


@pytest.mark.parametrize("name", SHIFTED)
@CASES
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50, width=32))
def test_a_shift_of_all_updates_shifts_the_step(name: str, seed: int, shift: float) -> None:
    rows = updates(11, 40, seed)
    moved = rows + np.float32(shift)
    np.testing.assert_allclose(aggregated(name, moved, 2).step, aggregated(name, rows, 2).step + shift, atol=2e-4)


@pytest.mark.parametrize("name", ROBUST)
@CASES
@given(seed=st.integers(0, 10**6), power=st.integers(-40, 40))
def test_updates_in_another_unit_give_the_step_in_that_unit(name: str, seed: int, power: int) -> None:
    rows, factor = updates(11, 40, seed), np.float32(2.0) ** power
    np.testing.assert_allclose(aggregated(name, rows * factor, 2).step / factor, aggregated(name, rows, 2).step, 1e-4)


@pytest.mark.parametrize("name", MEAN_WITHOUT_ATTACKERS)
@CASES
@given(seed=st.integers(0, 10**6), n=st.integers(3, 12))
def test_where_nobody_is_hostile_the_mean_comes_out(name: str, seed: int, n: int) -> None:
    rows = updates(n, 30, seed)
    np.testing.assert_allclose(aggregated(name, rows, 0).step, rows.mean(axis=0), atol=2e-6)


# FoolsGold takes equal updates for sybils, by design.
@pytest.mark.parametrize("name", [name for name in ALL if name != "foolsgold"])
def test_equal_updates_come_back(name: str) -> None:
    rows = np.tile(updates(1, 50, shift=0.01) * np.float32(0.5), (11, 1))
    np.testing.assert_allclose(aggregated(as_rule(name), rows, 2).step, rows[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", BETWEEN)
@CASES
@given(seed=st.integers(0, 10**6))
def test_each_coordinate_lies_between_the_updates_values(name: str, seed: int) -> None:
    rows = updates(11, 30, seed)
    step = aggregated(name, rows, 2).step
    assert (step >= rows.min(axis=0) - 1e-6).all() and (step <= rows.max(axis=0) + 1e-6).all()


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "meamed"])
@CASES
@given(seed=st.integers(0, 10**6), size=st.floats(-(2.0**100), 2.0**100, width=32))
def test_coordinate_rules_stay_within_the_honest_range(name: str, seed: int, size: float) -> None:
    honest = updates(9, 30, seed)
    step = aggregated(name, np.vstack([honest, np.full((2, 30), size, np.float32)]), 2).step
    if name == "meamed":  # n − f values around the median may be any but the f farthest
        spread = honest.max(axis=0) - honest.min(axis=0)
        assert (step >= honest.min(axis=0) - spread).all() and (step <= honest.max(axis=0) + spread).all()
    else:
        assert (step >= honest.min(axis=0)).all() and (step <= honest.max(axis=0)).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e18, 3.4e38])
def test_what_attackers_send_leaves_no_nan_and_no_infinity_in_the_step(name: str, value: float) -> None:
    rows = updates(11, 600)
    rows[4, 17] = rows[9] = value
    done = aggregated(as_rule(name), rows, 2)
    assert np.isfinite(done.step).all()
    assert done.weights is None or np.isfinite(done.weights).all()
    assert done.masked.sum() == (2 if not np.isfinite(value) else 0)
    assert not (done.kept & done.masked).any()


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_masked_row_counts_against_f_and_the_others_are_treated_as_without_it(name: str, value: float) -> None:
    rows = updates(12, 300)
    rows[11, 5] = value
    with_fault, without = aggregated(name, rows, 2), aggregated(name, rows[:11], 1)
    np.testing.assert_allclose(with_fault.step, without.step, atol=1e-6)
    np.testing.assert_array_equal(with_fault.kept[:11], without.kept)


@pytest.mark.parametrize("name", [*ROBUST, "nnm+trimmed_mean", "nnm+krum", "arc+nnm+geometric_median"])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_bounded_by_the_honest_spread_whatever_is_sent(name: str, seed: int) -> None:
    # (f, κ)-robustness, Allouah et al. 2023: ‖step − honest mean‖² ≤ κ·(1/|H|) Σ‖x_i − honest mean‖².
    rng, f, d = np.random.default_rng(seed), 2, 300
    honest = updates(9, d, seed, shift=1.0)
    mean, spread = honest.mean(axis=0), float(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())
    hostile = {
        "opposite": -mean * 3,
        "far": rng.standard_normal(d) * 1e6,
        "little": mean - 1.5 * honest.std(axis=0),
        "zero": np.zeros(d),
        "copy": honest[0],
    }
    for sent in hostile.values():
        rows = np.vstack([honest, np.tile(sent.astype(np.float32), (f, 1))])
        error = float(((aggregated(name, rows, f).step - mean) ** 2).sum())
        assert error <= 4.0 * spread + float((mean**2).sum()) * (0.1 if name in CLIPPERS else 0.0)


# Their step is shortened: the bias has the size of the step, not of the spread.
CLIPPERS = ("norm_clipping", "centered_clipping", "signguard", "flame")


def test_every_rule_is_in_some_list_of_invariants() -> None:
    assert set(RULES) <= {*UNORDERED, *SHIFTED} and set(PARAMETERS) <= set(ALL)
