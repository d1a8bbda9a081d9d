"""TCP connections as frames that a test can drop, repeat, shuffle and change, and packets out of them."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from audit.capture.pcap import LINKTYPE_ETHERNET, Packet, PcapWriter
from tests.audit.decode.flights import CLIENT, SERVER

PORT = 8443
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Frame:
    """One TCP segment of one direction."""

    direction: str
    sequence: int
    acknowledged: int
    flags: int
    payload: bytes = b""
    client: str = "10.0.0.2"
    server: str = "10.0.0.1"
    client_port: int = 40000

    def packet(self, time_s: float = 0.0, *, tag: bytes = b"") -> Packet:
        """The frame on Ethernet; `tag`: what stands between the addresses and the type, as a VLAN's."""
        data = b"\x02" * 12 + tag + self.ip()
        return Packet(time_s, LINKTYPE_ETHERNET, memoryview(data), len(data))

    def ip(self) -> bytes:
        """Type of Ethernet and the IP packet."""
        ends = (self.client, self.client_port), (self.server, PORT)
        (source, source_port), (target, target_port) = ends if self.direction == CLIENT else ends[::-1]
        head = struct.pack(
            ">HHIIBBHHH",
            source_port,
            target_port,
            self.sequence % 2**32,
            self.acknowledged % 2**32,
            5 << 4,
            self.flags,
            65535,
            0,
            0,
        )
        one, other = ipaddress.ip_address(source), ipaddress.ip_address(target)
        size = len(head) + len(self.payload)
        if one.version == 6:
            return (
                b"\x86\xdd"
                + struct.pack(">IHBB", 6 << 28, size, 6, 64)
                + one.packed
                + other.packed
                + head
                + self.payload
            )
        total = size + 20 if size + 20 < 1 << 16 else 0
        ip = struct.pack(">BBHHHBBH", 0x45, 0, total, 1, 0x4000, 64, 6, 0)
        return b"\x08\x00" + ip + one.packed + other.packed + head + self.payload


class Connection:
    """Builds the frames of one connection: opens on creation; `say`, then `close`."""

    def __init__(
        self,
        *,
        client: str = "10.0.0.2",
        server: str = "10.0.0.1",
        client_port: int = 40000,
        first: tuple[int, int] = (1000, 2**32 - 500),
    ) -> None:
        self._fixed = {"client": client, "server": server, "client_port": client_port}
        self._next = dict(zip((CLIENT, SERVER), first, strict=True))
        self.frames: list[Frame] = []
        self._add(CLIENT, SYN)
        self._add(SERVER, SYN | ACK)
        self._add(CLIENT, ACK)

    def say(self, direction: str, data: bytes, sizes: Iterator[int]) -> None:
        """Segments of `sizes` bytes, each acknowledged by the other side."""
        at = 0
        while at < len(data):
            part = data[at : at + next(sizes)]
            self._add(direction, ACK | PSH, part)
            self._add(other(direction), ACK)
            at += len(part)

    def close(self) -> None:
        """Both sides say that they are done."""
        self._add(CLIENT, FIN | ACK)
        self._add(SERVER, FIN | ACK)
        self._add(CLIENT, ACK)

    def _add(self, direction: str, flags: int, payload: bytes = b"") -> None:
        acknowledged = self._next[other(direction)] if flags & ACK else 0
        self.frames.append(Frame(direction, self._next[direction], acknowledged, flags, payload, **self._fixed))
        self._next[direction] += len(payload) + bool(flags & SYN) + bool(flags & FIN)


def other(direction: str) -> str:
    return SERVER if direction == CLIENT else CLIENT


def sizes(low: int, high: int, seed: int = 0) -> Iterator[int]:
    generator = random.Random(seed)  # noqa: S311
    while True:
        yield generator.randint(low, high)


def frames_of(flights: Iterable[tuple[str, bytes]], segment_sizes: Iterator[int]) -> list[Frame]:
    """A whole connection that carries these flights."""
    connection = Connection()
    for direction, data in flights:
        connection.say(direction, data, segment_sizes)
    connection.close()
    return connection.frames


def reordered(frames: list[Frame], seed: int = 0, *, behind: int = 3) -> list[Frame]:
    """Frames behind the first ones, TCP's handshake, come up to eight places early or late."""
    generator = random.Random(seed)  # noqa: S311
    late = {id(frame): index + generator.uniform(0, 8) for index, frame in enumerate(frames[behind:])}
    return frames[:behind] + sorted(frames[behind:], key=lambda frame: late[id(frame)])


def retransmitted(frames: list[Frame], seed: int = 0) -> list[Frame]:
    """A third of the segments come again: as they were, or cut anew across their neighbours."""
    generator, out, last = random.Random(seed), list[Frame](), dict[str, Frame]()  # noqa: S311
    for frame in frames:
        out.append(frame)
        if frame.payload and generator.random() < 0.33:
            before = last.get(frame.direction)
            if before and before.sequence + len(before.payload) == frame.sequence and generator.random() < 0.5:
                half = len(before.payload) // 2
                joined = before.payload[half:] + frame.payload
                out.append(replace(frame, sequence=before.sequence + half, payload=joined[: len(frame.payload)]))
            else:
                out.append(frame)
        if frame.payload:
            last[frame.direction] = frame
    return out


def packets(frames: Iterable[Frame]) -> Iterator[Packet]:
    return (frame.packet(index / 1000) for index, frame in enumerate(frames))


def write(path: Path, frames: Iterable[Frame]) -> Path:
    with path.open("wb") as stream:
        writer = PcapWriter(stream, LINKTYPE_ETHERNET)
        for index, packet in enumerate(packets(frames)):
            writer.write(1_700_000_000_000_000_000 + index * 1000, packet.data)
    return path
