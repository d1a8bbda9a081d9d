"""defenses/rules/similarity.py: the papers' algorithms written out as loops, and scikit-learn's HDBSCAN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from defenses.base import DefenseError, Surroundings
from defenses.registry import build
from defenses.rules.similarity import cosines, first_majority, foolsgold_weights
from tests.defenses.rounds import aggregated, updates


def cosine_matrix(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    return wide @ wide.T / norms[:, None] / norms[None]


def naive_foolsgold(similar: np.ndarray, confidence: float = 1.0) -> list[float]:
    n = len(similar)
    most = [max(similar[i][j] for j in range(n) if j != i) for i in range(n)]
    rates = []
    for i in range(n):
        pardoned = [similar[i][j] * (most[i] / most[j] if most[j] > most[i] else 1) for j in range(n) if j != i]
        rates.append(min(max(1 - max(pardoned), 0), 1))
    top = max(rates)
    found = []
    for rate in rates:
        scaled = min(rate / top, 0.99)
        value = confidence * (math.log(scaled / (1 - scaled)) + 0.5) if scaled > 0 else 0
        found.append(min(max(value, 0), 1))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_foolsgold_gives_the_learning_rates_of_its_algorithm(seed: int) -> None:
    rows = updates(8, 20, seed)
    rows[5:] = rows[5] + 0.05 * rows[5:]
    np.testing.assert_allclose(foolsgold_weights(cosine_matrix(rows), 1.0), naive_foolsgold(cosine_matrix(rows)))


def test_foolsgold_remembers_clients_by_their_number_and_not_by_their_row() -> None:
    defense, rng = build([("foolsgold", {})], n=6, f=3), np.random.default_rng(0)
    past = np.zeros((6, 40))
    for _ in range(3):
        rows, order = rng.standard_normal((6, 40)).astype(np.float32), rng.permutation(6)
        rows[[1, 4]] = rows[1] + 0.3  # sybils 1 and 4
        past += rows
        done = defense.aggregate(rows[order], Surroundings(clients=tuple(int(i) for i in order)))
        rates = np.array(naive_foolsgold(cosine_matrix(past)))
        np.testing.assert_allclose(done.step, (rates / rates.sum()) @ rows, atol=1e-5)
        assert not done.kept[np.isin(order, [1, 4])].any()


def test_foolsgold_breaks_when_honest_clients_are_alike_as_its_guarantee_says() -> None:
    rows = np.tile(updates(1, 30), (5, 1))
    assert (aggregated("foolsgold", rows, 1).step == 0).all()
    assert foolsgold_weights(np.ones((1, 1)), 1.0).tolist() == [1.0]


def test_foolsgold_refuses_updates_of_another_length_than_its_memory() -> None:
    defense = build([("foolsgold", {})], n=3, f=1)
    defense.aggregate(updates(3, 10))
    with pytest.raises(DefenseError, match="another length"):
        defense.aggregate(updates(3, 11))


@pytest.mark.parametrize("seed", range(3))
def test_fltrust_is_its_formula(seed: int) -> None:
    rows, own = updates(7, 90, seed, shift=0.3), updates(1, 90, seed + 50, shift=0.3)[0] * np.float32(0.1)
    trust = np.maximum(rows @ own / np.linalg.norm(rows, axis=1) / np.linalg.norm(own), 0)
    scaled = rows * (np.linalg.norm(own) / np.linalg.norm(rows, axis=1))[:, None]
    done = build([("fltrust", {})], n=7, f=3).aggregate(rows, Surroundings(reference=own))
    np.testing.assert_allclose(done.step, trust @ scaled / trust.sum(), atol=1e-5)
    np.testing.assert_array_equal(done.kept, trust > 0)


def test_fltrust_is_never_longer_than_nor_against_the_servers_update_even_with_one_honest_client() -> None:
    own = updates(1, 50)[0]
    rows = np.vstack([own * 1.1, np.tile(-own * 1e12, (6, 1))])
    step = build([("fltrust", {})], n=7, f=6).aggregate(rows, Surroundings(reference=own)).step
    assert step @ own > 0 and np.linalg.norm(step) <= np.linalg.norm(own) * 1.0001


@pytest.mark.parametrize("reference", [None, np.full(4, np.nan, np.float32)])
def test_fltrust_refuses_without_a_sound_reference(reference: np.ndarray | None) -> None:
    with pytest.raises(DefenseError, match="fltrust with"):
        build([("fltrust", {})], n=3, f=1).aggregate(updates(3, 4), Surroundings(reference=reference))


def test_fltrust_trusts_nobody_when_all_go_against_it_and_a_zero_update_has_no_direction() -> None:
    own = updates(1, 20)[0]
    rows = np.vstack([-own, -own, np.zeros(20, np.float32)])
    done = build([("fltrust", {})], n=3, f=1).aggregate(rows, Surroundings(reference=own))
    assert (done.step == 0).all() and not done.kept.any()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("n", [5, 8, 11, 20])
def test_flames_clustering_is_hdbscan_with_a_majority_as_the_least_cluster(n: int, seed: int) -> None:
    rows = updates(n, 12, seed, shift=0.4)
    apart = 1.0 - np.clip(cosine_matrix(rows), -1, 1)
    np.fill_diagonal(apart, 0.0)
    peer = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", copy=True, allow_single_cluster=True
    )
    np.testing.assert_array_equal(first_majority(apart), peer.fit(apart).labels_ == 0)


def test_flame_keeps_the_majority_that_agrees_shortens_it_and_adds_noise_from_the_generator() -> None:
    base = updates(1, 3000)
    rows = np.vstack([base + 0.2 * updates(8, 3000, 1), -3 * base + 0.2 * updates(3, 3000, 2)]).astype(np.float32)
    quiet, loud = aggregated("flame", rows, 3, noise=0.0), aggregated("flame", rows, 3, noise=0.01)
    assert quiet.kept[:8].sum() >= 6 and not quiet.kept[8:].any()
    bound = float(np.median(np.linalg.norm(rows, axis=1)))
    np.testing.assert_allclose((loud.step - quiet.step).std(), 0.01 * bound, rtol=0.1)


def test_the_cosine_of_a_zero_vector_is_zero() -> None:
    assert cosines(np.array([[4.0, 0.0], [0.0, 0.0]])).tolist() == [[1.0, 0.0], [0.0, 0.0]]
