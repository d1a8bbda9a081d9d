"""audit/capture/tap.py end to end: Python's own TLS on both sides, and a capture of both legs beside it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import ssl
import stat
import subprocess
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from audit.capture.keylog import read_key_log
from audit.capture.ring import Capture
from audit.capture.tap import KEY_LOG, Tap, TapSession, TapSettings
from tests.audit.capture.certificates import Authority
from tests.audit.capture.traffic import need_capture

pytestmark = pytest.mark.timeout(60)
REQUEST = hashlib.shake_128(b"request").digest(3_000_000)
ANSWER = hashlib.shake_128(b"answer").digest(2_500_000)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path, "authority")


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> TapSettings:
    certificate, key = authority.issue("tap")
    (tmp_path / "out").mkdir()
    return TapSettings("127.0.0.1", 0, "localhost", authority.certificate, certificate, key, tmp_path / "out")


def server_context(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("coordinator"))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def client_context(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def exchange(
    settings: TapSettings, server: ssl.SSLContext, client: ssl.SSLContext, captures: Path | None = None
) -> tuple[TapSession, Tap]:
    """One request and answer through a tap; checks that both arrived as they were sent.

    `captures`: a folder for "site.pcap" and "coordinator.pcap", one a leg.
    """
    seen = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readexactly(len(REQUEST)))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server) as upstream:
        settings = replace(settings, upstream_port=upstream.sockets[0].getsockname()[1])
        async with Tap(settings, "127.0.0.1") as tap, AsyncExitStack() as stack:
            if captures is not None:
                stack.enter_context(Capture("lo", tap.port, captures / "site.pcap"))
                stack.enter_context(Capture("lo", settings.upstream_port, captures / "coordinator.pcap"))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", tap.port, ssl=client, server_hostname="localhost"
            )
            writer.write(REQUEST)
            assert await reader.read(-1) == ANSWER
            assert await seen == REQUEST
            writer.close()
            await asyncio.gather(*tap._running)
    return tap.sessions[0], tap


def test_both_legs_carry_the_same_bytes_and_both_are_on_record(settings: TapSettings, authority: Authority) -> None:
    session, tap = asyncio.run(exchange(settings, server_context(authority), client_context(authority)))
    assert session.error == "" and tap.blind_spots() == ()
    assert (session.to_coordinator_bytes, session.to_site_bytes) == (len(REQUEST), len(ANSWER))
    assert session.to_coordinator_sha256 == hashlib.sha256(REQUEST).hexdigest()
    assert session.to_site_sha256 == hashlib.sha256(ANSWER).hexdigest()
    assert (settings.folder / "t0001.to-coordinator").read_bytes() == REQUEST
    assert (settings.folder / "t0001.to-site").read_bytes() == ANSWER
    assert session.opened_s <= session.closed_s
    assert session.client_leg is not None and session.client_leg.version == "TLSv1.3"
    assert session.upstream_leg is not None
    coordinator = ssl.PEM_cert_to_DER_cert((settings.folder.parent / "coordinator.pem").read_text())
    assert session.upstream_leg.peer_certificate == hashlib.sha256(coordinator).hexdigest()


def test_the_key_log_opens_both_legs_and_all_files_are_their_owners_only(
    settings: TapSettings, authority: Authority
) -> None:
    asyncio.run(exchange(settings, server_context(authority), client_context(authority)))
    secrets = read_key_log(settings.folder / KEY_LOG)
    assert len(secrets) == 2  # client randoms
    assert all({"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= set(each) for each in secrets.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in settings.folder.iterdir()} == {0o600}


def test_a_capture_of_either_leg_opens_with_the_key_log_to_the_same_bytes(
    settings: TapSettings, authority: Authority, tmp_path: Path
) -> None:
    need_capture()
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark, the judge of the decryption")
    asyncio.run(exchange(settings, server_context(authority), client_context(authority), tmp_path))
    for name in ("site.pcap", "coordinator.pcap"):
        option = f"tls.keylog_file:{settings.folder / KEY_LOG}"
        command = ["tshark", "-r", str(tmp_path / name), "-o", option, "-q", "-z", "follow,tls,raw,0"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        spoken = [line for line in lines if re.fullmatch(r"\t?[0-9a-f]+", line)]
        # A tab marks the lines of one of the two, whichever tshark counts as the second.
        marked = bytes.fromhex("".join(line for line in spoken if line[0] == "\t"))
        plain = bytes.fromhex("".join(line for line in spoken if line[0] != "\t"))
        assert sorted([marked, plain]) == sorted([REQUEST, ANSWER])


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        (("h2", "http/1.1"), ("h2", "http/1.1"), "h2"),
        (("h2", "http/1.1"), ("http/1.1",), "http/1.1"),
        (("h2", "http/1.1"), (), ""),
        ((), ("h2",), ""),
    ],
)
def test_the_client_gets_the_protocol_that_the_coordinator_chose(
    settings: TapSettings, authority: Authority, offered: tuple[str, ...], supported: tuple[str, ...], chosen: str
) -> None:
    session, _ = asyncio.run(
        exchange(settings, server_context(authority, *supported), client_context(authority, *offered))
    )
    assert session.client_leg is not None and session.upstream_leg is not None
    assert session.client_leg.alpn == session.upstream_leg.alpn == chosen


def test_with_mutual_tls_each_side_sees_a_certificate(settings: TapSettings, authority: Authority) -> None:
    server, client = server_context(authority), client_context(authority)
    server.load_verify_locations(authority.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("site")
    client.load_cert_chain(certificate, key)
    own = authority.issue("tap-as-client")
    settings = replace(settings, client_ca=authority.certificate, client_certificate=own[0], client_key=own[1])
    session, _ = asyncio.run(exchange(settings, server, client))
    assert session.client_leg is not None
    shown = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert session.client_leg.peer_certificate == hashlib.sha256(shown).hexdigest()


async def refused(settings: TapSettings, server: ssl.SSLContext, first: bytes | ssl.SSLContext) -> Tap:
    """A connection that must not get through; `first`: TLS, or bytes that are sent without."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(1) == b"", "something got through"
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0, ssl=server) as upstream:
        settings = replace(settings, upstream_port=upstream.sockets[0].getsockname()[1])
        async with Tap(settings, "127.0.0.1") as tap:
            tls = first if isinstance(first, ssl.SSLContext) else None
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", tap.port, ssl=tls, server_hostname="localhost" if tls else None
                )
                writer.write(first if isinstance(first, bytes) else b"hello")
                writer.write_eof() if writer.can_write_eof() else None
                await reader.read()
                writer.close()
            except (OSError, ssl.SSLError):
                pass
            await asyncio.gather(*tap._running)
    return tap


def test_a_coordinator_of_another_authority_is_refused(settings: TapSettings, authority: Authority) -> None:
    impostor = Authority.make(settings.folder.parent, "impostor")
    tap = asyncio.run(refused(settings, server_context(impostor), client_context(authority)))
    (spot,) = tap.blind_spots()
    assert spot.rule == "tap/broken-session" and "certificate verify failed" in spot.message
    assert spot.place.session == "t0001"


def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    settings: TapSettings, authority: Authority
) -> None:
    settings = replace(settings, client_ca=authority.certificate)
    tap = asyncio.run(refused(settings, server_context(authority), client_context(authority)))
    (session,) = tap.sessions
    assert "certificate" in session.error and session.to_coordinator_bytes == 0


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no TLS handshake"),
        (b"\x16\x03\x01", "ended before its ClientHello"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not one whole ClientHello"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "contradicts itself"),
    ],
)
def test_what_is_no_tls_client_is_refused_and_reported(
    settings: TapSettings, authority: Authority, first: bytes, complaint: str
) -> None:
    (session,) = asyncio.run(refused(settings, server_context(authority), first)).sessions
    assert complaint in session.error


def test_a_session_that_is_open_when_the_tap_closes_is_a_blind_spot(
    settings: TapSettings, authority: Authority
) -> None:
    async def cut_off() -> Tap:
        got = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(5)
            got.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(hold, "127.0.0.1", 0, ssl=server_context(authority)) as upstream:
            moved = replace(settings, upstream_port=upstream.sockets[0].getsockname()[1])
            async with Tap(moved, "127.0.0.1") as tap:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", tap.port, ssl=client_context(authority), server_hostname="localhost"
                )
                writer.write(b"hello")
                await got.wait()
            writer.close()
        return tap

    tap = asyncio.run(cut_off())
    (spot,) = tap.blind_spots()
    assert "the tap was closed" in spot.message
    assert tap.sessions[0].to_coordinator_bytes == 5
    assert (settings.folder / "t0001.to-coordinator").read_bytes() == b"hello"


def test_a_folder_serves_one_tap(settings: TapSettings) -> None:
    Tap(settings, "127.0.0.1")._listener.close()
    with pytest.raises(FileExistsError):
        Tap(settings, "127.0.0.1")


def test_a_client_certificate_needs_its_key(settings: TapSettings) -> None:
    with pytest.raises(ValueError, match="needs its key"):
        replace(settings, client_certificate=settings.certificate)
