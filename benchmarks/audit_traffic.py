"""The traffic that benchmarks/audit_speed.py reads: real TLS 1.3, HTTP/1.1 and Flower's objects, in one capture file.

One site sends updates, each a flat float32 array in chunks of 5 MiB as Flower cuts it, over one keep-alive connection.
Segments are as loopback shows them, up to 64 KiB; numbers are normally distributed, as weights are.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from audit.capture.pcap import LINKTYPE_ETHERNET, PcapWriter

__all__ = ["PORT", "write_traffic"]

PORT = 8443
_NODE = 77
_PARAMETERS = 2_270_794  # MobileNetV2 with its buffers
_SYN, _FIN, _ACK = 2, 1, 16


def write_traffic(pcap: Path, key_log: Path, *, megabytes: int, segment_bytes: int, seed: int) -> int:
    """Write capture and key log of at least `megabytes` of updates; bytes that were said inside TLS."""
    generator = np.random.default_rng(seed)
    said = 0
    with pcap.open("wb") as stream:
        wire = _Wire(PcapWriter(stream, LINKTYPE_ETHERNET), segment_bytes)
        session = _Tls(pcap.parent, key_log, wire)
        while said < megabytes * 10**6:
            values = generator.standard_normal(_PARAMETERS, dtype=np.float32) * np.float32(0.05)
            for route, request, response in _requests(values):
                said += session.exchange(route, request, response)
        wire.close()
    return said


def _requests(values: np.ndarray) -> Iterator[tuple[str, bytes, bytes]]:
    """One reply with its objects: route, request and response."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, _NODE, 0
    content = RecordDict({"update": ArrayRecord({"u": Array(values)}), "metrics": MetricRecord({"train-loss": 0.5})})
    reply = Message(content, dst_node_id=1, message_type="train", group_id="1")
    reply.metadata.__dict__["_message_id"] = reply.object_id
    announced = PushMessagesRequest(
        node=Node(node_id=_NODE),
        messages_list=[message_to_proto(remove_content_from_message(reply))],
        message_object_trees=[get_object_tree(reply)],
    )
    yield "push-messages", announced.SerializeToString(), PushMessagesResponse(session_id="s").SerializeToString()
    for key, each in get_all_nested_objects(reply).items():
        pushed = PushObjectRequest(node=Node(node_id=_NODE), run_id=1, object_id=key, object_content=each.deflate())
        yield "push-object", pushed.SerializeToString(), PushObjectResponse(stored=True).SerializeToString()


class _Wire:
    """Writes two directions of one TCP connection as packets, with their acknowledgements."""

    def __init__(self, writer: PcapWriter, segment_bytes: int) -> None:
        self._writer, self._size = writer, segment_bytes
        self._next = [1000, 5000]
        self._count = 0
        for side, flags in ((0, _SYN), (1, _SYN | _ACK), (0, _ACK)):
            self._packet(side, flags, b"")

    def send(self, side: int, data: bytes) -> None:
        """Data of the client (0) or the server (1)."""
        for at in range(0, len(data), self._size):
            self._packet(side, _ACK, data[at : at + self._size])
            self._packet(1 - side, _ACK, b"")

    def close(self) -> None:
        """Both sides are done."""
        for side, flags in ((0, _FIN | _ACK), (1, _FIN | _ACK), (0, _ACK)):
            self._packet(side, flags, b"")

    def _packet(self, side: int, flags: int, payload: bytes) -> None:
        ports = (40_000, PORT) if side == 0 else (PORT, 40_000)
        acknowledged = self._next[1 - side] if flags & _ACK else 0
        tcp = struct.pack(">HHIIBBHHH", *ports, self._next[side] % 2**32, acknowledged % 2**32, 80, flags, 65535, 0, 0)
        ip = struct.pack(">BBHHHBBH", 69, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0)
        ends = (b"\x0a\0\0\2", b"\x0a\0\0\1") if side == 0 else (b"\x0a\0\0\1", b"\x0a\0\0\2")
        self._writer.write(self._count * 1000, bytes(12) + b"\x08\x00" + ip + b"".join(ends) + tcp + payload)
        self._count += 1
        self._next[side] += len(payload) + bool(flags & (_SYN | _FIN))


class _Tls:
    """Client and server of one session in memory; what they write goes to the wire."""

    def __init__(self, folder: Path, key_log: Path, wire: _Wire) -> None:
        certificate, key = _certificate()
        (folder / "server.pem").write_bytes(certificate + key)
        client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client.check_hostname = False
        client.load_verify_locations(folder / "server.pem")
        client.keylog_filename = str(key_log)
        server.load_cert_chain(folder / "server.pem")
        self._wire = wire
        self._incoming, self._outgoing = [ssl.MemoryBIO(), ssl.MemoryBIO()], [ssl.MemoryBIO(), ssl.MemoryBIO()]
        self._ends = [
            client.wrap_bio(self._incoming[0], self._outgoing[0]),
            server.wrap_bio(self._incoming[1], self._outgoing[1], server_side=True),
        ]
        for side in (0, 1, 0, 1):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._ends[side].do_handshake()
            self._carry(side)

    def exchange(self, route: str, request: bytes, response: bytes) -> int:
        """One request and its response; how many bytes both are."""
        head = f"POST /v1/fleet/{route} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(request)}\r\n\r\n".encode()
        answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(response)}\r\n\r\n".encode() + response
        self._say(0, head + request)
        self._say(1, answer)
        return len(head) + len(request) + len(answer)

    def _say(self, side: int, data: bytes) -> None:
        for at in range(0, len(data), 1 << 20):
            self._ends[side].write(data[at : at + (1 << 20)])
            self._carry(side)
            with contextlib.suppress(ssl.SSLWantReadError):
                while self._ends[1 - side].read(1 << 20):
                    pass

    def _carry(self, side: int) -> None:
        data = self._outgoing[side].read()
        self._wire.send(side, data)
        self._incoming[1 - side].write(data)


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), int.from_bytes(hashlib.sha256(b"1").digest()[:8], "big"))
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), pem
