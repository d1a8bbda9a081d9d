"""TLS opens to exactly what was sent, as tshark says too; whatever stays closed is named."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.decode.ledger import Ledger
from audit.decode.tls import TlsSession
from tests.audit.decode.decoded import Decoded
from tests.audit.decode.flights import CLIENT, SERVER, SUITES, Conversation, Pipe, conversation
from tests.audit.decode.wire import PORT, Frame, frames_of, reordered, retransmitted, sizes, write

CHANGES = {"in order": list, "reordered": reordered, "retransmitted": retransmitted}
SMALL, LARGE = 3_000, 20_000_000
# Random bytes are no HTTP: that is the only thing that a decoder may say of these conversations.
ONLY_HTTP = {"http/truncated", "http/malformed"}


def frames(said: Conversation, change: str) -> list[Frame]:
    small = len(said.said[CLIENT]) < 100_000
    return CHANGES[change](frames_of(said.flights, sizes(200, 1460) if small else sizes(8_000, 64_000)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["3 KB", "20 MB"])
@pytest.mark.parametrize("suite", SUITES)
def test_what_was_sent_is_what_is_read(suite: str, size: int, change: str) -> None:
    said = conversation(suite, size)
    decoded = Decoded(frames(said, change), said.secrets)
    assert decoded.said() == said.said
    assert decoded.blind | decoded.found <= ONLY_HTTP
    (session,) = decoded.sessions
    assert session.decrypted
    assert session.version == {"TLSv1_3": "TLS 1.3", "TLSv1_2": "TLS 1.2"}[SUITES[suite]]
    assert (
        session.suite.replace("_", "-")
        .replace("WITH-", "")
        .replace("AES-", "AES")
        .startswith({"TLSv1_3": "", "TLSv1_2": "TLS-"}[SUITES[suite]] + suite.replace("_", "-").replace("AES-", "AES"))
    )
    assert session.client_certificates == (said.certificates[CLIENT],)
    assert session.server_certificates == (said.certificates[SERVER],)


def tshark(pcap: Path, key_log: Path) -> dict[str, bytes]:
    """The first session's decrypted streams. Lines of `Node 1` begin with a tab, and either side may be that."""
    command = ["tshark", "-r", pcap, "-q", "-z", "follow,tls,raw,0", "-d", f"tcp.port=={PORT},tls"]
    options = [f"tls.keylog_file:{key_log}", "tcp.reassemble_out_of_order:TRUE"]
    told = subprocess.run(
        [*command, *(word for option in options for word in ("-o", option))], capture_output=True, text=True, check=True
    ).stdout
    head, body = told.split("Node 1:", 1)
    lines = body.split("=====")[0].splitlines()[1:]
    nodes = (SERVER, CLIENT) if f":{PORT}" in head else (CLIENT, SERVER)
    said = {
        node: "".join(line.strip() for line in lines if line.startswith("\t") == bool(i))
        for i, node in enumerate(nodes)
    }
    return {node: bytes.fromhex(text) for node, text in said.items()}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, the independent reader, is not installed")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["3 KB", "20 MB"])
@pytest.mark.parametrize("suite", SUITES)
def test_tshark_reads_the_same_bytes(suite: str, size: int, change: str, tmp_path: Path) -> None:
    said = conversation(suite, size)
    wire = frames(said, "in order" if change == "reordered" else change)
    if change == "reordered":  # tshark loses a session whose hellos come in the wrong order
        handshake = frames_of(
            said.flights[: said.handshake], sizes(200, 1460) if size == SMALL else sizes(8_000, 64_000)
        )
        wire = reordered(wire, behind=len(handshake) - 3)
    pcap = write(tmp_path / "session.pcap", wire)
    (tmp_path / "keys.log").write_text(said.key_log + "\n")
    assert tshark(pcap, tmp_path / "keys.log") == Decoded(wire, said.secrets).said() == said.said


def test_a_second_hello_is_understood(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path, curve="secp384r1")  # the client offers a key on another curve first
    hellos = [data for direction, data in pipe.flights if direction == SERVER]
    assert hashlib.sha256(b"HelloRetryRequest").digest() in hellos[0]
    assert_reads(pipe)


def assert_reads(pipe: Pipe) -> None:
    pipe.say(CLIENT, b"up" * 50)
    pipe.say(SERVER, b"down" * 50)
    decoded = Decoded(frames_of(pipe.flights, sizes(100, 1460)), pipe.secrets)
    assert decoded.said() == {CLIENT: b"up" * 50, SERVER: b"down" * 50}
    assert decoded.blind <= ONLY_HTTP
    assert decoded.sessions[0].decrypted


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_resumed_session_is_read_though_it_shows_no_certificates(tmp_path: Path, version: str) -> None:
    first = Pipe(tmp_path, version=version)
    first.say(SERVER, b"the ticket comes with this")
    again = first.resumed()
    assert again.reused
    assert_reads(again)


class Sealer:
    """Seals records under a traffic secret, by the formulas of RFC 8446, apart from the code that is tested."""

    def __init__(self, secret: bytes, number: int = 0) -> None:
        self.secret, self.number = secret, number
        self.cipher, self.iv = AESGCM(self.derive(b"key", 32)), self.derive(b"iv", 12)

    def derive(self, label: bytes, length: int) -> bytes:
        full = b"tls13 " + label
        info = struct.pack(">H", length) + bytes([len(full)]) + full + b"\0"
        return HKDFExpand(hashes.SHA384(), length, info).derive(self.secret)

    def record(self, inner: bytes) -> bytes:
        head = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
        nonce = bytes(a ^ b for a, b in zip(self.iv, self.number.to_bytes(12, "big"), strict=True))
        self.number += 1
        return head + self.cipher.encrypt(nonce, inner, head)


def sealed(pipe: Pipe) -> Sealer:
    """Goes on where the client stopped after its handshake."""
    (keys,) = pipe.secrets.values()
    return Sealer(keys["CLIENT_TRAFFIC_SECRET_0"])


def decoded_with(pipe: Pipe, *records: bytes) -> Decoded:
    flights = [*pipe.flights, *((CLIENT, record) for record in records)]
    return Decoded(frames_of(flights, sizes(50, 100)), pipe.secrets)


KEY_UPDATE = b"\x18\x00\x00\x01\x00"


def test_keys_are_updated_as_often_as_the_sender_says(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path)
    sealer = sealed(pipe)
    records = []
    for text in (b"one", b"two", b"three"):
        records += [sealer.record(text + b"\x17"), sealer.record(KEY_UPDATE + b"\x16")]
        sealer = Sealer(sealer.derive(b"traffic upd", 48))
    decoded = decoded_with(pipe, *records, sealer.record(b"four\x17"), sealer.record(b"\x01\x00\x15"))
    assert decoded.said()[CLIENT] == b"onetwothreefour"
    assert decoded.sessions[0].decrypted
    assert decoded.accounts.ledger.by_category()["tls/alert"] == 2


def test_padding_is_counted_and_is_not_content(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path)
    before = Decoded(frames_of(pipe.flights, sizes(50, 100)), pipe.secrets).accounts.ledger.by_category()["tls/padding"]
    sealer = sealed(pipe)
    decoded = decoded_with(pipe, sealer.record(b"text\x17" + bytes(1000)), sealer.record(b" and more\x17"))
    assert decoded.said()[CLIENT] == b"text and more"
    assert decoded.accounts.ledger.by_category()["tls/padding"] - before == 1002


@pytest.mark.parametrize(
    "inner",
    [bytes(20), b"x\x14", b"\x01\x15", KEY_UPDATE + b"\0\x16", KEY_UPDATE * 2 + b"\x16", b"\x14\0\0\0\x16"],
    ids=[
        "only padding",
        "change inside",
        "short alert",
        "keys in mid-record",
        "two updates at once",
        "second Finished",
    ],
)
def test_an_authentic_record_that_tls_does_not_allow_is_not_read_on(tmp_path: Path, inner: bytes) -> None:
    pipe = Pipe(tmp_path)
    decoded = decoded_with(pipe, sealed(pipe).record(inner))
    assert "tls/bad-record" in decoded.blind
    assert not decoded.sessions[0].decrypted


def test_a_session_without_its_secret_is_blind_and_its_bytes_are_still_handed_on() -> None:
    for suite in ("TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        said = conversation(suite, SMALL)
        decoded = Decoded(frames(said, "in order"), {})
        assert decoded.blind == {"tls/no-secret"}
        assert decoded.said() == {}
        assert len(decoded.layers[CLIENT, "tcp"]) > SMALL
        assert decoded.accounts.ledger.unaccounted_bytes > SMALL
        assert not decoded.sessions[0].decrypted


def test_a_record_that_was_changed_does_not_open_nor_any_after_it() -> None:
    for suite in SUITES:
        said = conversation(suite, SMALL)
        frame_list = frames(said, "in order")
        index = max(i for i, frame in enumerate(frame_list) if frame.direction == CLIENT and frame.payload)
        frame = frame_list[index]
        data = frame.payload[:-1] + bytes([frame.payload[-1] ^ 1])
        frame_list[index] = Frame(frame.direction, frame.sequence, frame.acknowledged, frame.flags, data)
        decoded = Decoded(frame_list, said.secrets)
        assert "tls/bad-record" in decoded.blind
        assert len(decoded.said()[CLIENT]) < len(said.said[CLIENT])


def test_a_stream_that_ends_inside_a_record_is_truncated() -> None:
    said = conversation("TLS_AES_256_GCM_SHA384", SMALL)
    (direction, data), cut = said.flights[-1], 20
    decoded = Decoded(frames_of([*said.flights[:-1], (direction, data[:-cut])], sizes(200, 1460)), said.secrets)
    assert "tls/truncated-record" in decoded.blind


def test_plain_text_on_the_port_is_a_finding_and_is_handed_on() -> None:
    request, answer = b"GET /health HTTP/1.1\r\n\r\n" * 5, b"HTTP/1.1 400 Bad Request\r\n\r\n"
    decoded = Decoded(frames_of([(CLIENT, request), (SERVER, answer)], sizes(10, 20)), {})
    assert decoded.found == {"tls/plaintext"}
    assert decoded.layers == {(CLIENT, "tcp"): request, (SERVER, "tcp"): answer}
    assert decoded.accounts.ledger.unaccounted_bytes == len(request + answer)


def test_a_handshake_that_was_refused_in_plain_is_fully_read(tmp_path: Path) -> None:
    hello = next(data for direction, data in Pipe(tmp_path).flights if direction == CLIENT)
    decoded = Decoded(frames_of([(CLIENT, hello), (SERVER, b"\x15\x03\x03\x00\x02\x02\x28")], sizes(50, 90)), {})
    assert decoded.blind | decoded.found == set()
    assert decoded.accounts.complete


def test_records_whose_other_side_never_answers_wait_in_bounded_memory(tmp_path: Path) -> None:
    hello = next(data for direction, data in Pipe(tmp_path).flights if direction == CLIENT)
    record = b"\x17\x03\x03\x40\x00" + bytes(1 << 14)
    decoded = Decoded(frames_of([(CLIENT, hello), *[(CLIENT, record)] * 80], sizes(9000, 9000)), {})
    assert "tls/one-sided" in decoded.blind


def test_old_versions_and_unknown_suites_are_blind() -> None:
    said = conversation("ECDHE-ECDSA-AES128-GCM-SHA256", SMALL)
    flights = [(d, data.replace(b"\xc0\x2b", b"\xc0\x09") if d == SERVER else data) for d, data in said.flights]
    assert "tls/no-secret" in Decoded(frames_of(flights, sizes(200, 1460)), said.secrets).blind


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=6))
def test_no_bytes_whatever_crash_it(pieces: list[tuple[bool, bytes]]) -> None:
    run([(CLIENT if up else SERVER, data) for up, data in pieces])


@given(st.data())
@settings(max_examples=50)
def test_no_damaged_session_crashes_it_or_books_a_byte_twice(data: st.DataObject) -> None:
    said = conversation(data.draw(st.sampled_from(list(SUITES))), SMALL)
    flights = [(direction, bytearray(flight)) for direction, flight in said.flights]
    for _ in range(data.draw(st.integers(1, 3))):
        _, flight = data.draw(st.sampled_from(flights))
        at = data.draw(st.integers(0, len(flight) - 1))
        flight[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    run([(direction, bytes(flight)) for direction, flight in flights], said)


def run(flights: list[tuple[str, bytes]], said: Conversation | None = None) -> None:
    ledger = Ledger()
    pages = {each: ledger.page("s", each) for each in (CLIENT, SERVER)}
    session = TlsSession(said.secrets if said else {}, pages, lambda *_: None)
    for direction, data in flights:
        pages[direction].captured += len(data)
        session.take(direction, memoryview(data))
    for direction in (CLIENT, SERVER):
        session.finish(direction)
    assert ledger.captured_bytes == sum(ledger.by_category().values())
