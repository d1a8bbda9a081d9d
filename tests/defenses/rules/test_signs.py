"""defenses/rules/signs.py: definitions in NumPy, and scikit-learn's mean shift."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.cluster import MeanShift, estimate_bandwidth

from defenses.rules.signs import largest_cluster
from tests.defenses.rounds import aggregated, updates


@pytest.mark.parametrize("threshold", [0, 1, 4, 9])
def test_rlr_turns_around_the_coordinates_in_which_signs_disagree(threshold: int) -> None:
    rows = updates(9, 500)
    agree = np.abs(np.sign(rows).sum(axis=0)) >= (threshold or 3)
    mean = rows.astype(np.float64).mean(axis=0)
    found = aggregated("rlr", rows, 2, threshold=threshold).step
    np.testing.assert_allclose(found, np.where(agree, mean, -mean), atol=1e-6)


def test_rlr_does_not_bound_norms_as_its_guarantee_says() -> None:
    rows = np.abs(updates(9, 10))
    rows[0] = 1e9
    assert aggregated("rlr", rows, 1).step.max() > 1e7


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_cluster_is_that_of_mean_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 25))
    far = int(rng.integers(1, n // 2))
    features = np.vstack([rng.normal(0.5, 0.01, (n - far, 3)), rng.normal(0.7, 0.01, (far, 3))])
    width = estimate_bandwidth(features, quantile=0.5, n_samples=None)
    labels = MeanShift(bandwidth=width).fit(features).labels_
    np.testing.assert_array_equal(largest_cluster(features), labels == np.bincount(labels).argmax())


def test_of_two_clusters_as_large_the_one_with_the_greater_features_counts_in_whatever_order() -> None:
    features = np.array([[0.5, 0.0, 0.5], [0.51, 0.0, 0.49], [0.7, 0.0, 0.3], [0.71, 0.0, 0.29]])
    for order in itertools.permutations(range(4)):
        shuffled = features[list(order)]
        np.testing.assert_array_equal(largest_cluster(shuffled), shuffled[:, 0] > 0.6)


def test_signguard_leaves_out_turned_and_stretched_updates_and_shortens_the_rest() -> None:
    rows = updates(11, 5000, shift=0.3)
    rows[0], rows[1] = -rows[0], rows[1] * 50
    done = aggregated("signguard", rows, 2)
    assert not done.kept[:2].any() and done.kept[2:].sum() >= 5
    norms = np.linalg.norm(rows, axis=1)
    factors = np.minimum(1, np.median(norms) / norms)[:, None]
    np.testing.assert_allclose(done.step, (rows * factors)[done.kept].mean(axis=0), atol=1e-5)


def test_signguard_breaks_by_attackers_with_honest_shares_of_signs() -> None:
    rows = updates(11, 5000, shift=0.3)
    rng = np.random.default_rng(0)
    rows[:5] = rows[5][rng.permutation(5000)]  # the same shares, another direction
    assert aggregated("signguard", rows, 5).kept[:5].any()


def test_where_no_update_passes_both_filters_those_of_ordinary_length_do() -> None:
    rows = np.vstack([np.full((4, 9), 1e-9), -np.ones((3, 9))]).astype(np.float32)
    done = aggregated("signguard", rows, 3, shortest=0.5, longest=1.5)
    assert np.isfinite(done.step).all()
