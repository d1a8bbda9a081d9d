"""A whole slot: the sum is exact, whoever falls silent and whenever, or the slot ends with a name for it."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.secagg.client import Stage
from secure_fl.secagg.errors import TooFewSites
from secure_fl.secagg.server import SecureSum, Trip
from secure_fl.secagg.terms import Slot
from tests.secagg.protocol import Federation, Slotted, federation, started

TRIPS = [Trip.ADVERTS, Trip.SHARES, Trip.VECTORS, Trip.CONSENT, Trip.OPENINGS]


def assert_exact(slotted: Slotted, result: SecureSum | None) -> None:
    assert result is not None
    np.testing.assert_array_equal(result.words, slotted.expected())
    assert result.survivors == slotted.survivors
    assert (result.liars, result.disputed) == ({}, ())
    assert result.transcript == slotted.server.transcript
    assert not any(slotted.clients[index].holds_secrets for index in result.released)


@given(
    indexes=st.sets(st.integers(0, 40), min_size=2, max_size=7),
    words=st.sampled_from([0, 1, 2, 33]),
    bits=st.sampled_from([16, 32]),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_sum_is_the_clear_sum_in_the_ring(indexes: set[int], words: int, bits: int) -> None:
    sites = Federation(tuple(indexes))
    slotted = Slotted(sites, sites.terms(words=words, ring_bits=bits))
    assert_exact(slotted, slotted.play())


def test_a_masked_vector_shows_nothing_of_its_own() -> None:
    one, other = started(until=Trip.CONSENT), started(until=Trip.CONSENT)
    for index in one.masked:
        assert not np.array_equal(one.masked[index], one.vectors[index])
        np.testing.assert_array_equal(one.masked[index], other.masked[index])  # by the same draws, the same masks


def expected_end(absent: dict[Trip, set[int]], members: int, quorum: int) -> Trip:
    """The trip that loses the quorum, by counting."""
    left = set(range(members))
    for trip in TRIPS:
        left -= absent.get(trip, set())
        if len(left) < quorum:
            return trip
    return Trip.DONE


def play_with(sites: Federation, round_: int, absent: dict[Trip, set[int]]) -> None:
    """One slot with these sites falling silent; checks the sum and the sets, or where it ended."""
    terms = sites.terms(slot=Slot("run", round_, 0, 0))
    slotted = Slotted(sites, terms, absent)
    end = expected_end(absent, len(terms.members), terms.quorum)
    if end is Trip.DONE:
        result = slotted.play()
        assert_exact(slotted, result)
        assert result is not None
        before_shares = absent.get(Trip.ADVERTS, set()) | absent.get(Trip.SHARES, set())
        gone = absent.get(Trip.VECTORS, set()) - before_shares
        assert result.dropped == tuple(sorted(gone))
        assert set(result.survivors) == set(terms.members) - before_shares - gone
        return
    with pytest.raises(TooFewSites):
        slotted.play()
    assert slotted.server.trip is Trip.DONE
    for client in slotted.clients.values():
        client.abort()
        assert client.stage in (Stage.IDLE, Stage.ABORTED, Stage.OPENED)
        assert not client.holds_secrets


@pytest.mark.parametrize("members", [4, 5])
def test_any_subset_may_fall_silent_at_any_trip(members: int) -> None:
    sites, round_ = federation(members), 0
    for trip in TRIPS:
        for size in range(members + 1):
            for gone in combinations(range(members), size):
                round_ += 1
                play_with(sites, round_, {trip: set(gone)})


def test_sites_may_fall_silent_at_different_trips() -> None:
    """Each way in which four sites can be spread over the trips and the end; who is where changes as we go along."""
    sites = federation(4)
    for round_, ends in enumerate(combinations_with_replacement([*TRIPS, Trip.DONE], 4), start=1):
        order = np.random.default_rng(round_).permutation(4).tolist()
        absent: dict[Trip, set[int]] = {}
        for site, trip in zip(order, ends, strict=True):
            absent.setdefault(trip, set()).add(site)
        play_with(sites, round_, absent)


def random_absences(members: int, most: int, seed: int) -> dict[Trip, set[int]]:
    rng = np.random.default_rng(seed)
    gone = rng.permutation(members)[: rng.integers(0, most + 1)].tolist()
    absent: dict[Trip, set[int]] = {}
    for site in gone:
        absent.setdefault(TRIPS[int(rng.integers(len(TRIPS)))], set()).add(site)
    return absent


def test_twenty_sites_of_which_some_fall_silent() -> None:
    sites = federation(20)
    for round_ in range(1, 5):
        play_with(sites, round_, random_absences(20, 7, seed=round_))


def test_forty_sites_share_with_their_neighbours_only() -> None:
    sites = federation(40)
    terms = sites.terms(ring_bits=16)
    assert terms.neighbours < 39
    slotted = Slotted(sites, terms, {Trip.VECTORS: [3, 17], Trip.CONSENT: [4], Trip.OPENINGS: [5]})
    result = slotted.play()
    assert_exact(slotted, result)
    assert result is not None
    assert result.dropped == (3, 17)
    assert all(len(sealed.ciphertexts) == terms.neighbours for sealed in slotted.sealed.values())


def test_a_group_of_two_adds_up_and_cannot_lose_one() -> None:
    play_with(federation(2), 1, {})
    for trip in TRIPS:
        play_with(federation(2), 1, {trip: {1}})


def test_two_hundred_rounds_of_one_federation() -> None:
    sites = federation(5)
    failed = 0
    for round_ in range(1, 201):
        absent = random_absences(5, 2, seed=round_)
        failed += expected_end(absent, 5, 4) is not Trip.DONE
        play_with(sites, round_, absent)
    assert 20 < failed < 100  # two of five are one too many


def test_a_lost_attempt_is_made_up_for_with_fresh_keys() -> None:
    sites = federation(5)
    first = Slotted(sites, sites.terms(), {Trip.CONSENT: [0, 1]})
    with pytest.raises(TooFewSites):
        first.play()
    second = Slotted(sites, sites.terms(slot=Slot("run", 1, 1, 0)))
    assert_exact(second, second.play())
    for index in sites.indexes:
        assert first.adverts[index] != second.adverts[index]
        assert not np.array_equal(first.masked[index], second.masked[index])
