"""The whole decoder: loss is noticed, nothing changed is believed, every byte is booked, memory is bounded."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.capture.pcap import LINKTYPE_ETHERNET, CaptureFormatError, Packet
from audit.decode.conversation import Session
from audit.decode.reader import Decoder
from tests.audit.decode.decoded import Decoded
from tests.audit.decode.federation import Site, message
from tests.audit.decode.flights import CLIENT, SERVER
from tests.audit.decode.wire import PORT, Frame, packets, reordered, retransmitted

DELETIONS = 1_000
FLIPS = 300


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.join()
    site.push(message(values=500))
    return site


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A session that is as quick to decode as it is easy to lose a packet of."""
    site = Site(tmp_path_factory.mktemp("short"))
    site.join()
    return site


def all_said(decoded: Decoded) -> tuple[dict[str, bytes], list[str]]:
    return decoded.said(), [each.id for each in decoded.messages]


def passes(decoded: Decoded) -> bool:
    """What a verdict would build on."""
    return decoded.accounts.complete and not decoded.accounts.findings


@pytest.mark.parametrize(
    "change",
    [list, reordered, retransmitted, lambda f: reordered(retransmitted(f)), lambda f: [x for x in f for _ in (1, 2)]],
)
def test_a_whole_capture_is_complete_in_any_order(site: Site, change) -> None:  # type: ignore[no-untyped-def]
    plain = Decoded(site.frames(), site.secrets)
    decoded = Decoded(change(site.frames()), site.secrets)
    assert passes(plain)
    assert passes(decoded)
    assert all_said(decoded) == all_said(plain)
    assert decoded.accounts.ledger.unaccounted_bytes == 0


def test_a_thousand_of_a_thousand_deletions_are_noticed(site: Site, short: Site) -> None:
    generator = random.Random(1)  # noqa: S311
    captures = []
    for one, draws in ((site, DELETIONS // 10), (short, DELETIONS - DELETIONS // 10)):
        variants = []
        for seed in range(10):
            frames = one.frames(*generator.choice([(50, 300), (200, 1460), (4_000, 9_000)]))
            variants.append((one, reordered(frames, seed) if seed % 2 else frames))
        captures += [generator.choice(variants) for _ in range(draws)]
    noticed = 0
    for one, frames in captures:
        lost = generator.choice([i for i, frame in enumerate(frames) if frame.payload])
        noticed += not Decoded(frames[:lost] + frames[lost + 1 :], one.secrets).accounts.complete
    assert noticed == len(captures) == DELETIONS


def test_a_lost_packet_of_an_unfinished_capture_is_noticed(site: Site) -> None:
    frames = site.frames()[:-3]
    assert passes(Decoded(frames, site.secrets))
    for lost in [i for i, frame in enumerate(frames) if frame.payload][::5]:
        assert not Decoded(frames[:lost] + frames[lost + 1 :], site.secrets).accounts.complete


def test_no_flipped_bit_is_believed(site: Site, short: Site) -> None:
    generator = random.Random(2)  # noqa: S311
    for one, flips in ((site, FLIPS // 10), (short, FLIPS - FLIPS // 10)):
        true = all_said(Decoded(one.frames(), one.secrets))
        whole = list(packets(one.frames()))
        for _ in range(flips):
            index = generator.randrange(len(whole))
            data = bytearray(whole[index].data)
            # Half of the flips in the heads, which are small beside the payloads.
            at = generator.randrange(min(len(data), 54) if generator.random() < 0.5 else len(data))
            data[at] ^= 1 << generator.randrange(8)
            changed = whole[index]._replace(data=memoryview(bytes(data)))
            decoded = Decoded([*whole[:index], changed, *whole[index + 1 :]], one.secrets)
            assert not passes(decoded) or all_said(decoded) == true


def test_packets_may_be_fed_one_by_one(short: Site, tmp_path: Path) -> None:
    decoder = Decoder(short.secrets, port=PORT, spool=tmp_path)
    events = [event for packet in packets(short.frames()) for event in decoder.feed(packet)] + decoder.end()
    assert isinstance(events[-1], Session)
    assert decoder.finish().complete


def test_a_cut_packet_is_noticed(site: Site) -> None:
    whole = list(packets(site.frames()))
    for index in [i for i, frame in enumerate(site.frames()) if frame.payload][::7]:
        cut = whole[index]._replace(data=whole[index].data[:-3])
        assert not Decoded([*whole[:index], cut, *whole[index + 1 :]], site.secrets).accounts.complete


def test_a_capture_that_breaks_off_is_a_blind_spot(site: Site, tmp_path: Path) -> None:
    def broken() -> Iterator[Packet]:
        yield from packets(site.frames())
        raise CaptureFormatError("packet 99", "cut off")

    decoder = Decoder(site.secrets, port=PORT, spool=tmp_path)
    assert len([each for each in decoder.read(broken()) if isinstance(each, Session)]) == 1
    assert {each.rule for each in decoder.finish().blind_spots} == {"capture/format"}


def test_what_is_not_of_the_port_is_counted_and_left_alone(site: Site, tmp_path: Path) -> None:
    decoder = Decoder(site.secrets, port=PORT + 1, spool=tmp_path)
    assert list(decoder.read(packets(site.frames()))) == []
    accounts = decoder.finish()
    assert accounts.other_packets == accounts.packets == len(site.frames())
    assert accounts is decoder.finish()


def test_a_session_names_its_site_its_times_and_its_bytes(site: Site) -> None:
    frames = site.frames()
    decoded = Decoded(frames, site.secrets, sites={site.pipe.certificates[CLIENT]: "clinic"})
    (session,) = decoded.sessions
    assert (session.id, session.client, session.server) == ("s0001", "10.0.0.2:40000", "10.0.0.1:8443")
    assert (session.site, session.version, session.decrypted) == ("clinic", "TLS 1.3", True)
    assert (session.opened_s, session.closed_s) == (0.0, (len(frames) - 1) / 1000)
    for direction, count in ((CLIENT, session.client_bytes), (SERVER, session.server_bytes)):
        assert count == sum(len(frame.payload) for frame in frames if frame.direction == direction)


def test_interleaved_sessions_do_not_mix(tmp_path: Path) -> None:
    sites = []
    for port in (40_000, 41_000, 42_000):
        (tmp_path / str(port)).mkdir()
        one = Site(tmp_path / str(port))
        one.push(message(note=port))
        sites.append((one, [replace(frame, client_port=port) for frame in one.frames()]))
    turns = [list(frames) for _, frames in sites]
    mixed: list[Frame] = []
    while any(turns):
        mixed += [turn.pop(0) for turn in turns if turn]
    secrets = {key: value for one, _ in sites for key, value in one.secrets.items()}
    decoded = Decoded(mixed, secrets)
    assert passes(decoded)
    assert sorted(each.leaves[1].value for each in decoded.messages) == [40_000, 41_000, 42_000]
    only_two = Decoded(mixed, {key: value for one, _ in sites[:2] for key, value in one.secrets.items()})
    assert (len(only_two.messages), only_two.blind) == (2, {"tls/no-secret"})


def test_memory_does_not_grow_with_the_capture(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(12):
        site.push(message(group=str(number), values=1_000_000 + number))
    frames = site.frames(60_000, 64_000)
    del site.pipe.flights[:]
    decoder = Decoder(site.secrets, port=PORT, spool=tmp_path)
    size = sum(len(frame.payload) for frame in frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in decoder.read(packets(frames)):
        pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert decoder.finish().complete
    assert size > 48_000_000
    assert grown < size / 2


@given(st.lists(st.tuples(st.sampled_from([0, 1, 101, 113]), st.binary(max_size=80)), max_size=10))
def test_no_packets_whatever_crash_it(data: list[tuple[int, bytes]]) -> None:
    Decoded([Packet(0.0, link, memoryview(each), len(each)) for link, each in data], {})


@given(st.data())
@settings(max_examples=40)
def test_no_damaged_capture_crashes_it_or_is_believed(site: Site, data: st.DataObject) -> None:
    whole = list(packets(site.frames()))
    for _ in range(data.draw(st.integers(1, 6))):
        index = data.draw(st.integers(0, len(whole) - 1))
        packet = bytearray(whole[index].data)
        at = data.draw(st.integers(0, len(packet) - 1))
        packet[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        whole[index] = Packet(0.0, LINKTYPE_ETHERNET, memoryview(bytes(packet)), len(packet))
    decoded = Decoded(whole, site.secrets)
    assert not passes(decoded) or all_said(decoded) == all_said(Decoded(site.frames(), site.secrets))
