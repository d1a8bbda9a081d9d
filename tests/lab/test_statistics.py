"""Statistics against scipy, closed forms and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from secure_fl.lab.statistics import (
    COVERAGE,
    Breakdown,
    breakdown,
    estimate,
    holm,
    least_p,
    pairs_needed,
    sign_flip_p,
    worst_case,
)

FIVE = [0.81, 0.79, 0.84, 0.80, 0.77]
numbers = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=3, max_size=5)

# -- intervals


def test_three_values_give_their_range() -> None:
    # Each end has a chance of 1/27 > 2.5 %, so nothing is cut off.
    found = estimate([0.2, 0.9, 0.4])
    assert (found.low, found.high, found.count) == (0.2, 0.9, 3)
    assert found.mean == pytest.approx(0.5)


@given(numbers)
def test_the_interval_is_that_of_all_resamples_listed(values: list[float]) -> None:
    means = np.sort(np.array(list(itertools.product(values, repeat=len(values)))).mean(axis=1))
    cut = math.ceil(0.025 * len(means)) - 1
    found = estimate(values)
    assert found.low == pytest.approx(means[cut], abs=1e-9)
    assert found.high == pytest.approx(means[len(means) - 1 - cut], abs=1e-9)


@pytest.mark.parametrize("count", [5, 9, 25])
def test_the_interval_agrees_with_scipys_percentile_bootstrap(count: int) -> None:
    values = np.random.default_rng(count).normal(0.8, 0.05, count)
    peer = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=40_000, random_state=0)
    found = estimate(values.tolist())
    assert found.low == pytest.approx(peer.confidence_interval.low, abs=0.002)
    assert found.high == pytest.approx(peer.confidence_interval.high, abs=0.002)


@given(numbers, st.floats(-5, 5))
def test_an_interval_moves_with_its_values_and_turns_with_their_sign(values: list[float], by: float) -> None:
    found = estimate(values)
    moved, turned = estimate([each + by for each in values]), estimate([-each for each in values])
    assert found.low is not None
    assert found.high is not None
    assert (moved.low, moved.high) == pytest.approx((found.low + by, found.high + by), abs=1e-9)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=12).tolist()
    assert estimate(values, seed=3) == estimate(values, seed=3)
    assert estimate(values, seed=3) != estimate(values, seed=4)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.7]])
def test_one_or_two_values_get_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert (found.low, found.high) == (None, None)
    assert found.mean == pytest.approx(np.mean(values))


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf, 1.0, 2.0]])
def test_nothing_and_what_is_not_finite_are_refused(values: list[float]) -> None:
    for of in (estimate, sign_flip_p, lambda each: worst_case([each])):
        with pytest.raises(ValueError, match="finite"):
            of(values)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_coverage_that_we_admit_is_the_coverage_that_we_have(count: int) -> None:
    rng, tries = np.random.default_rng(count), 1_000
    found = [estimate(rng.standard_normal(count).tolist()) for _ in range(tries)]
    share = np.mean([each.low <= 0 <= each.high for each in found if each.low is not None and each.high is not None])
    assert share == pytest.approx(COVERAGE[count], abs=0.01 + 3 * math.sqrt(0.25 / tries))


# -- the worst of several


def test_the_worst_case_is_the_lowest_mean_with_the_choice_made_anew_in_each_resample() -> None:
    rows = np.array([[0.9, 0.2, 0.9], [0.5, 0.6, 0.7]])
    found = worst_case(rows)
    assert found.row == 1
    assert found.estimate.mean == pytest.approx(0.6)
    resampled = [rows[:, pick].mean(axis=1).min() for pick in itertools.product(range(3), repeat=3)]
    assert found.estimate.low == pytest.approx(min(resampled))
    assert found.estimate.low < estimate(rows[1].tolist()).low  # type: ignore[operator] # the other row can be worse
    assert found.estimate.high == pytest.approx(max(resampled))


def test_the_worst_of_one_is_that_one() -> None:
    assert worst_case([FIVE]).estimate == estimate(FIVE)


# -- paired tests


@given(numbers)
@example([-0.078, 0.981, -0.885, -0.018])  # zero on paper, and added up in another order another tiny number
def test_p_is_that_of_all_sign_patterns_listed(values: list[float]) -> None:
    sums = np.array(list(itertools.product((-1, 1), repeat=len(values)))) @ values
    expected = np.mean(np.abs(sums) >= abs(sum(values)) - 1e-9)
    assert sign_flip_p(values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [3, 6, 9])
def test_p_agrees_with_scipys_paired_permutation_test(count: int) -> None:
    rng = np.random.default_rng(count)
    ours, theirs = rng.normal(0.8, 0.1, count), rng.normal(0.7, 0.1, count)
    peer = stats.permutation_test(
        (ours, theirs), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip_p((ours - theirs).tolist()) == pytest.approx(peer.pvalue)


def test_for_differences_of_one_size_the_test_is_the_signed_rank_test() -> None:
    differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert sign_flip_p(differences) == stats.wilcoxon(differences, method="exact").pvalue == least_p(6)


@pytest.mark.parametrize(("pairs", "least"), [(1, 1.0), (3, 0.25), (6, 0.03125)])
def test_however_large_the_differences_p_is_not_below_what_the_number_of_pairs_allows(pairs: int, least: float) -> None:
    assert sign_flip_p([1e6] * pairs) == least_p(pairs) == least


def test_equal_pairs_show_nothing() -> None:
    assert sign_flip_p([0.0] * 5) == 1.0


def test_for_many_pairs_p_is_drawn_reproducibly_and_never_zero() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 30).tolist()
    assert sign_flip_p(values, seed=1) == sign_flip_p(values, seed=1)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    assert sign_flip_p([1.0] * 40) == pytest.approx(1e-4, rel=0.01)


def test_needed_pairs_are_the_fewest_that_can_pass_holms_first_step() -> None:
    for comparisons in (1, 3, 20, 400):
        needed = pairs_needed(comparisons)
        assert comparisons * least_p(needed) <= 0.05 < comparisons * least_p(needed - 1)
    assert pairs_needed(1) == 6


# -- Holm


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(ps: list[float], level: float) -> None:
    rejected = set()
    for step, at in enumerate(sorted(range(len(ps)), key=lambda each: ps[each])):
        if (len(ps) - step) * ps[at] > level:
            break
        rejected.add(at)
    assert {at for at, p in enumerate(holm(ps)) if p <= level} == rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(ps: list[float]) -> None:
    assert all(p <= h <= min(1.0, len(ps) * p) for p, h in zip(ps, holm(ps), strict=True))


# -- breakdown


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([(0, 0.9), (1, 0.8), (2, 0.3)], Breakdown(1, 2)),
        ([(2, 0.3), (0, 0.9), (1, 0.8)], Breakdown(1, 2)),
        ([(0, 0.9), (2, 0.8)], Breakdown(2, None)),
        ([(0, 0.2), (1, 0.9)], Breakdown(None, 0)),
        ([(0, 0.9), (1, 0.2), (2, 0.9)], Breakdown(0, 1)),
        ([(0, 0.9), (1, math.nan)], Breakdown(0, 1)),
        ([(0, 0.5)], Breakdown(0, None)),
        ([], Breakdown(None, None)),
    ],
    ids=["falls", "any order", "never", "at once", "comes back", "not a number", "at the threshold", "no curve"],
)
def test_a_breakdown_is_the_bracket_of_the_first_crossing(curve: list[tuple[int, float]], expected: Breakdown) -> None:
    assert breakdown(curve, 0.5) == expected
