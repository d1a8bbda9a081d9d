"""audit/capture/scapy_socket.py under scapy's own sniffer."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Packet
from scapy.sendrecv import AsyncSniffer

from audit.capture.account import CaptureUnavailable
from audit.capture.packet_socket import BLOCK_BYTES
from audit.capture.scapy_socket import RingSocket
from tests.audit.capture.traffic import covered, need_capture, send, serve


def test_scapys_sniffer_gets_every_packet_dissected() -> None:
    need_capture()
    with serve("127.0.0.1") as server:
        port = server.getsockname()[1]
        with RingSocket("lo", port, ring_bytes=16 * BLOCK_BYTES) as ring:
            ends = []

            def ended(packet: Packet) -> bool:
                if packet[TCP].flags.F:
                    ends.append(packet)
                return len(ends) == 2

            sniffer = AsyncSniffer(opened_socket=ring, stop_filter=ended)
            sniffer.start()
            send(server, 20_000_000)
            sniffer.join(timeout=20)
            sent = [p for p in sniffer.results if p[TCP].dport == port]
            assert ring.dropped() == 0
    offsets = [((p[TCP].seq - sent[0][TCP].seq - 1) % 2**32, len(p[TCP].payload)) for p in sent]
    assert covered([(at, at + size) for at, size in offsets if size]) == 20_000_000
    assert sent[0][TCP].flags == "S" and sent[0].time > 1_700_000_000


def test_it_only_listens_and_closes_once() -> None:
    need_capture()
    ring = RingSocket("lo", 1, ring_bytes=2 * BLOCK_BYTES)
    assert ring.recv() is None
    with pytest.raises(OSError, match="only listens"):
        ring.send(b"")
    ring.close()
    ring.close()


def test_what_cannot_be_captured_is_refused_with_the_reason() -> None:
    need_capture()
    with pytest.raises(CaptureUnavailable, match="no interface 'ghost0'"):
        RingSocket("ghost0", 1)
