from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.data.sampling import complement, stratified_pick

labelled = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda each: np.array(each, dtype=np.int64))


@given(labels=labelled, share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_exactly_so_many_distinct_positions_are_picked(labels: np.ndarray, share: float, seed: int) -> None:
    count = round(share * len(labels))
    picked = stratified_pick(labels, count, np.random.default_rng(seed))
    assert len(picked) == count
    assert (np.diff(picked) > 0).all()
    assert not count or (picked[0] >= 0 and picked[-1] < len(labels))


@given(labels=labelled, share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_each_class_gets_its_share_rounded_up_or_down(labels: np.ndarray, share: float, seed: int) -> None:
    count = round(share * len(labels))
    picked = stratified_pick(labels, count, np.random.default_rng(seed))
    fair = np.bincount(labels, minlength=7) * count / len(labels)
    assert (np.abs(np.bincount(labels[picked], minlength=7) - fair) < 1).all()


@given(labels=labelled, count=st.integers(0, 50), seed=st.integers(0, 1000))
def test_picked_and_complement_are_a_partition(labels: np.ndarray, count: int, seed: int) -> None:
    picked = stratified_pick(labels, min(count, len(labels)), np.random.default_rng(seed))
    both = np.concatenate([picked, complement(len(labels), picked)])
    assert np.array_equal(np.sort(both), np.arange(len(labels)))


def test_every_position_of_a_class_has_the_same_chance() -> None:
    labels = np.repeat([0, 1], 10)
    drawn = np.zeros(20)
    for seed in range(2000):
        drawn[stratified_pick(labels, 4, np.random.default_rng(seed))] += 1
    # Each is a binomial with n = 2000, p = 0.2: standard deviation 17.9, and five of them is our limit.
    assert np.abs(drawn - 400).max() < 90


def test_the_same_generator_state_picks_the_same() -> None:
    labels = np.arange(50) % 4
    first, second = (stratified_pick(labels, 10, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, stratified_pick(labels, 10, np.random.default_rng(8)))
