"""Sites that lie are named, honest ones never are, and the sum comes about where it can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secure_fl.secagg.errors import (
    BothShares,
    FalseSecrets,
    IncompleteOpening,
    TooFewSites,
    UnexpectedSender,
    WrongOrder,
    WrongRecipients,
)
from secure_fl.secagg.messages import Opening
from secure_fl.secagg.server import SecureSum, Server, Trip
from tests.secagg.lies import Liar, liar, signed_opening, signed_sealed
from tests.secagg.protocol import Federation, Slotted, federation, started


def with_liars(sites: int, lies: Mapping[int, Mapping[str, Any]], **absent: list[int]) -> Slotted:
    """A slot of so many sites, of which those given lie in the ways given."""
    fresh = federation(sites)
    for index, ways in lies.items():
        fresh.clients[index] = liar(fresh, index, **ways)
    return Slotted(fresh, fresh.terms(), {Trip[trip.upper()]: gone for trip, gone in absent.items()})


def summed(slotted: Slotted) -> SecureSum:
    result = slotted.play()
    assert result is not None
    np.testing.assert_array_equal(result.words, slotted.expected())
    return result


def test_a_holder_that_opens_a_false_self_share_is_named_and_survived() -> None:
    slotted = with_liars(7, {2: {"opens_falsely": [4]}})
    result = summed(slotted)
    assert result.liars == {2: "opened a false self share of site 4"}
    assert result.disputed == ()


def test_a_holder_that_opens_a_false_key_share_is_named_and_survived() -> None:
    result = summed(with_liars(7, {2: {"opens_falsely": [6]}}, vectors=[6]))
    assert result.dropped == (6,)
    assert result.liars == {2: "opened a false key share of site 6"}


def test_as_many_false_holders_as_the_threshold_leaves_over_are_survived() -> None:
    lies = {index: {"opens_falsely": range(7)} for index in (0, 3)}
    assert summed(with_liars(7, lies)).liars.keys() == {0, 3}


def test_one_false_holder_too_many_is_the_end_and_names_no_honest_site() -> None:
    lies = {index: {"opens_falsely": range(7)} for index in (0, 3, 5)}
    with pytest.raises(TooFewSites, match="4 true shares"):
        with_liars(7, lies).play()


@pytest.mark.parametrize("way", ["false_commitments_to", "unreadable_to"])
def test_an_owner_whose_shares_do_not_fit_is_disputed_and_its_holder_not_blamed(way: str) -> None:
    result = summed(with_liars(7, {3: {way: [0, 5]}}))
    assert result.disputed == ((0, 3), (5, 3))
    assert result.liars == {}
    assert 3 not in result.released[0]


@pytest.mark.parametrize("way", ["false_commitments_to", "unreadable_to"])
@pytest.mark.parametrize("absent", [{}, {"vectors": [3]}], ids=["survivor", "dropped"])
def test_an_owner_that_more_holders_dispute_than_can_be_hostile_is_named(way: str, absent: Any) -> None:
    with pytest.raises(FalseSecrets, match="3 holders dispute") as refused:
        with_liars(7, {3: {way: [0, 1, 5]}}, **absent).play()
    assert refused.value.sites == (3,)


def test_an_owner_is_not_named_while_the_holders_that_dispute_it_could_all_be_hostile() -> None:
    with pytest.raises(TooFewSites, match="4 true shares") as refused:
        with_liars(7, {3: {"false_commitments_to": [0, 5]}}, openings=[6]).play()
    assert type(refused.value) is TooFewSites


def test_holders_that_only_say_so_do_not_convict_an_owner() -> None:
    """Two hostile holders, the most that a threshold of 5 of 7 leaves over, dispute an honest owner's shares."""
    slotted = started(7, Trip.OPENINGS)
    for index in slotted.survivors:
        opening = slotted.clients[index].open(slotted.agreements)
        if index in (1, 2):
            kept = {owner: share for owner, share in opening.self_shares.items() if owner != 4}
            opening = replace(opening, self_shares=kept, disputed=(4,))
            opening = signed_opening(slotted.clients[index], slotted.server._digest, opening)
        slotted.server.take_opening(index, opening)
    result = slotted.server.close()
    np.testing.assert_array_equal(result.words, slotted.expected())
    assert (result.liars, result.disputed) == ({}, ((1, 4), (2, 4)))


def test_an_owner_that_commits_itself_to_another_secret_is_named() -> None:
    with pytest.raises(FalseSecrets) as refused:
        with_liars(7, {3: {"false_secret": True}}).play()
    assert refused.value.sites == (3,)


@pytest.mark.parametrize("holder", [0, 1, 2, 4, 5])
@pytest.mark.parametrize(("owner", "absent"), [(3, {}), (6, {"vectors": [6]})], ids=["survivor", "dropped"])
def test_an_owner_that_deals_one_share_of_another_polynomial_is_named_and_survived(
    holder: int, owner: int, absent: Any
) -> None:
    result = summed(with_liars(7, {owner: {"false_shares_to": [holder]}}, **absent))
    caught = holder < 5  # the sixth holder's share is not needed
    assert result.liars == ({owner: "dealt shares that do not open to one secret"} if caught else {})


def test_an_owner_whose_shares_open_to_no_secret_is_named() -> None:
    with pytest.raises(FalseSecrets, match="another secret") as refused:
        with_liars(7, {3: {"false_shares_to": [0, 1, 2, 5]}}).play()
    assert refused.value.sites == (3,)


def test_the_next_attempt_without_the_liar_succeeds() -> None:
    slotted = with_liars(7, {3: {"false_secret": True}})
    with pytest.raises(FalseSecrets):
        slotted.play()
    others = Federation(tuple(index for index in range(7) if index != 3))
    summed(Slotted(others, others.terms()))


def test_in_a_sparse_graph_a_liar_is_named_and_survived_too() -> None:
    slotted = with_liars(40, {7: {"opens_falsely": range(40)}}, vectors=[20])
    result = summed(slotted)
    assert result.liars.keys() == {7}


def opened(slotted: Slotted, index: int = 0) -> Opening:
    return slotted.clients[index].open(slotted.agreements)


def take(slotted: Slotted, opening: Opening, index: int = 0) -> None:
    """The opening, with the signature that its site gives it."""
    signed = signed_opening(slotted.clients[index], slotted.server._digest, opening)
    slotted.server.take_opening(index, signed)


def at_openings() -> Slotted:
    sites = federation(7)
    slotted = Slotted(sites, sites.terms(), {Trip.VECTORS: [6]})
    slotted.play(Trip.OPENINGS)
    return slotted


def test_a_site_that_opens_what_nobody_may_see_is_refused() -> None:
    slotted = at_openings()
    opening = opened(slotted)
    for more in (
        {"key_shares": {**opening.key_shares, 3: bytes(33)}},  # both shares of a survivor
        {"self_shares": {**opening.self_shares, 6: bytes(33)}},  # both shares of a site that dropped out
    ):
        with pytest.raises(BothShares) as refused:
            take(slotted, replace(opening, **more))
        assert refused.value.sites == (0,)
    take(slotted, opening)


def test_an_opening_accounts_for_each_share_once() -> None:
    slotted = at_openings()
    opening = opened(slotted)
    without = {owner: share for owner, share in opening.self_shares.items() if owner != 3}
    for other in (
        {"self_shares": without},
        {"key_shares": {}},
        {"disputed": (3,)},
        {"disputed": (99,)},
        {"key_shares": {**opening.key_shares, 99: bytes(33)}},
    ):
        with pytest.raises(IncompleteOpening) as refused:
            take(slotted, replace(opening, **other))
        assert refused.value.sites == (0,)
    take(slotted, replace(opening, self_shares=without, disputed=(3,)))


@pytest.mark.parametrize("fewer", ["ciphertexts", "commitments"])
def test_shares_for_others_than_the_neighbours_are_refused(fewer: str) -> None:
    slotted = started(5, Trip.SHARES)
    sealed = slotted.clients[0].share(slotted.terms, slotted.adverts)
    rows = dict(getattr(sealed, fewer))
    stranger = {**rows, 99: rows[1]}
    for wrong in (stranger, {index: row for index, row in rows.items() if index != 1}):
        with pytest.raises(WrongRecipients) as refused:
            slotted.server.take_sealed(0, signed_sealed(slotted.clients[0], replace(sealed, **{fewer: wrong})))
        assert refused.value.sites == (0,)
    slotted.server.take_sealed(0, sealed)


def test_who_misses_a_trip_is_out_of_the_next() -> None:
    sites = federation(7)
    slotted = Slotted(sites, sites.terms(), {Trip.SHARES: [5], Trip.CONSENT: [6]})
    slotted.play(Trip.VECTORS)
    assert all(5 not in inbox for inbox in slotted.inboxes.values())
    with pytest.raises(UnexpectedSender):
        slotted.server.take_masked(5, slotted.vectors[5])
    slotted.mask()
    slotted.agree()
    late = slotted.clients[6].agree(slotted.survivors)
    with pytest.raises(WrongOrder):
        slotted.server.take_agreement(6, late)
    with pytest.raises(UnexpectedSender):
        slotted.server.take_opening(6, slotted.clients[6].open(slotted.agreements))


def test_trips_come_in_order_and_none_twice() -> None:
    server: Server = started(5, Trip.VECTORS).server
    for step in (
        server.close_adverts,
        server.close_sealed,
        server.close_agreements,
        server.close,
        lambda: server.take_agreement(0, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(WrongOrder):
            step()
    assert server.trip is Trip.VECTORS


def test_masks_are_removed_by_any_number_of_threads() -> None:
    sums = []
    for threads in (1, 3):
        sites = federation(5)
        terms = sites.terms(words=100_001, ring_bits=16)
        slotted = Slotted(sites, terms, {Trip.VECTORS: [2]})
        slotted.server = Server(terms, sites.roster, threads=threads)
        sums.append(summed(slotted).words)
    np.testing.assert_array_equal(*sums)


def test_a_liar_is_honest_where_it_is_not_told_to_lie() -> None:
    sites = federation(5)
    sites.clients[1] = liar(sites, 1)
    assert isinstance(sites.clients[1], Liar)
    summed(Slotted(sites, sites.terms()))
