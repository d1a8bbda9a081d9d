"""defenses/networks.py, by the zero-one principle: a network that sorts all zeros and ones sorts everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from defenses.networks import batcher, network


def run(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    values = values.copy()
    for i, j, smaller, larger in steps.tolist():
        a, b = np.minimum(values[i], values[j]), np.maximum(values[i], values[j])
        # What the network does not ask for is spoilt, so that a result which needs it shows.
        values[i], values[j] = (a if smaller else -99), (b if larger else 99)
    return values


@pytest.mark.parametrize("n", range(1, 13))
def test_every_sequence_of_zeros_and_ones_is_sorted(n: int) -> None:
    values = np.array(list(itertools.product((0, 1), repeat=n))).T
    assert (run(network(n, 0, n), values) == np.sort(values, axis=0)).all()


@pytest.mark.parametrize("n", range(1, 11))
def test_a_pruned_network_still_places_what_was_asked_for(n: int) -> None:
    values = np.array(list(itertools.product((0, 1), repeat=n))).T
    ordered = np.sort(values, axis=0)
    for low, high in itertools.combinations(range(n + 1), 2):
        assert (run(network(n, low, high), values)[low:high] == ordered[low:high]).all()


@pytest.mark.parametrize("n", [16, 50, 100])
def test_pruning_leaves_fewer_comparisons_for_a_median(n: int) -> None:
    assert len(network(n, n // 2, n // 2 + 1)) < len(batcher(n))
    values = np.random.default_rng(n).standard_normal((n, 300))
    assert (run(network(n, n // 2, n // 2 + 1), values)[n // 2] == np.sort(values, axis=0)[n // 2]).all()


def test_a_network_is_shared_and_therefore_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        network(5, 2, 3)[0, 0] = 1
