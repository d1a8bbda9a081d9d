"""defenses/composition.py: pre ∘ rule in coefficient space against the same on vectors that were really mixed."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from defenses.base import DefenseError, Surroundings
from defenses.registry import RULES, build
from tests.defenses.rounds import PARAMETERS, aggregated, surroundings, updates

IMMOVABLE = ("foolsgold",)  # refuses vectors that belong to no client


def nnm(rows: np.ndarray, f: int) -> np.ndarray:
    """Nearest-neighbour mixing by its definition."""
    wide = rows.astype(np.float64)
    nearest = np.argsort(((wide[:, None] - wide[None]) ** 2).sum(axis=2), axis=1, kind="stable")[:, : len(rows) - f]
    return wide[nearest].mean(axis=1)


def clipped(rows: np.ndarray, bound: float) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return rows * np.minimum(1.0, bound / norms)[:, None]


@pytest.mark.parametrize("name", [name for name in RULES if name not in IMMOVABLE])
def test_mixing_in_coefficient_space_is_mixing(name: str) -> None:
    rows = updates(11, 500, seed=3, shift=0.2)
    around = surroundings(rows)
    steps = [("clipping", {"c": 20.0}), ("nnm", {}), (name, PARAMETERS.get(name, {}))]
    together = build(steps, n=11, f=2).aggregate(rows, around)
    mixed = nnm(clipped(rows, 20.0), 2).astype(np.float32)
    alone = build(steps[2:], n=11, f=2).aggregate(mixed, surroundings(rows))
    np.testing.assert_allclose(together.step, alone.step, atol=3e-5)


def test_bucketing_draws_from_the_given_generator_and_nowhere_else() -> None:
    rows = updates(10, 50)
    defense = build([("bucketing", {"s": 3}), ("median", {})], n=10, f=1)
    order = np.random.default_rng(5).permutation(10)
    buckets = np.stack([rows[order[at : at + 3]].mean(axis=0) for at in (0, 3, 6, 9)])
    done = defense.aggregate(rows, Surroundings(rng=np.random.default_rng(5)))
    np.testing.assert_allclose(done.step, np.median(buckets, axis=0), atol=1e-6)


def test_weights_explain_the_step_of_a_span_rule() -> None:
    rows = updates(11, 200)
    for text in ("mean", "krum", "nnm+geometric_median", "clipping+nnm+caf", "arc+norm_clipping", "bucketing+mda"):
        done = aggregated(text, rows, 1)
        assert done.weights is not None
        np.testing.assert_allclose(done.weights @ rows.astype(np.float64), done.step, atol=1e-5)


def test_a_composition_keeps_those_of_whom_a_kept_vector_was_made() -> None:
    rows = np.vstack([updates(9, 100), updates(2, 100, seed=1, shift=100.0)])
    assert not aggregated("nnm+krum", rows, 2).kept[9:].any()
    assert aggregated("median", rows, 2).kept.all()


def test_rows_may_come_one_by_one_or_as_a_matrix() -> None:
    rows = updates(11, 5000)
    for name in ("median", "krum", "caf"):
        defense = build([(name, {})], n=11, f=2)
        np.testing.assert_array_equal(defense.aggregate(rows).step, defense.aggregate(list(rows)).step)
        np.testing.assert_array_equal(defense.aggregate(np.asfortranarray(rows)).step, defense.aggregate(rows).step)


def test_updates_are_never_changed() -> None:
    rows = updates(11, 500)
    before = rows.copy()
    for name in ("clipping+krum", "arc+median", "nnm+caf", "bulyan", "centered_clipping", "foolsgold", "meamed"):
        aggregated(name, rows, 2)
    np.testing.assert_array_equal(rows, before)


def test_a_missing_site_is_tolerated_while_enough_are_left_for_f() -> None:
    defense = build([("krum", {})], n=8, f=2)
    assert defense.aggregate(updates(7, 10)).kept.sum() == 1
    with pytest.raises(DefenseError, match=r"at least 7 vectors for f=2 and gets 6.*tolerates f=1"):
        defense.aggregate(updates(6, 10))
    with pytest.raises(DefenseError, match="built for n=8"):
        defense.aggregate(updates(9, 10))


def test_more_faults_than_f_are_refused_by_rules_that_promise_something() -> None:
    rows = updates(11, 10)
    rows[:3, 0] = np.nan
    with pytest.raises(DefenseError, match="more faulty updates than announced"):
        aggregated("krum", rows, 2)
    done = aggregated("mean", rows, 2)
    np.testing.assert_allclose(done.step, rows[3:].mean(axis=0), atol=1e-6)
    assert done.masked.sum() == 3


def test_a_round_without_one_finite_update_is_refused() -> None:
    with pytest.raises(DefenseError, match="needs at least 1"):
        build([("mean", {})], n=2, f=0).aggregate(np.full((2, 3), np.nan, np.float32))


@pytest.mark.parametrize(
    ("front", "rule"), [("nnm", "krum"), ("bucketing", "trimmed_mean"), ("bucketing", "mda"), ("bucketing", "bulyan")]
)
def test_f_is_followed_through_the_composition(front: str, rule: str) -> None:
    with pytest.raises(DefenseError, match=f"{rule} in {front}"):
        build([(front, {}), (rule, {})], n=6, f=2)


@pytest.mark.parametrize("name", IMMOVABLE)
@pytest.mark.parametrize("front", ["nnm", "bucketing"])
def test_who_needs_clients_refuses_mixed_vectors(name: str, front: str) -> None:
    with pytest.raises(DefenseError, match="belong to no client"):
        build([(front, {}), (name, {})], n=11, f=2)


@pytest.mark.parametrize("name", ["bucketing+mean", "flame"])
def test_who_draws_refuses_without_a_generator(name: str) -> None:
    steps = [(each, {}) for each in name.split("+")]
    with pytest.raises(DefenseError, match="no random generator"):
        build(steps, n=11, f=2).aggregate(updates(11, 20), Surroundings())


def test_dnc_draws_only_when_there_are_more_coordinates_than_it_takes() -> None:
    assert build([("dnc", {})], n=5, f=1).aggregate(updates(5, 20)).kept.sum() == 4
    with pytest.raises(DefenseError, match="no random generator"):
        build([("dnc", {"coordinates": 10})], n=5, f=1).aggregate(updates(5, 20))


@pytest.mark.parametrize("name", ["centered_clipping", "foolsgold"])
def test_a_copy_of_a_defense_is_a_snapshot_of_its_memory(name: str) -> None:
    # An adaptive attacker tries many updates on a copy; the server's own memory must not move with them.
    first, second = updates(5, 30), updates(5, 30, seed=1)
    defense, untouched = (build([(name, {})], n=5, f=1) for _ in range(2))
    for each in (defense, untouched):
        each.aggregate(first)
    for seed in range(5):
        copy.copy(defense).aggregate(updates(5, 30, seed=seed + 10, shift=50.0))
    np.testing.assert_array_equal(defense.aggregate(second).step, untouched.aggregate(second).step)


def test_clients_have_to_match_the_updates() -> None:
    for clients in ((1, 2), (1, 1, 2)):
        with pytest.raises(DefenseError, match="do not match"):
            build([("mean", {})], n=3, f=0).aggregate(updates(3, 4), Surroundings(clients=clients))


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([("clipping", {"c": 2.0}), ("nnm", {}), ("krum", {})], "clipping(c=2)+nnm+krum"),
        ([("bucketing", {"s": 2}), ("median", {})], "bucketing+median"),
        ([("bucketing", {"s": 3}), ("centered_clipping", {"tau": 0.5})], "bucketing(s=3)+centered_clipping(tau=0.5)"),
    ],
)
def test_the_name_is_canonical(steps: list, name: str) -> None:
    defense = build(steps, n=30, f=1)
    assert defense.name == name
    assert defense.guarantee.paper
