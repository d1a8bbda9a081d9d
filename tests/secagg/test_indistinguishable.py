"""Who sent which vector is hidden from whoever sees all vectors and the sum: a smoke test of the simulation argument.

Two worlds differ in that sites 0 and 1 have swapped their inputs; the sum is the same. A distinguisher that knows both
inputs, and everything that the coordinator receives, names the world. With masks its AUC is 1/2 within 3 σ; without
them it is 1, so it is not blind. That it fails proves no security: it is one distinguisher, and masks of a known seed
would pass it too. What the vectors hide rests on AES-256 and on who holds the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from secure_fl.secagg.client import Client
from secure_fl.secagg.ring import FixedPoint, Ring, Words
from secure_fl.secagg.terms import Slot
from tests.secagg.witnessed import Federation, Witnessed

SITES, WORDS, TRIALS = 4, 256, 100


def encoded(seed: int, bits: int) -> Words:
    update = np.random.default_rng(seed).standard_normal(WORDS).astype(np.float32)
    words = np.empty(WORDS, Ring(bits).dtype)
    point = FixedPoint(Ring(bits), members=SITES, clip=20.0, max_weight=1)
    point.encode(update, 1, words, rounding=bytes(31) + bytes([seed % 256]))
    return words


def sent_bare(client: Client, inbox: Mapping, words: Words) -> None:
    """A site that goes through the protocol and forgets its masks."""
    client.mask(inbox, np.zeros_like(words))


def guess(seen: Witnessed, one: Words, other: Words) -> float:
    """How much more the vectors of sites 0 and 1 look like (one, other) than like (other, one)."""

    def distance(received: Words, guessed: Words) -> float:
        left = (received - guessed).view(f"i{received.itemsize}").astype(np.float64)
        return float(np.abs(left).mean()) / 2 ** (8 * received.itemsize - 1)

    first, second = seen.received[0], seen.received[1]
    return distance(first, other) + distance(second, one) - distance(first, one) - distance(second, other)


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a score of one world is above one of the other."""
    above = (positive[:, None] > negative[None, :]).mean()
    return float(above + (positive[:, None] == negative[None, :]).mean() / 2)


def scores(bits: int, *, silent: tuple[int, ...] = (), **site: object) -> tuple[np.ndarray, np.ndarray, list[Words]]:
    """The guesses in both worlds, and the sums."""
    federation = Federation(SITES, seed=bits)
    vectors = [encoded(seed, bits) for seed in range(SITES)]
    one, other = vectors[:2]
    found: dict[bool, list[float]] = {False: [], True: []}
    sums = []
    for trial in range(TRIALS):
        swapped = trial % 2 == 1
        inputs = [other, one, *vectors[2:]] if swapped else vectors
        seen = federation.sum(inputs, Slot("run", trial, 0, 0), silent=silent, **site)  # type: ignore[arg-type]
        found[swapped].append(guess(seen, one, other))
        sums.append(seen.words)
    return np.array(found[False]), np.array(found[True]), sums


@pytest.mark.parametrize(("bits", "silent"), [(32, ()), (16, ()), (32, (3,))])
def test_who_sent_which_of_two_inputs_is_hidden_although_both_are_known(bits: int, silent: tuple[int, ...]) -> None:
    straight, swapped, sums = scores(bits, silent=silent)
    half = TRIALS // 2
    sigma = np.sqrt((2 * half + 1) / (12 * half * half))  # of the AUC of scores without information (Mann–Whitney)
    assert abs(auc(straight, swapped) - 0.5) < 3 * sigma
    assert all(np.array_equal(each, sums[0]) for each in sums)  # and the sum is that of both worlds, to the bit


@pytest.mark.parametrize("bits", [16, 32])
def test_the_same_distinguisher_is_always_right_where_masks_are_forgotten(bits: int) -> None:
    straight, swapped, _ = scores(bits, mask=sent_bare)
    assert auc(straight, swapped) == 1.0


def test_what_the_coordinator_receives_of_one_site_has_nothing_of_its_input() -> None:
    """Under masks of the same seeds two inputs differ by their difference: no mask depends on what it hides."""
    vectors = [encoded(seed, 32) for seed in range(SITES)]
    other = [encoded(99, 32), *vectors[1:]]
    first, second = Federation(SITES, seed=5).sum(vectors), Federation(SITES, seed=5).sum(other)
    np.testing.assert_array_equal(first.received[0] - second.received[0], vectors[0] - other[0])
    np.testing.assert_array_equal(first.received[1], second.received[1])
    assert first.evidence == second.evidence
