"""Streams are delivered whole, or what is missing in them is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.decode import tcp
from audit.decode.connections import Arrived, Connections, Ended
from audit.decode.ledger import Ledger
from audit.decode.packets import Segment, read_segment
from audit.findings import BlindSpot
from tests.audit.decode.flights import CLIENT, SERVER, content
from tests.audit.decode.wire import ACK, FIN, PORT, RST, SYN, Connection, Frame, reordered, retransmitted, sizes

UP, DOWN = content(20_000, 1), content(3_000, 2)


class Streams:
    """What came out: bytes by connection and direction, blind spots, ends."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.blind: list[BlindSpot] = []
        self.ledger = Ledger()
        self.bytes: dict[tuple[str, str], bytes] = {}
        self.ended: list[str] = []
        connections = Connections(PORT, self.ledger, self.blind.append)
        for frame in frames:
            packet = frame.packet()
            segment = read_segment(packet.link_type, packet.data, packet.wire_length)
            assert isinstance(segment, Segment)
            self._take(connections.take(segment, 0.0))
        self._take(connections.finish())

    def _take(self, arrivals: Iterable[Arrived | Ended]) -> None:
        for each in arrivals:
            if isinstance(each, Ended):
                self.ended.append(each.connection.id)
            elif not each.broken:
                key = each.connection.id, each.direction
                self.bytes[key] = self.bytes.get(key, b"") + bytes(each.data)

    @property
    def rules(self) -> set[str]:
        return {each.rule for each in self.blind}


def talk(**of_connection: object) -> Connection:
    connection = Connection(**of_connection)  # type: ignore[arg-type]
    connection.say(CLIENT, UP, sizes(100, 1460))
    connection.say(SERVER, DOWN, sizes(100, 1460))
    return connection


def closed() -> list[Frame]:
    connection = talk()
    connection.close()
    return connection.frames


WHOLE = {("s0001", CLIENT): UP, ("s0001", SERVER): DOWN}


@pytest.mark.parametrize("change", [list, reordered, retransmitted, lambda f: reordered(retransmitted(f))])
@pytest.mark.parametrize("first", [(1000, 5), (2**32 - 1, 2**32 - 7000), (2**32 - 20_000, 2**31)])
def test_a_stream_is_what_was_sent_whatever_the_order_and_wherever_its_numbers_wrap(change, first) -> None:  # type: ignore[no-untyped-def]
    connection = talk(first=first)
    connection.close()
    streams = Streams(change(connection.frames))
    assert streams.bytes == WHOLE
    assert streams.blind == []


def test_ipv6_addresses_are_written_with_brackets() -> None:
    connection = talk(client="fd00::2", server="fd00::1")
    connection.close()
    assert Streams(connection.frames).bytes == WHOLE


def test_every_lost_segment_is_a_gap_even_the_last() -> None:
    frames = closed()
    with_payload = [index for index, frame in enumerate(frames) if frame.payload]
    for index in with_payload:
        streams = Streams(frames[:index] + frames[index + 1 :])
        assert streams.rules == {"tcp/gap"}
        assert sum(each.length for each in streams.blind) == len(frames[index].payload)


def test_every_lost_segment_of_a_connection_that_stays_open_is_a_gap() -> None:
    frames = talk().frames
    assert Streams(frames).blind == []
    for index in [index for index, frame in enumerate(frames) if frame.payload]:
        assert "tcp/gap" in Streams(frames[:index] + frames[index + 1 :]).rules


def test_a_connection_without_its_end_is_whole_only_if_all_was_acknowledged() -> None:
    frames = talk().frames
    assert Streams(frames[:-1]).rules == {"tcp/open-end"}


def test_a_reset_tells_how_far_the_sender_got() -> None:
    frames = talk().frames
    last = frames[-2]
    reset = replace(last, sequence=last.sequence + len(last.payload), flags=RST | ACK, payload=b"")
    assert Streams([*frames, reset]).blind == []
    assert Streams([*frames[:-2], reset]).rules == {"tcp/gap"}


def test_a_connection_without_its_beginning_is_blind_and_its_bytes_are_delivered_as_broken() -> None:
    streams = Streams(closed()[3:])
    assert streams.rules == {"tcp/no-syn"}
    assert streams.bytes == {}
    assert streams.ledger.captured_bytes == len(UP) + len(DOWN)


def test_segments_before_their_syn_wait_for_it() -> None:
    frames = closed()
    streams = Streams([frames[5], frames[1], frames[3], frames[0], frames[2], *frames[4:5], *frames[6:]])
    assert (streams.bytes, streams.blind) == (WHOLE, [])


def test_a_lost_fin_is_noticed() -> None:
    frames = closed()
    assert "tcp/gap" in Streams([frame for frame in frames if not frame.flags & FIN or frame.direction == SERVER]).rules


def test_two_versions_of_the_same_bytes_are_a_conflict() -> None:
    frames = closed()
    changed = replace(frames[3], payload=bytes([frames[3].payload[0] ^ 1]) + frames[3].payload[1:])
    assert Streams([*frames[:6], changed, *frames[6:]]).rules == {"tcp/overlap-conflict"}
    early = replace(frames[5], payload=bytes([frames[5].payload[0] ^ 1]) + frames[5].payload[1:])
    assert "tcp/overlap-conflict" in Streams([*frames[:3], early, frames[5], *frames[3:5], *frames[6:]]).rules


def test_a_repetition_that_is_too_old_to_be_compared_is_a_blind_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HISTORY_BYTES", 4000)
    frames = closed()
    assert Streams([*frames[:30], frames[3], *frames[30:]]).rules == {"tcp/repetition"}
    assert Streams([*frames[:30], frames[27], *frames[30:]]).rules == set()


def test_bytes_behind_the_end_and_inside_a_reset_are_named() -> None:
    frames = closed()
    fin = next(frame for frame in frames if frame.flags & FIN)
    late = replace(fin, flags=ACK, payload=b"and one more thing")
    assert Streams([*frames, late]).rules == {"tcp/past-fin"}
    reset = replace(frames[-1], flags=RST, payload=b"secret")
    assert "tcp/reset-payload" in Streams([*frames[:-1], reset]).rules


def test_a_gap_holds_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HOLD_BYTES", 5_000)
    frames = closed()
    streams = Streams([*frames[:3], *frames[5:]])
    assert streams.rules == {"tcp/gap"}
    assert streams.ledger.captured_bytes == len(UP) + len(DOWN) - len(frames[3].payload)


def test_a_port_that_is_used_again_is_another_connection() -> None:
    again = talk(first=(77_777, 88_888))
    again.close()
    streams = Streams(closed() + again.frames)
    assert streams.bytes == WHOLE | {("s0002", CLIENT): UP, ("s0002", SERVER): DOWN}
    assert (streams.blind, streams.ended) == ([], ["s0001", "s0002"])


def test_a_refused_connection_is_nothing_to_complain_of() -> None:
    ask = Frame(CLIENT, 5, 0, SYN)
    streams = Streams([ask, Frame(SERVER, 0, 6, RST | ACK)])
    assert (streams.blind, streams.ended) == ([], ["s0001"])


def test_what_comes_after_a_connection_has_gone_is_ignored_if_it_is_empty() -> None:
    frames = closed()
    others = [frame for port in range(41_000, 41_040) for frame in closed_on(port)]
    assert Streams([*frames, *others, frames[-1], replace(frames[-1], flags=RST)]).blind == []
    assert Streams([*frames, *others, frames[5]]).rules == {"tcp/no-syn"}


def closed_on(port: int) -> list[Frame]:
    connection = Connection(client_port=port)
    connection.close()
    return connection.frames


def test_more_connections_than_there_is_room_for_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.decode.connections.MAX_CONNECTIONS", 3)
    streams = Streams([Frame(CLIENT, 5, 0, SYN, client_port=port) for port in range(50_000, 50_010)])
    assert len(streams.ended) == 10


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 63),
            st.binary(max_size=20),
        ),
        max_size=12,
    )
)
def test_no_sequence_of_segments_crashes_or_loses_count(segments: list[tuple[bool, int, int, int, bytes]]) -> None:
    frames = [Frame(CLIENT if up else SERVER, seq, ack, flags, data) for up, seq, ack, flags, data in segments]
    streams = Streams(frames)
    assert streams.ledger.captured_bytes == sum(len(frame.payload) for frame in frames)


def test_a_segment_to_its_own_source_is_no_trouble() -> None:
    frame = Frame(CLIENT, 5, 0, SYN, client="10.0.0.1", client_port=PORT)
    assert len(Streams([frame, replace(frame, sequence=9, payload=b"x"), replace(frame, sequence=77)]).ended) == 3
