"""Real traffic for the tests of the capture, and what of it is in the file."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from audit.capture.account import CaptureUnavailable
from audit.capture.packet_socket import BLOCK_BYTES, PacketRing
from audit.capture.pcap import read_packets

# Of our end of the pair and of the other; two runs of these tests do not meet.
_NET = os.getpid() % 250
NAMESPACE = f"sfl{_NET}"
NEAR_V4, FAR_V4 = f"10.99.{_NET}.1", f"10.99.{_NET}.2"
NEAR_V6, FAR_V6 = f"fd99:{_NET:x}::1", f"fd99:{_NET:x}::2"

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def need_capture() -> None:
    """Skip where packets cannot be captured."""
    try:
        PacketRing("lo", 1, 2 * BLOCK_BYTES).close()
    except CaptureUnavailable as error:
        pytest.skip(f"needs packet capture: {error.reason}")


def need_namespaces() -> None:
    """Skip where no network namespace can be made."""
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True) if sys.platform == "linux" else None
    if made is None or made.returncode:
        pytest.skip("needs the right to make network namespaces")
    need_capture()


def serve(host: str) -> socket.socket:
    """A listener on `host`, IPv4 or IPv6."""
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def send(server: socket.socket, size: int) -> None:
    """Send `size` bytes to `server` and wait until they have arrived there."""
    host, port = server.getsockname()[:2]
    received = threading.Thread(target=receive, args=(server,), daemon=True)
    received.start()
    with socket.create_connection((host, port)) as client:
        client.sendall(bytes(size))
    received.join()


def receive(server: socket.socket) -> int:
    """Accept one connection and read it to its end."""
    buffer, size = bytearray(1 << 20), 0
    with server.accept()[0] as connection:
        while got := connection.recv_into(buffer):
            size += got
    return size


def payload(path: Path, port: int) -> int:
    """How many bytes of the stream to `port` are in the file, each counted once; from the largest connection only."""
    streams: dict[tuple[bytes, int], list[tuple[int, int]]] = {}
    first: dict[tuple[bytes, int], int] = {}
    for packet in read_packets(path):
        data = packet.data
        assert packet.wire_length == len(data)
        if data[12:14] == b"\x08\x00":
            source, tcp = bytes(data[26:30]), 14 + 4 * (data[14] & 15)
            end = 14 + int.from_bytes(data[16:18], "big")
        else:
            assert data[12:14] == b"\x86\xdd"
            source, tcp, end = bytes(data[22:38]), 54, 54 + int.from_bytes(data[18:20], "big")
        client, server, sequence = struct.unpack_from(">HHI", data, tcp)
        assert port in (client, server)
        if server == port:
            begins = first.setdefault((source, client), sequence + 1)  # the SYN takes one
            offset, size = (sequence - begins) % 2**32, end - tcp - 4 * (data[tcp + 12] >> 4)
            if size:
                streams.setdefault((source, client), []).append((offset, offset + size))
    return max((covered(pieces) for pieces in streams.values()), default=0)


def covered(pieces: list[tuple[int, int]]) -> int:
    """How much of a stream the pieces (begin, end) cover, counting what was sent again once."""
    total = reached = 0
    for begin, end in sorted(pieces):
        total += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return total


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace, and a veth pair with one end in it; yields the name of our end."""
    name, near, far = NAMESPACE, f"{NAMESPACE}v0", f"{NAMESPACE}v1"
    with ExitStack() as cleanup:
        _ip("netns", "add", name)
        cleanup.callback(_ip, "netns", "del", name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        for prefix, device, v4, v6 in (((), near, NEAR_V4, NEAR_V6), (("-n", name), far, FAR_V4, FAR_V6)):
            _ip(*prefix, "addr", "add", f"{v4}/24", "dev", device)
            _ip(*prefix, "addr", "add", f"{v6}/64", "dev", device, "nodad")
            _ip(*prefix, "link", "set", device, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield near


def send_from(name: str, host: str, port: int, size: int) -> subprocess.Popen[bytes]:
    """A process in the namespace that sends `size` bytes to `host`; an empty name is our own namespace."""
    code = f"import socket; c = socket.create_connection(({host!r}, {port})); c.sendall(bytes({size})); c.close()"
    inside = ["ip", "netns", "exec", name] if name else []
    return subprocess.Popen([*inside, sys.executable, "-I", "-c", code])


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
