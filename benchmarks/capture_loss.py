"""Packets lost in a burst: our ring against scapy's sniffer, on the same traffic.

    python -m benchmarks.capture_loss [--quick] [--json]

A burst of 100 MiB crosses the loopback interface, a veth pair, and a veth pair in packets of 1500 bytes; sender and
receiver are processes of their own. Ours is `CaptureProcess` as an audited run uses it, the peer is scapy's
`AsyncSniffer(store=False)` with its defaults, given time to catch up after the burst. Offered, caught and dropped are
the kernel's counters of either's own socket; on loopback scapy is offered every packet twice. Bars: we drop nothing,
and every byte of the stream is in the file. Needs root or CAP_NET_RAW and CAP_NET_ADMIN; ends with status 2 without.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.capture.filters import attach, tcp_filter
from audit.capture.pcap import read_packets
from audit.capture.process import CaptureProcess
from audit.capture.ring import CaptureUnavailable
from benchmarks.report import Report, finish, need_peer, note, parser, summary

__all__ = ["BURST_BYTES", "Link", "Loss", "main", "ours", "scapys", "stream_bytes"]

BURST_BYTES = 100 << 20
_NAMESPACE, _NEAR, _FAR, _ADDRESS = "sflloss", "sflloss0", "sflloss1", "10.98.7.1"

_RECEIVE = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
connection, buffer = server.accept()[0], bytearray(1 << 20)
while connection.recv_into(buffer): pass
"""
_SEND = """
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(bytes(int(sys.argv[3])))
"""


@dataclass(frozen=True)
class Link:
    """Where a burst crosses: the interface to watch, the receiver's address, and what runs the sender elsewhere."""

    interface: str
    address: str
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """Packets by the kernel's count, and payload bytes of the stream where the capture kept them."""

    offered: int
    caught: int
    dropped: int
    stream_bytes: int = 0


def main() -> int:
    """Measure on each link, ours and scapy in turns."""
    options = parser(__doc__ or "").parse_args()
    need_peer("scapy", extra="test")
    repetitions = 1 if options.quick else 5
    report = Report("capture_loss", {"burst_bytes": BURST_BYTES, "repetitions": repetitions})
    try:
        for name, opened in _links().items():
            with opened() as link:
                _measure(report, name, link, repetitions)
    except CaptureUnavailable as error:
        note(f"error: {error.reason}")
        return 2
    return finish(report, options)


def _measure(report: Report, name: str, link: Link, repetitions: int) -> None:
    found: dict[str, list[Loss]] = {"ours": [], "scapy": []}
    for _ in range(repetitions):
        found["ours"].append(ours(link, BURST_BYTES))
        found["scapy"].append(scapys(link, BURST_BYTES))
    for who, losses in found.items():
        for what in ("offered", "caught", "dropped"):
            report.figure(f"{name}: {who}, packets {what}", summary([getattr(each, what) for each in losses]))
    worst = max(each.dropped for each in found["ours"])
    report.bar(f"{name}: packets dropped", value=worst, bar=0, better="lower")
    least = min(each.stream_bytes for each in found["ours"])
    report.bar(f"{name}: bytes of the stream in the file", value=least, bar=BURST_BYTES, better="higher")
    theirs = found["scapy"][-1]
    note(f"{name}: ours dropped {worst}, scapy {theirs.dropped} of {theirs.offered}")


def ours(link: Link, size: int) -> Loss:
    """A burst of `size` bytes under our capture."""
    with tempfile.TemporaryDirectory(prefix="capture-loss-") as folder, _receiver(link) as (receiver, port):
        path = Path(folder) / "wire.pcap"
        with CaptureProcess(interface=link.interface, port=port, path=path) as capture:
            _send(link, port, size)
            receiver.wait()
        account = capture.account
        return Loss(
            account.packets + account.kernel_drops, account.packets, account.kernel_drops, stream_bytes(path, port)
        )


def scapys(link: Link, size: int) -> Loss:
    """The same under scapy's sniffer; it gets our filter, for want of libpcap, and sees no other traffic than we do."""
    import scapy.layers.inet6  # noqa: F401 - with it and what it imports, scapy dissects the packets as usual
    from scapy.config import conf
    from scapy.sendrecv import AsyncSniffer

    caught = 0

    def count(_: Any) -> None:
        nonlocal caught
        caught += 1

    conf.ifaces.reload()  # it remembers the numbers of interfaces
    with _receiver(link) as (receiver, port):
        watch = conf.L2listen(iface=link.interface)
        attach(watch.ins, tcp_filter({port}))
        sniffer = AsyncSniffer(opened_socket=watch, store=False, prn=count)
        sniffer.start()
        _send(link, port, size)
        receiver.wait()
    before = -1
    while caught > before:  # what waits in its socket is no loss
        before = caught
        time.sleep(1.0)
    packets, drops = struct.unpack("=II", watch.ins.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
    sniffer.stop()
    watch.close()
    return Loss(packets, caught, drops)


def stream_bytes(path: Path, port: int) -> int:
    """Payload bytes sent to `port` over IPv4 that are in the capture, each counted once."""
    total = reached = 0
    start: int | None = None
    pieces: list[tuple[int, int]] = []
    for packet in read_packets(path):
        data = packet.data
        tcp = 14 + 4 * (data[14] & 15)
        _, server, sequence = struct.unpack_from(">HHI", data, tcp)
        if server == port:
            start = sequence + 1 if start is None else start  # the first packet is the SYN, which takes one
            offset = (sequence - start) % 2**32
            pieces.append((offset, offset + 14 + int.from_bytes(data[16:18], "big") - tcp - 4 * (data[tcp + 12] >> 4)))
    for begin, end in sorted(pieces):
        if begin < end < 2**31:  # the SYN itself lies one before the start
            total += max(end - max(begin, reached), 0)
            reached = max(reached, end)
    return total


def _links() -> dict[str, Callable[[], Any]]:
    return {
        "loopback": _loopback,
        "veth": _veth,
        "veth, 1500-byte packets": lambda: _veth("gso_max_segs", "1"),
    }


@contextmanager
def _loopback() -> Iterator[Link]:
    yield Link("lo", "127.0.0.1")


@contextmanager
def _veth(*sender: str) -> Iterator[Link]:
    """A veth pair into a namespace, which is gone afterwards; `sender`: settings of the sending device."""
    try:
        _ip("netns", "add", _NAMESPACE)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CaptureUnavailable(f"no network namespace can be made: {error}") from error
    try:
        _ip("link", "add", _NEAR, "type", "veth", "peer", "name", _FAR, "netns", _NAMESPACE)
        _ip("addr", "add", f"{_ADDRESS}/24", "dev", _NEAR)
        _ip("-n", _NAMESPACE, "addr", "add", "10.98.7.2/24", "dev", _FAR)
        _ip("link", "set", _NEAR, "up")
        _ip("-n", _NAMESPACE, "link", "set", _FAR, "up", *sender)
        yield Link(_NEAR, _ADDRESS, ("ip", "netns", "exec", _NAMESPACE))
    finally:
        _ip("netns", "del", _NAMESPACE)


@contextmanager
def _receiver(link: Link) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that reads one connection to its end, and its port."""
    command = [sys.executable, "-I", "-c", _RECEIVE, link.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as receiver:
        if receiver.stdout is None:
            raise RuntimeError("the receiver has no pipe")
        yield receiver, int(receiver.stdout.readline())


def _send(link: Link, port: int, size: int) -> None:
    command = [*link.elsewhere, sys.executable, "-I", "-c", _SEND, link.address, str(port), str(size)]
    subprocess.run(command, check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S607


if __name__ == "__main__":
    sys.exit(main())
