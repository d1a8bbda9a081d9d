"""byzfl and Flower as oracles: the same rounds, theirs in float64, ours in float32.

Where they differ by definition it is said: byzfl counts n − f − 1 neighbours in Krum; its CAF and SMEA start from
random vectors, so they have naive references in `rules/` instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import byzfl
import numpy as np
import pytest
from byzfl.aggregators import preaggregators
from flwr.server.strategy.aggregate import (
    aggregate_bulyan,
    aggregate_krum,
    aggregate_median,
    aggregate_trimmed_avg,
)

from defenses.gram import gram
from defenses.rows import mix
from defenses.rules.front import nnm_mixing
from defenses.rules.krum import krum_scores
from tests.defenses.rounds import aggregated, updates

Peer = Callable[[int], Callable[[np.ndarray], np.ndarray]]

BYZFL: dict[str, Peer] = {
    "mean": lambda f: byzfl.Average(),
    "median": lambda f: byzfl.Median(),
    "trimmed_mean": lambda f: byzfl.TrMean(f),
    "meamed": lambda f: byzfl.Meamed(f),
    "mda": lambda f: byzfl.MDA(f),
    "monna": lambda f: byzfl.MoNNA(f, 0),
}
FRONT: dict[str, Peer] = {"nnm": lambda f: preaggregators.NNM(f), "arc": lambda f: preaggregators.ARC(f)}
SIZES = [(3, 1), (7, 2), (10, 3), (11, 5), (26, 2)]


def small(n: int, f: int, name: str) -> bool:
    return name != "mda" or math.comb(n, f) < 500  # byzfl lists all subsets


@pytest.mark.parametrize(("name", "n", "f"), [(name, n, f) for name in BYZFL for n, f in SIZES if small(n, f, name)])
@pytest.mark.parametrize("seed", range(3))
def test_rules_agree_with_byzfl(name: str, n: int, f: int, seed: int) -> None:
    rows = updates(n, 400, seed)
    wanted = BYZFL[name](f)(rows.astype(np.float64))
    np.testing.assert_allclose(aggregated(name, rows, f).step, wanted, atol=2e-6)


@pytest.mark.parametrize("front", FRONT)
@pytest.mark.parametrize("name", ["mean", "trimmed_mean", "median"])
@pytest.mark.parametrize(("n", "f"), SIZES)
def test_compositions_agree_with_byzfl(front: str, name: str, n: int, f: int) -> None:
    rows = updates(n, 400, seed=n)
    wanted = BYZFL[name](f)(FRONT[front](f)(rows.astype(np.float64)))
    np.testing.assert_allclose(aggregated(f"{front}+{name}", rows, f).step, wanted, atol=5e-6)


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_nearest_neighbour_mixing_agrees_with_byzfl(n: int, f: int) -> None:
    rows = updates(n, 300, seed=n)
    found = mix(list(rows), nnm_mixing(gram(list(rows))[0].distances2(), f))
    np.testing.assert_allclose(found, preaggregators.NNM(f)(rows.astype(np.float64)), atol=2e-6)


def test_clipping_agrees_with_byzfl() -> None:
    rows = updates(9, 300)
    wanted = preaggregators.Clipping(5.0)(rows.astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(aggregated("clipping+mean", rows, 2).step, wanted, atol=1e-6)


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_krum_agrees_with_byzfl_when_given_its_number_of_neighbours(n: int, f: int) -> None:
    rows = updates(n, 400, seed=n)
    scores = krum_scores(gram(list(rows))[0].distances2(), n - f - 1)
    np.testing.assert_allclose(rows[np.argmin(scores)], byzfl.Krum(f)(rows.astype(np.float64)))
    best = np.argsort(scores, kind="stable")[: n - f]
    np.testing.assert_allclose(rows[best].mean(axis=0), byzfl.MultiKrum(f)(rows.astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize(("tau", "iterations"), [(3.0, 1), (20.0, 3)])
def test_centered_clipping_agrees_with_byzfl_over_rounds(tau: float, iterations: int) -> None:
    from defenses.registry import build

    ours = build([("centered_clipping", {"tau": tau, "iterations": iterations})], n=8, f=2)
    theirs = byzfl.CenteredClipping(L=iterations, tau=tau)
    for seed in range(3):
        rows = updates(8, 300, seed)
        np.testing.assert_allclose(ours.aggregate(rows).step, theirs(rows.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_geometric_median_agrees_with_byzfls_after_many_iterations(seed: int) -> None:
    rows = updates(11, 200, seed)
    wanted = byzfl.GeometricMedian(nu=1e-3, T=3000)(rows.astype(np.float64))
    np.testing.assert_allclose(aggregated("geometric_median", rows, 3).step, wanted, atol=1e-4)


def replies(rows: np.ndarray) -> list[tuple[list[np.ndarray], int]]:
    return [([row], 1) for row in rows.astype(np.float64)]


@pytest.mark.parametrize(("n", "f"), [(7, 1), (11, 2), (20, 4), (30, 3)])
def test_rules_agree_with_flower(n: int, f: int) -> None:
    rows = updates(n, 300, seed=n)
    (median,) = aggregate_median(replies(rows))
    (trimmed,) = aggregate_trimmed_avg(replies(rows), (f + 0.01) / n)
    (krum,) = aggregate_krum(replies(rows), f, 0)
    (multi_krum,) = aggregate_krum(replies(rows), f, n - f)
    (bulyan,) = aggregate_bulyan(replies(rows), f, aggregate_krum, to_keep=0)
    wanted = {"median": median, "trimmed_mean": trimmed, "krum": krum, "multi_krum": multi_krum, "bulyan": bulyan}
    for name, step in wanted.items():
        np.testing.assert_allclose(aggregated(name, rows, f).step, step, atol=1e-6, err_msg=name)
