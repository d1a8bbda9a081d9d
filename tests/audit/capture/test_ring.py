"""audit/capture/ring.py and packet_socket.py on real interfaces; needs the right to capture."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit.capture.account import CaptureAccount
from audit.capture.packet_socket import BLOCK_BYTES
from audit.capture.pcap import read_packets
from audit.capture.ring import RING_BYTES, Capture, CaptureUnavailable, Recording
from tests.audit.capture.traffic import (
    ENVIRONMENT,
    FAR_V4,
    NAMESPACE,
    NEAR_V4,
    NEAR_V6,
    namespace,
    need_capture,
    need_namespaces,
    payload,
    receive,
    send,
    send_from,
    serve,
)

BURST = 100 << 20
SMALL = {"ring_bytes": 4 * BLOCK_BYTES}


def clean(account: CaptureAccount, path: Path) -> bool:
    """The account agrees with the file and names nothing that was missed."""
    packets = list(read_packets(path))
    assert account.packets == len(packets) and account.bytes == sum(len(each.data) for each in packets)
    assert account.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(account.started_s - 1 <= each.time_s <= account.ended_s + 1 for each in packets)
    return account.kernel_drops == account.freezes == account.unread == 0 and account.blind_spots() == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_burst_of_100_mib_on_loopback_is_captured_without_a_drop_and_once(tmp_path: Path, host: str) -> None:
    need_capture()
    path = tmp_path / "wire.pcap"
    with serve(host) as server:
        port = server.getsockname()[1]
        with Capture("lo", port, path) as capture:
            send(server, BURST)
    assert clean(capture.account, path)
    assert payload(path, port) == BURST
    assert capture.account.bytes < BURST * 1.1, "each packet of the loopback interface is there once"


@pytest.mark.parametrize(("here", "mtu"), [(NEAR_V4, 65_535), (NEAR_V6, 1500)])
def test_a_burst_of_100_mib_over_a_veth_pair_is_captured_without_a_drop(tmp_path: Path, here: str, mtu: int) -> None:
    need_namespaces()
    path = tmp_path / "wire.pcap"
    with namespace() as near, serve(here) as server:
        subprocess.run(["ip", "link", "set", near, "mtu", str(mtu)], check=True)
        port = server.getsockname()[1]
        with Capture(near, port, path) as capture, send_from(NAMESPACE, here, port, BURST):
            assert receive(server) == BURST
    assert clean(capture.account, path)
    assert payload(path, port) == BURST


def test_a_bridge_and_the_loopback_interface_go_into_one_file(tmp_path: Path) -> None:
    need_namespaces()
    path = tmp_path / "wire.pcap"
    with namespace() as near, serve(NEAR_V4) as server:
        bridge = f"{NAMESPACE}br"
        try:
            for command in (
                f"link add {bridge} type bridge",
                f"addr flush dev {near}",
                f"link set {near} master {bridge}",
                f"addr add {NEAR_V4}/24 dev {bridge}",
                f"link set {bridge} up",
            ):
                subprocess.run(["ip", *command.split()], check=True)
            port = server.getsockname()[1]
            with Capture(f"{bridge},lo", port, path, **SMALL) as capture:
                with send_from(NAMESPACE, NEAR_V4, port, 3_000_000):
                    assert receive(server) == 3_000_000
                with send_from("", NEAR_V4, port, 2_000_000):  # to our own address: over loopback
                    assert receive(server) == 2_000_000
        finally:
            subprocess.run(["ip", "link", "del", bridge], check=True)
    assert clean(capture.account, path)
    assert payload(path, port) == 3_000_000
    sources = {bytes(each.data[26:30]) for each in read_packets(path)}
    assert sources == {socket.inet_aton(NEAR_V4), socket.inet_aton(FAR_V4)}


def test_other_ports_are_not_captured(tmp_path: Path) -> None:
    need_capture()
    with (
        serve("127.0.0.1") as ours,
        serve("127.0.0.1") as other,
        Capture("lo", ours.getsockname()[1], tmp_path / "a", **SMALL) as capture,
    ):
        send(other, 1000)
    assert capture.account.packets == 0 and clean(capture.account, tmp_path / "a")


def test_what_finds_no_room_is_counted_as_a_drop_and_is_a_blind_spot(tmp_path: Path) -> None:
    need_capture()
    path = tmp_path / "wire.pcap"
    with serve("127.0.0.1") as server:
        recording = Recording("lo", server.getsockname()[1], path, ring_bytes=2 * BLOCK_BYTES, clock=time.time)
        send(server, 40 << 20)  # and nobody empties the ring
        stop = os.eventfd(1)
        account = recording.run(stop)
        os.close(stop)
    assert account.kernel_drops > 0 and account.freezes > 0 and account.unread == 0
    assert account.packets == len(list(read_packets(path)))
    (spot,) = account.blind_spots()
    assert spot.rule == "capture/kernel-drop" and str(account.kernel_drops) in spot.message


A_FRAGMENT = """
import pathlib, socket, subprocess, sys
from scapy.layers.inet import IP
from audit.capture.ring import Capture

subprocess.run("ip link set lo up", shell=True, check=True)
fragment = bytes(IP(src="127.0.0.1", dst="127.0.0.1", frag=3, proto=6)) + b"later"
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    with Capture("lo", 9092, pathlib.Path(sys.argv[1]) / "wire.pcap", ring_bytes=1 << 24) as capture:
        raw.sendto(fragment, ("127.0.0.1", 0))
print(capture.account.packets, capture.account.fragments)
print(*(each.rule for each in capture.account.blind_spots()))
"""


def test_a_fragment_is_kept_and_is_a_blind_spot(tmp_path: Path) -> None:
    need_namespaces()  # of its own, because it would be a blind spot of every other capture on loopback
    command = ["unshare", "-n", sys.executable, "-c", A_FRAGMENT, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert ended.stdout.splitlines() == ["1 1", "capture/fragment"], ended.stderr


def test_a_disk_that_is_full_ends_in_an_account_with_the_reason(tmp_path: Path) -> None:
    need_capture()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve("127.0.0.1") as server, Capture("lo", server.getsockname()[1], tmp_path / "a", **SMALL) as capture:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        try:
            send(server, 8 << 20)
            capture._thread.join()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "too large" in capture.account.failure
    assert "capture/failed" in {each.rule for each in capture.account.blind_spots()}


def test_a_capture_is_its_owners_only_and_overwrites_none(tmp_path: Path) -> None:
    need_capture()
    path = tmp_path / "wire.pcap"
    with Capture("lo", 1, path, **SMALL) as capture, pytest.raises(RuntimeError, match="after its end"):
        _ = capture.account
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Capture("lo", 1, path, **SMALL).__enter__()


def test_an_interface_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    need_capture()
    with pytest.raises(CaptureUnavailable, match=r"no interface 'ghost0' here, only .*lo") as caught:
        Capture("lo,ghost0", 1, tmp_path / "a", **SMALL).__enter__()
    assert caught.value.reason == str(caught.value)
    assert not (tmp_path / "a").exists()


def test_off_linux_nothing_can_be_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CaptureUnavailable, match="on Linux only, and this is darwin"):
        Capture("lo", 1, tmp_path / "a").__enter__()


def test_a_ring_that_the_kernel_does_not_give_is_a_reason(tmp_path: Path) -> None:
    need_capture()
    with pytest.raises(CaptureUnavailable, match="no ring of"):
        Capture("lo", 1, tmp_path / "a", ring_bytes=1 << 45).__enter__()


def test_without_privileges_the_reason_says_which(tmp_path: Path) -> None:
    # Takes CAP_NET_RAW (13) out of what a new programme may have (PR_CAPBSET_DROP, 24), and becomes one.
    drop = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 13, 0, 0, 0); os.execv(sys.executable, sys.argv[1:])"
    code = "import sys; from audit.capture.ring import Capture; Capture('lo', 1, sys.argv[1]).__enter__()"
    command = [sys.executable, "-c", drop, sys.executable, "-c", code, str(tmp_path / "a")]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert "CaptureUnavailable: packets can be captured by root or with CAP_NET_RAW only" in ended.stderr


IN_A_NAMESPACE = """
import dataclasses, json, subprocess, sys
from pathlib import Path
from audit.capture.ring import Capture, CaptureUnavailable
from tests.audit.capture.traffic import payload, send, serve

folder = Path(sys.argv[1])
try:
    Capture("lo", 1, folder / "a").__enter__()
except CaptureUnavailable as error:
    print(error.reason)
subprocess.run("ip link set lo up; ip tuntap add t0 mode tun; ip link set t0 up", shell=True, check=True)
try:
    Capture("t0", 1, folder / "a").__enter__()
except CaptureUnavailable as error:
    print(error.reason)
with serve("127.0.0.1") as server, Capture("lo", server.getsockname()[1], folder / "b") as capture:
    send(server, 5_000_000)
    subprocess.run("ip link set lo down; ip link set lo up", shell=True, check=True)
    send(server, 3_000_000)
print(payload(folder / "b", capture.account.port), capture.account.interruptions)
print(capture.account.blind_spots()[0].rule)
"""


def test_inside_a_namespace_interfaces_may_be_down_or_unfit_or_go_down(tmp_path: Path) -> None:
    need_namespaces()
    command = ["unshare", "-n", sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert ended.stdout.splitlines() == [
        "interface lo is down",
        "interface t0 has no Ethernet frames (hardware type 65534)",
        "5000000 1",
        "capture/interface-down",
    ], ended.stderr


def test_every_loss_is_a_blind_spot_and_a_full_account_is_none() -> None:
    whole = CaptureAccount("lo", 1, 5, 500, 0, 0, "00", 1.0, 2.0)
    assert whole.blind_spots() == ()
    lossy = CaptureAccount("lo", 1, 5, 500, 1, 1, "00", 1.0, 2.0, 2, 3, 4, 5, "no room")
    assert [(each.rule, each.message.split()[1]) for each in lossy.blind_spots()] == [
        ("capture/kernel-drop", "1"),
        ("capture/cut-packet", "2"),
        ("capture/fragment", "3"),
        ("capture/unread", "4"),
        ("capture/interface-down", "5"),
        ("capture/failed", "no"),
    ]


def test_an_account_survives_json() -> None:
    import dataclasses

    account = CaptureAccount("lo", 1, 5, 500, 1, 1, "00", 1.0, 2.0)
    assert CaptureAccount(**json.loads(json.dumps(dataclasses.asdict(account)))) == account
    assert RING_BYTES == 256 << 20
