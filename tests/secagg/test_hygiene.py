"""No secret is in any message or text that it should not be in, and none stays behind."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from secure_fl.secagg import keys
from secure_fl.secagg.client import Client, Stage
from secure_fl.secagg.errors import SecAggError
from secure_fl.secagg.server import Trip
from secure_fl.secagg.terms import Slot
from tests.secagg.protocol import Federation, Slotted, federation

STEPS = ("advertise", "share", "mask", "agree", "open")


def secrets_of(sites: Federation, slotted: Slotted) -> set[bytes]:
    """All that was drawn, the identities' private keys, and every key and seed that is derived of them."""
    found: set[bytes] = set()
    for index, draws in sites.draws.items():
        mask_private, share_private, *_ = draws.drawn
        found.update(drawn[at : at + 16] for drawn in draws.drawn for at in range(0, len(drawn), 16))
        found.add(sites.identities[index].private_bytes_raw())
        for other, advert in slotted.adverts.items():
            transcript = slotted.server.transcript
            if other != index:
                agreed = keys.shared_secret(share_private, advert.share_key)
                found.add(keys.mask_seed(mask_private, advert.mask_key, transcript, index, other))
                found.update({agreed, keys.sealing_key(agreed, transcript, index, other)})
    return found


def messages_of(slotted: Slotted) -> Iterator[bytes]:
    rows: Any = [slotted.adverts, slotted.sealed, slotted.agreements, slotted.openings, *slotted.inboxes.values()]
    for each in rows:
        yield from (message.to_bytes() for message in each.values())
    yield from (words.tobytes() for words in slotted.masked.values())


@pytest.mark.parametrize("absent", [{}, {Trip.VECTORS: [2]}], ids=["all", "one silent"])
def test_no_message_holds_a_secret(absent: dict[Trip, list[int]]) -> None:
    sites = federation(5)
    slotted = Slotted(sites, sites.terms(words=64), absent)
    slotted.play()
    secrets = secrets_of(sites, slotted)
    assert len(secrets) > 100
    wire = list(messages_of(slotted))
    assert len(wire) > 30
    for message in wire:
        assert not [secret for secret in secrets if secret in message]
    # The search can find: a message that gave away a private key would be caught.
    assert [secret for secret in secrets if secret in wire[0] + sites.draws[0].drawn[0]]


def test_no_text_shows_a_secret() -> None:
    sites = federation(5)
    slotted = Slotted(sites, sites.terms())
    texts = []
    for step in STEPS:
        result = getattr(slotted, step)()
        everything: list[Any] = [*sites.clients.values(), *(c._state for c in sites.clients.values())]
        everything += [slotted.server, getattr(sites.clients[0]._state, "dealt", None), result, slotted.terms]
        texts += [f"{each!r} {each}" for each in everything]
    with pytest.raises(SecAggError) as refused:
        sites.clients[0].open(slotted.agreements)
    texts.append(f"{refused.value!r} {refused.value}")
    joined = "\n".join(texts)
    for secret in secrets_of(sites, slotted):
        for shown in (secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1]):
            assert shown not in joined


def bytes_within(value: Any, seen: set[int] | None = None) -> Iterator[bytes]:
    """All byte strings that can be reached from an object of ours."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from bytes_within(key, seen)
            yield from bytes_within(each, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from bytes_within(each, seen)
    elif is_dataclass(value):
        for each in fields(value):
            yield from bytes_within(getattr(value, each.name), seen)
    elif isinstance(value, Client):
        yield from bytes_within({k: v for k, v in vars(value).items() if k not in ("_random", "_sign")}, seen)


def left_behind(client: Client) -> list[bytes]:
    return sorted(set(bytes_within(client)) - set(client._roster.values()))


@pytest.mark.parametrize("trip", [Trip.SHARES, Trip.VECTORS, Trip.CONSENT, Trip.OPENINGS])
def test_a_client_holds_secrets_while_it_needs_them_and_none_after_an_abort(trip: Trip) -> None:
    sites = federation(5)
    slotted = Slotted(sites, sites.terms())
    slotted.play(trip)
    for client in sites.clients.values():
        assert client.holds_secrets
        assert left_behind(client)
        client.abort()
        assert (client.stage, client.holds_secrets, left_behind(client)) == (Stage.ABORTED, False, [])


def test_a_client_holds_no_secret_after_an_opening() -> None:
    sites = federation(5)
    Slotted(sites, sites.terms(), {Trip.VECTORS: [4]}).play()
    for index in range(4):
        client = sites.clients[index]
        assert (client.stage, client.holds_secrets, left_behind(client)) == (Stage.OPENED, False, [])


def test_private_keys_are_gone_once_shares_are_dealt_and_seeds_once_the_vector_is_masked() -> None:
    sites = federation(5)
    slotted = Slotted(sites, sites.terms())
    slotted.play(Trip.VECTORS)
    mask_private, share_private, self_seed, *_ = sites.draws[0].drawn
    held = left_behind(sites.clients[0])
    assert self_seed in held
    assert not {mask_private, share_private}.intersection(held)
    slotted.mask()
    assert self_seed not in left_behind(sites.clients[0])


def test_nothing_else_in_the_process_keeps_a_client_s_state() -> None:
    sites = federation(5)
    slotted = Slotted(sites, sites.terms())
    slotted.play(Trip.CONSENT)
    for client in sites.clients.values():
        client.abort()
    gc.collect()
    kinds = ("_Advertised", "_Shared", "_Masked", "_Agreed", "Dealt")
    mine = "secure_fl.secagg"
    alive = [o for o in gc.get_objects() if type(o).__name__ in kinds and type(o).__module__.startswith(mine)]
    transcripts = {getattr(each, "transcript", b"") for each in alive}
    assert slotted.server.transcript not in transcripts


def test_a_client_cannot_be_written_to_disk_by_accident() -> None:
    sites = federation(2)
    sites.clients[0].advertise(sites.terms().slot)
    with pytest.raises(TypeError):
        pickle.dumps(sites.clients[0])


def test_two_captures_of_one_update_differ_everywhere() -> None:
    """Reused masks would cancel in the difference of two rounds; it has to look uniform instead."""
    sites = federation(3)
    masked = []
    for round_ in (1, 2):
        slotted = Slotted(sites, sites.terms(words=4096, slot=Slot("run", round_, 0, 0)))
        slotted.vectors = {i: np.full(4096, 7, np.uint32) for i in sites.indexes}
        slotted.play()
        masked.append(slotted.masked[0])
    difference = masked[0] - masked[1]
    assert np.count_nonzero(difference == 0) <= 1
    counts = np.bincount(difference.view(np.uint8), minlength=256)
    expected = difference.nbytes / 256
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert 150 < chi < 380  # 255 degrees of freedom: five standard deviations either way
