"""Each field of each message, flipped, substituted, swapped, replayed or dropped, both ways: refused by its own name.

The table is complete by construction: cases are made from the fields that the messages have, so that a new field is
tampered with as soon as it exists. What nothing protects on its own, the masked words, rests on the channel.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from secure_fl.secagg.client import Client, Stage
from secure_fl.secagg.errors import (
    DuplicateMessage,
    ForgedAdvert,
    ForgedAgreement,
    ForgedOpening,
    ForgedShares,
    Malformed,
    NotAgreed,
    OtherSurvivors,
    OtherTerms,
    OwnAdvertAltered,
    SecAggError,
    TooFewSites,
    UnexpectedSender,
    WrongVector,
)
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.server import Server, Trip
from secure_fl.secagg.terms import Slot
from tests.secagg.lies import liar
from tests.secagg.protocol import Slotted, federation

ME, SENDER, OTHER, LIAR, SILENT, STRANGER = 0, 1, 2, 3, 4, 99
Value = Any
Way = Callable[[Value, Value, Value], Value]


@dataclass
class Scene:
    """Round 2, and round 1 that went the same way; site 4 sends no vector, and site 1 disputes a share of site 3.

    clients: site 0 as it was before each trip of round 2.
    """

    before: Slotted
    now: Slotted
    clients: Mapping[Trip, Client]

    def messages(self, kind: type) -> tuple[Any, Any, Any]:
        """The sender's in this round, another site's, the sender's in the round before."""

        def sent(slotted: Slotted, sender: int) -> Any:
            by_kind: dict[type, Mapping[int, Any]] = {
                Advert: slotted.adverts,
                Sealed: slotted.sealed,
                SealedForMe: slotted.inboxes[ME],
                Agreement: slotted.agreements,
                Opening: slotted.openings,
            }
            return by_kind[kind][sender]

        return sent(self.now, SENDER), sent(self.now, OTHER), sent(self.before, SENDER)

    def client(self, trip: Trip) -> Client:
        """Site 0 once more as it was: its state is immutable, so that a shallow copy will do."""
        return copy.copy(self.clients[trip])

    def server(self, trip: Trip) -> Server:
        """A coordinator that waits for this trip's messages and has none yet."""
        slotted, server = self.now, Server(self.now.terms, self.now.sites.roster)
        messages = slotted.adverts, slotted.sealed, slotted.masked, slotted.agreements
        take = server.take_advert, server.take_sealed, server.take_masked, server.take_agreement
        close = server.close_adverts, server.close_sealed, server.close_masked, server.close_agreements
        for step in range(trip):
            for index, message in messages[step].items():  # type: ignore[attr-defined]
                take[step](index, message)  # type: ignore[operator]
            close[step]()
        return server


@cache
def scene() -> Scene:
    sites = federation(7)
    sites.clients[LIAR] = liar(sites, LIAR, false_commitments_to=[SENDER])
    rounds, clients = [], {}
    for round_ in (1, 2):
        slotted = Slotted(sites, sites.terms(slot=Slot("run", round_, 0, 0)), {Trip.VECTORS: [SILENT]})
        steps = slotted.advertise, slotted.share, slotted.mask, slotted.agree, slotted.open
        for trip, step in enumerate(steps):
            clients[Trip(trip)] = copy.copy(sites.clients[ME])
            step()  # type: ignore[operator]
        rounds.append(slotted)
    assert rounds[1].openings[SENDER].disputed == (LIAR,)
    assert rounds[1].openings[SENDER].key_shares
    return Scene(*rounds, clients)


def to_coordinator(server: Server, message: Any, sender: int = SENDER) -> None:
    match message:
        case Advert():
            server.take_advert(sender, message)
        case Sealed():
            server.take_sealed(sender, message)
        case Agreement():
            server.take_agreement(sender, message)
        case Opening():
            server.take_opening(sender, message)


def to_site(message: Any, sender: int = SENDER) -> Client:
    """Hand the message, among honest ones, to site 0; the client, for whoever gets that far."""
    now = scene().now
    client = scene().client(SEEN[type(message)])
    try:
        match message:
            case Advert():
                client.share(now.terms, {**now.adverts, sender: message})
            case SealedForMe():
                client.mask({**now.inboxes[ME], sender: message}, now.vectors[ME].copy())
            case Agreement():
                client.open({**now.agreements, sender: message})
    except SecAggError:
        assert (client.stage, client.holds_secrets) == (Stage.ABORTED, False)
        raise
    return client


def flip(value: Value, other: Value, earlier: Value) -> Value:
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, tuple):
        return tuple(sorted({*value} ^ {OTHER}))
    return {**value, min(value): flip(value[min(value)], None, None)}


def substitute(value: Value, other: Value, earlier: Value) -> Value:
    if isinstance(value, bytes):
        return hashlib.shake_256(value).digest(len(value))
    if isinstance(value, tuple):
        return tuple(index + 1 for index in value)
    return {index: substitute(row, None, None) for index, row in value.items()}


def swap(value: Value, other: Value, earlier: Value) -> Value:
    return other


def replay(value: Value, other: Value, earlier: Value) -> Value:
    return earlier


def drop(value: Value, other: Value, earlier: Value) -> Value:
    if isinstance(value, bytes | tuple):
        return type(value)()
    return {index: row for index, row in value.items() if index != min(value)}


WAYS: tuple[Way, ...] = (flip, substitute, swap, replay, drop)
REFUSED: dict[type, type[SecAggError]] = {
    Advert: ForgedAdvert,
    Sealed: ForgedShares,
    SealedForMe: ForgedShares,
    Agreement: ForgedAgreement,
    Opening: ForgedOpening,
}
TAKEN = {Advert: Trip.ADVERTS, Sealed: Trip.SHARES, Agreement: Trip.CONSENT, Opening: Trip.OPENINGS}
SEEN = {Advert: Trip.SHARES, SealedForMe: Trip.VECTORS, Agreement: Trip.OPENINGS}
# All sites of a slot say the same here, or the site said the same in the slot before: the message is as it was.
UNCHANGED = {
    (Sealed, "transcript", swap),
    (SealedForMe, "transcript", swap),
    (Agreement, "survivors", swap),
    (Opening, "disputed", replay),
}


def cases() -> Iterator[tuple[type, str, Way, bool]]:
    """Message, field, way, and whether it is on its way to the coordinator."""
    for kind in REFUSED:
        for each in fields(kind):
            for way in WAYS:
                if (kind, each.name, way) not in UNCHANGED:
                    yield from ((kind, each.name, way, up) for up in (True, False) if kind in (TAKEN if up else SEEN))


def name_of(case: object) -> str | None:
    return getattr(case, "__name__", None) or (case if isinstance(case, str) else "up" if case else "down")


@pytest.mark.parametrize(("kind", "field", "way", "up"), list(cases()), ids=name_of)
def test_an_altered_field_is_refused_by_name(kind: type, field: str, way: Way, up: bool) -> None:
    message, other, earlier = scene().messages(kind)
    value = getattr(message, field)
    altered = way(*(getattr(each, field) for each in (message, other, earlier)))
    assert altered != value
    expected = Malformed if way is drop and isinstance(value, bytes) else REFUSED[kind]
    with pytest.raises(SecAggError) as refused:
        tampered = replace(message, **{field: altered})
        if up:
            server = coordinator(TAKEN[kind])
            to_coordinator(server, tampered)
        else:
            to_site(tampered)
    assert type(refused.value) is expected
    assert refused.value.sites == (() if expected is Malformed else (SENDER,))


@cache
def coordinator(trip: Trip) -> Server:
    """One for all refusals: they change nothing, as the last test of this file shows."""
    return scene().server(trip)


def test_what_is_said_to_be_unchanged_is() -> None:
    for kind, field, way in UNCHANGED:
        values = [getattr(each, field) for each in scene().messages(kind)]
        assert way(*values) == values[0]


@pytest.mark.parametrize("kind", REFUSED, ids=name_of)
def test_a_message_of_another_site_is_refused(kind: type) -> None:
    _, other, _ = scene().messages(kind)
    if kind in TAKEN:
        with pytest.raises(REFUSED[kind]):
            to_coordinator(coordinator(TAKEN[kind]), other)
    if kind in SEEN:
        with pytest.raises(REFUSED[kind]):
            to_site(other)


REPLAYED: dict[type, type[SecAggError]] = {
    Advert: ForgedAdvert,
    Sealed: OtherTerms,
    SealedForMe: OtherTerms,
    Agreement: OtherSurvivors,
    Opening: ForgedOpening,
}


@pytest.mark.parametrize("kind", REPLAYED, ids=name_of)
def test_a_message_of_the_round_before_is_refused(kind: type) -> None:
    _, _, earlier = scene().messages(kind)
    if kind in TAKEN:
        with pytest.raises(REPLAYED[kind]):
            to_coordinator(coordinator(TAKEN[kind]), earlier)
    if kind in SEEN:
        with pytest.raises(REPLAYED[kind]):
            to_site(earlier)


@pytest.mark.parametrize("kind", TAKEN, ids=name_of)
def test_a_message_twice_or_of_a_stranger_is_refused(kind: type) -> None:
    message, _, _ = scene().messages(kind)
    server = scene().server(TAKEN[kind])
    with pytest.raises(UnexpectedSender):
        to_coordinator(server, message, sender=STRANGER)
    to_coordinator(server, message)
    with pytest.raises(DuplicateMessage):
        to_coordinator(server, message)


@pytest.mark.parametrize("kind", SEEN, ids=name_of)
def test_a_site_is_not_shown_messages_of_strangers(kind: type) -> None:
    message, _, _ = scene().messages(kind)
    with pytest.raises(UnexpectedSender):
        to_site(message, sender=STRANGER)


def test_messages_that_are_left_out_count_as_sites_that_are_silent() -> None:
    now, quorum = scene().now, scene().now.terms.quorum
    few = range(quorum - 1)
    with pytest.raises(OwnAdvertAltered):
        scene().client(Trip.SHARES).share(now.terms, {i: each for i, each in now.adverts.items() if i != ME})
    with pytest.raises(TooFewSites):
        scene().client(Trip.SHARES).share(now.terms, {i: now.adverts[i] for i in few})
    with pytest.raises(TooFewSites):
        inbox = {i: now.inboxes[ME][i] for i in few if i != ME}
        scene().client(Trip.VECTORS).mask(inbox, now.vectors[ME].copy())
    with pytest.raises(NotAgreed):
        scene().client(Trip.OPENINGS).open({i: now.agreements[i] for i in few})
    for trip in (Trip.ADVERTS, Trip.SHARES, Trip.CONSENT, Trip.OPENINGS):
        server = scene().server(trip)
        close = server.close_adverts, server.close_sealed, None, server.close_agreements, server.close
        with pytest.raises(TooFewSites):
            close[trip]()  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(6, np.uint32), np.zeros(8, np.uint32), np.zeros((7, 1), np.uint32), np.zeros(7, np.uint16), np.zeros(7)],
)
def test_a_vector_of_another_shape_or_type_is_refused_at_both_ends(wrong: Any) -> None:
    with pytest.raises(WrongVector) as refused:
        coordinator(Trip.VECTORS).take_masked(SENDER, wrong)
    assert refused.value.sites == (SENDER,)
    with pytest.raises(WrongVector):
        scene().client(Trip.VECTORS).mask(scene().now.inboxes[ME], wrong)


@pytest.mark.parametrize("kind", REFUSED, ids=name_of)
def test_bytes_are_read_in_one_way_only(kind: Any) -> None:
    message, other, _ = scene().messages(kind)
    data = message.to_bytes()
    assert kind.from_bytes(data) == message
    assert kind.from_bytes(other.to_bytes()) == other
    for cut in range(len(data)):
        with pytest.raises(Malformed):
            kind.from_bytes(data[:cut])
    with pytest.raises(Malformed):
        kind.from_bytes(data + b"\0")
    for at in range(len(data)):
        altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            read = kind.from_bytes(altered)
        except Malformed:
            continue
        assert read != message
        assert read.to_bytes() == altered


def test_a_row_of_the_recipient_s_own_among_the_others_is_refused() -> None:
    """The row would be overruled by what was sealed: the signature fits, but the message would have two encodings."""
    message: SealedForMe = scene().messages(SealedForMe)[0]
    with pytest.raises(ForgedShares):
        to_site(replace(message, other_leaves={**message.other_leaves, ME: bytes(32)}))


def test_after_all_these_refusals_the_honest_messages_are_taken() -> None:
    for kind, trip in TAKEN.items():
        to_coordinator(coordinator(trip), scene().messages(kind)[0])
    for kind, stage in ((Advert, Stage.SHARED), (SealedForMe, Stage.MASKED), (Agreement, Stage.OPENED)):
        assert to_site(scene().messages(kind)[0]).stage is stage
