"""Tails and quantiles, held to SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from audit.leakage import distributions as ours


@pytest.mark.parametrize("x", [-300.0, -40.0, -30.0, -29.9, -5.0, 0.0, 3.0, 8.0])
def test_the_normal_tail_and_its_logarithm_are_scipys(x):
    assert ours.normal_lower_tail(x) == pytest.approx(scipy.stats.norm.cdf(x), rel=1e-12, abs=1e-300)
    assert ours.normal_log_lower_tail(x) == pytest.approx(scipy.stats.norm.logcdf(x), rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 20, 500, 4_998, 100_000])
@pytest.mark.parametrize("p", [1e-6, 4e-4, 0.3, 0.5, 0.999, 1 - 1e-6])
def test_chi_square_tails_and_quantiles_are_scipys(degrees, p):
    x = scipy.stats.chi2.ppf(p, degrees)
    assert ours.chi2_quantile(p, degrees) == pytest.approx(x, rel=1e-9)
    assert ours.chi2_lower_tail(x, degrees) == pytest.approx(p, rel=1e-8)
    assert ours.chi2_upper_tail(x, degrees) == pytest.approx(scipy.stats.chi2.sf(x, degrees), rel=1e-8)


def test_no_mass_lies_below_zero():
    assert (ours.chi2_lower_tail(0.0, 3), ours.chi2_upper_tail(-1.0, 3)) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 30, 2_500])
@pytest.mark.parametrize("p", [0.003, 0.5, 0.98])
def test_binomial_mass_and_tail_are_scipys(n, p):
    k = np.arange(n + 1)
    np.testing.assert_allclose(ours.binomial_log_pmf(n, p), scipy.stats.binom.logpmf(k, n, p), rtol=1e-9, atol=1e-9)
    for hits in (0, 1, n // 2, n, n + 1):
        expected = scipy.stats.binom.sf(hits - 1, n, p)
        assert ours.binomial_upper_tail(hits, n, p) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_a_certain_and_an_impossible_event_have_their_tails():
    assert [ours.binomial_upper_tail(k, 4, 1.0) for k in (4, 5)] == [1.0, 0.0]
    assert [ours.binomial_upper_tail(k, 4, 0.0) for k in (0, 1)] == [1.0, 0.0]


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (10, 10), (1, 1), (7, 359), (500, 1_000), (3, 20_000)])
def test_intervals_of_a_probability_are_scipys_exact_ones(hits, trials):
    expected = scipy.stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert ours.clopper_pearson(hits, trials, confidence=0.95) == pytest.approx(tuple(expected), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_hits_that_cannot_be_are_refused(hits, trials):
    with pytest.raises(ValueError, match="hits of"):
        ours.clopper_pearson(hits, trials, confidence=0.95)


@pytest.mark.parametrize("n", [50, 1_000])
@pytest.mark.parametrize("p", [0.9, 0.2, 0.01, 1e-4])
def test_kolmogorovs_tail_is_near_the_exact_one(n, p):
    distance = scipy.stats.kstwo.ppf(1 - p, n)
    assert ours.kolmogorov_upper_tail(distance, n) == pytest.approx(p, rel=0.05)


def test_a_gap_of_nothing_is_always_exceeded():
    assert ours.kolmogorov_upper_tail(0.0, 100) == 1.0
