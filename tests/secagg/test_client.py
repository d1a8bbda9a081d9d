"""What a coordinator that does anything it likes gets from a site: a refusal with a name, and no secret."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from secure_fl.secagg import errors
from secure_fl.secagg.client import Client, Stage
from secure_fl.secagg.errors import SecAggError
from secure_fl.secagg.messages import Advert, Agreement, Sealed, SealedForMe
from secure_fl.secagg.server import Trip
from secure_fl.secagg.terms import Policy, Slot, Terms
from tests.secagg.protocol import Slotted, federation, started, vector_of

ME, PEER = 0, 1


@dataclass
class Played:
    """A slot of seven sites (quorum 5) of which 6 sent no vector; site 0 as it was before each trip and at the end."""

    slotted: Slotted
    clients: Mapping[Trip, Client]

    def client(self, trip: Trip) -> Client:
        copied = copy.copy(self.clients[trip])
        copied._opened = dict(copied._opened)
        return copied


@cache
def played() -> Played:
    sites = federation(7, policy=Policy(fewest=5, rings=frozenset({32}), largest_clip=1.0, largest_weight=100))
    slotted = Slotted(sites, sites.terms(), {Trip.VECTORS: [6]})
    clients = {}
    for trip, step in enumerate((slotted.advertise, slotted.share, slotted.mask, slotted.agree, slotted.open)):
        clients[Trip(trip)] = copy.copy(sites.clients[ME])
        clients[Trip(trip)]._opened = {}
        step()  # type: ignore[operator]
    return Played(slotted, {**clients, Trip.DONE: sites.clients[ME]})


def signed_advert(index: int, mask_key: bytes, share_key: bytes, slot: Slot | None = None) -> Advert:
    """Keys that a member really signs."""
    slotted = played().slotted
    sign = slotted.sites.identities[index].sign
    signed = Advert.statement(slot or slotted.terms.slot, index, mask_key, share_key)
    return Advert(mask_key, share_key, sign(signed))


def share(site: Client, terms: Terms | None = None, **changed: Advert) -> Sealed:
    """Ask a site for shares; under other terms, or with other keys of one site (`site_1=…`) than there are."""
    slotted = played().slotted
    altered = {int(name.removeprefix("site_")): advert for name, advert in changed.items()}
    return site.share(terms or slotted.terms, {**slotted.adverts, **altered})


def other_terms(**changes: Any) -> Terms:
    return replace(played().slotted.terms, **changes)


def group_of(count: int) -> Terms:
    """The first so many members, and otherwise as it should be."""
    members = played().slotted.terms.members[:count]
    return other_terms(members=members, neighbours=count - 1, threshold=2 * count // 3 + 1)


def earlier_keys() -> Advert:
    """Of the same site and run, a round before: everything right but the slot."""
    advert = played().slotted.adverts[PEER]
    return signed_advert(PEER, advert.mask_key, advert.share_key, Slot("run", 0, 0, 0))


def split(client: Client) -> object:
    """Half of the sites were shown a set without site 5, as if it had dropped out: both its shares would be had."""
    slotted = played().slotted
    other = Agreement.digest(slotted.server.transcript, [0, 1, 2, 3, 4])
    signed = slotted.sites.identities[PEER].sign(Agreement.statement(PEER, other))
    return client.open({**slotted.agreements, PEER: Agreement(other, signed)})


def both_shares(client: Client) -> object:
    client.agree([0, 1, 2, 3, 4, 5])
    return client.agree([0, 1, 2, 3, 4])


def a_model_of_our_own(site: Client) -> object:
    """All is as it should be, but another model was handed to this site than to its peers."""
    slotted = played().slotted
    share(site, other_terms(model_sha256="ee" * 32))
    return site.mask(slotted.inboxes[ME], vector_of(slotted.terms, ME))


def stolen_keys() -> Advert:
    keys = played().slotted.adverts[2]
    return signed_advert(PEER, keys.mask_key, keys.share_key)


def weak_keys() -> Advert:
    return signed_advert(PEER, bytes(32), played().slotted.adverts[PEER].share_key)


def substituted_keys() -> Advert:
    """The coordinator's own keys in a site's name, which it cannot sign for."""
    return replace(played().slotted.adverts[PEER], mask_key=b"\x09" + bytes(31))


def one_identity_twice(client: Client) -> object:
    client._roster = {**client._roster, 2: client._roster[3]}
    return share(client)


# What the coordinator tries, before which trip, and what the site calls it.
ATTACKS: dict[str, tuple[Trip, Callable[[Client], object], type[SecAggError]]] = {
    "its own keys in a site's name": (
        Trip.SHARES,
        lambda site: share(site, site_1=substituted_keys()),
        errors.ForgedAdvert,
    ),
    "keys of the round before": (Trip.SHARES, lambda site: share(site, site_1=earlier_keys()), errors.ForgedAdvert),
    "other keys as the site's own": (
        Trip.SHARES,
        lambda site: share(site, site_0=stolen_keys()),
        errors.OwnAdvertAltered,
    ),
    "a member's keys as another's": (Trip.SHARES, lambda site: share(site, site_1=stolen_keys()), errors.DuplicateKeys),
    "a key of low order, signed": (Trip.SHARES, lambda site: share(site, site_1=weak_keys()), errors.WeakKey),
    "keys of a site that is no member": (
        Trip.SHARES,
        lambda site: share(site, site_99=stolen_keys()),
        errors.UnexpectedSender,
    ),
    "an invented member": (
        Trip.SHARES,
        lambda site: share(site, other_terms(members=(0, 1, 2, 3, 4, 5, 99))),
        errors.NotOnRoster,
    ),
    "two members of one identity": (Trip.SHARES, one_identity_twice, errors.NotOnRoster),
    "a group without the site": (
        Trip.SHARES,
        lambda site: share(site, other_terms(members=(1, 2, 3, 4, 5, 6), neighbours=5)),
        errors.NotAMember,
    ),
    "a group below the floor": (Trip.SHARES, lambda site: share(site, group_of(4)), errors.TooFewMembers),
    "a lowered threshold": (Trip.SHARES, lambda site: share(site, other_terms(threshold=4)), errors.ThresholdTooLow),
    "a graph with fewer neighbours": (
        Trip.SHARES,
        lambda site: share(site, other_terms(neighbours=4)),
        errors.GraphRefused,
    ),
    "a larger clip": (Trip.SHARES, lambda site: share(site, other_terms(clip=1.5)), errors.ClipRefused),
    "larger weights": (Trip.SHARES, lambda site: share(site, other_terms(max_weight=101)), errors.ClipRefused),
    "another ring": (Trip.SHARES, lambda site: share(site, other_terms(ring_bits=16)), errors.RingRefused),
    "terms of another slot": (
        Trip.SHARES,
        lambda site: share(site, other_terms(slot=Slot("run", 1, 1, 0))),
        errors.SlotMismatch,
    ),
    "another model than the others'": (Trip.SHARES, a_model_of_our_own, errors.OtherTerms),
    "survivors without the site": (Trip.CONSENT, lambda site: site.agree([1, 2, 3, 4, 5]), errors.NotASurvivor),
    "a survivor that never shared": (
        Trip.CONSENT,
        lambda site: site.agree([0, 1, 2, 3, 4, 99]),
        errors.UnknownSurvivor,
    ),
    "a survivor twice": (Trip.CONSENT, lambda site: site.agree([0, 1, 2, 3, 4, 4]), errors.DuplicateIndex),
    "survivors below the quorum": (Trip.CONSENT, lambda site: site.agree([0, 1, 2, 3]), errors.TooFewSites),
    "both shares of a site, by two sets of survivors": (Trip.CONSENT, both_shares, errors.AlreadyAgreed),
    "survivors shown differently to others": (Trip.OPENINGS, split, errors.OtherSurvivors),
    "consent of too few": (
        Trip.OPENINGS,
        lambda site: site.open({i: played().slotted.agreements[i] for i in range(4)}),
        errors.NotAgreed,
    ),
    "a second opening": (Trip.DONE, lambda site: site.open(played().slotted.agreements), errors.AlreadyOpened),
    "the opened slot once more": (Trip.DONE, lambda site: site.advertise(Slot("run", 1, 0, 0)), errors.SlotReused),
    "another attempt at an opened round": (
        Trip.DONE,
        lambda site: site.advertise(Slot("run", 1, 1, 0)),
        errors.SlotReused,
    ),
    "an earlier round": (Trip.DONE, lambda site: site.advertise(Slot("run", 0, 5, 0)), errors.SlotReused),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_coordinator_tries_is_refused_by_name_and_ends_the_slot(attack: str) -> None:
    before, attempt, expected = ATTACKS[attack]
    site = played().client(before)
    with pytest.raises(SecAggError) as refused:
        attempt(site)
    assert type(refused.value) is expected
    assert not site.holds_secrets
    assert site.stage is (Stage.OPENED if before is Trip.DONE else Stage.ABORTED)
    with pytest.raises(errors.WrongOrder):
        site.open(played().slotted.agreements)


def test_untouched_the_same_slot_goes_through() -> None:
    slotted = played().slotted
    site = played().client(Trip.SHARES)
    share(site)
    assert site.stage is Stage.SHARED
    site = played().client(Trip.VECTORS)
    words = slotted.vectors[ME].copy()
    site.mask(slotted.inboxes[ME], words)
    np.testing.assert_array_equal(words, slotted.masked[ME])
    assert site.agree(slotted.survivors) == slotted.agreements[ME]
    assert site.open(slotted.agreements) == slotted.openings[ME]
    assert (site.stage, site.holds_secrets) == (Stage.OPENED, False)


OTHER_VALUES = {
    "slot": (Slot("run", 1, 0, 1), errors.SlotMismatch),
    "members": ((0, 1, 2, 3, 4, 5), errors.InvalidTerms),
    "threshold": (6, errors.OtherTerms),
    "neighbours": (4, errors.GraphRefused),
    "words": (8, errors.WrongVector),
    "ring_bits": (16, errors.RingRefused),
    "clip": (0.5, errors.OtherTerms),
    "max_weight": (99, errors.OtherTerms),
    "model_sha256": ("ee" * 32, errors.OtherTerms),
    "settings_sha256": ("ee" * 32, errors.OtherTerms),
}


@pytest.mark.parametrize("field", [each.name for each in fields(Terms)])
def test_one_site_that_is_told_another_term_stops_and_is_found_out_by_its_peers(field: str) -> None:
    value, expected = OTHER_VALUES[field]
    slotted = played().slotted
    site = played().client(Trip.SHARES)
    told = sealed = None
    with pytest.raises(SecAggError) as refused:
        told = other_terms(**{field: value})
        sealed = share(site, told)
        site.mask(slotted.inboxes[ME], slotted.vectors[ME].copy())
    assert type(refused.value) is expected
    assert told is None or not site.holds_secrets
    if sealed is not None:  # it did share, and a coordinator that is in on it delivers
        peer = played_peer()
        with pytest.raises(errors.OtherTerms) as found:
            peer.mask(
                {**slotted.inboxes[PEER], **SealedForMe.inbox({ME: sealed.inbox([PEER])[PEER]})},
                slotted.vectors[PEER].copy(),
            )
        assert found.value.sites == (ME,)


def played_peer() -> Client:
    """Site 1 of the same slot, played anew up to its shares: the draws repeat."""
    fresh = federation(7, policy=Policy(fewest=5))
    slotted = Slotted(fresh, played().slotted.terms)
    slotted.play(Trip.VECTORS)
    assert slotted.adverts == played().slotted.adverts
    return fresh.clients[PEER]


def test_no_owner_s_both_secrets_are_ever_opened() -> None:
    for absent in ([], [6], [5, 6]):
        sites = federation(7)
        slotted = Slotted(sites, sites.terms(), {Trip.VECTORS: absent})
        result = slotted.play()
        assert result is not None
        kinds = {(owner, kind) for released in result.released.values() for owner, kind in released.items()}
        assert kinds == {(i, "key" if i in absent else "self") for i in range(7)}


def test_a_site_that_lies_about_the_survivors_is_named_by_its_signature() -> None:
    slotted = started(7, Trip.CONSENT)
    other = Agreement.digest(slotted.server.transcript, range(6))
    agreement = Agreement(other, slotted.sites.identities[PEER].sign(Agreement.statement(PEER, other)))
    with pytest.raises(errors.OtherSurvivors) as refused:
        slotted.server.take_agreement(PEER, agreement)
    assert refused.value.sites == (PEER,)


STEPS: dict[str, Callable[[Client], object]] = {
    "share": lambda site: share(site),
    "mask": lambda site: site.mask(played().slotted.inboxes[ME], played().slotted.vectors[ME].copy()),
    "agree": lambda site: site.agree(played().slotted.survivors),
    "open": lambda site: site.open(played().slotted.agreements),
}
NEXT = {Trip.SHARES: "share", Trip.VECTORS: "mask", Trip.CONSENT: "agree", Trip.OPENINGS: "open"}


@pytest.mark.parametrize("trip", list(Trip))
@pytest.mark.parametrize("step", STEPS)
def test_a_step_out_of_order_is_refused(trip: Trip, step: str) -> None:
    site = played().client(trip)
    if NEXT.get(trip) == step:
        STEPS[step](site)
        return
    with pytest.raises(errors.WrongOrder):
        STEPS[step](site)
    assert not site.holds_secrets


def test_an_unfinished_slot_is_dropped_for_the_next_and_keys_are_never_the_same() -> None:
    sites = federation(5)
    site, slot = sites.clients[ME], Slot("run", 1, 0, 0)
    first = site.advertise(slot)
    again = site.advertise(slot)
    assert {first.mask_key, first.share_key}.isdisjoint({again.mask_key, again.share_key})
    site.abort()
    assert (site.stage, site.holds_secrets) == (Stage.ABORTED, False)
    site.abort()
    assert site.advertise(Slot("run", 2, 0, 0)) != again
    assert site.stage is Stage.ADVERTISED


def test_another_run_counts_its_own_rounds() -> None:
    site = played().client(Trip.DONE)
    with pytest.raises(errors.SlotReused):
        site.advertise(Slot("run", 1, 9, 3))
    assert site.advertise(Slot("another run", 0, 0, 0))
    assert site.advertise(Slot("run", 2, 0, 0))


@pytest.mark.parametrize("broken", ["sign", "random"])
def test_whatever_fails_on_the_way_leaves_no_secret(broken: str) -> None:
    def fail(_: Any) -> bytes:
        raise OSError("the key is gone")

    site = played().client(Trip.SHARES)
    setattr(site, f"_{broken}", fail)
    with pytest.raises(OSError, match="gone"):
        share(site)
    assert not site.holds_secrets


def test_a_source_of_randomness_that_runs_dry_is_refused() -> None:
    site = played().client(Trip.SHARES)
    site._random = lambda count: bytes(count - 1)
    with pytest.raises(ValueError, match="32 bytes"):
        share(site)
    assert not site.holds_secrets


def test_a_refused_vector_is_left_as_it_was() -> None:
    slotted = played().slotted
    site, words = played().client(Trip.VECTORS), slotted.vectors[ME].copy()
    sealed: SealedForMe = replace(slotted.inboxes[ME][6], secret=bytes(32))
    with pytest.raises(errors.ForgedShares):
        site.mask({**slotted.inboxes[ME], 6: sealed}, words)
    np.testing.assert_array_equal(words, slotted.vectors[ME])
