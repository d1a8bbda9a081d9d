"""audit/capture/process.py: the same capture in a child that ends with its parent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from audit.capture.account import CaptureUnavailable
from audit.capture.packet_socket import BLOCK_BYTES
from audit.capture.process import CaptureProcess
from tests.audit.capture.traffic import ENVIRONMENT, need_capture, payload, send, serve

RING = 4 * BLOCK_BYTES


def test_a_burst_of_100_mib_is_captured_while_the_caller_is_busy(tmp_path: Path) -> None:
    need_capture()
    path = tmp_path / "wire.pcap"
    with serve("127.0.0.1") as server:
        port = server.getsockname()[1]
        with CaptureProcess(interface="lo", port=port, path=path) as capture:
            with pytest.raises(RuntimeError, match="after its end"):
                _ = capture.account
            send(server, 100 << 20)
    account = capture.account
    assert account.blind_spots() == () and account.kernel_drops == 0 and account.packets > 0
    assert account.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert payload(path, port) == 100 << 20


def test_the_reason_of_the_child_is_raised_in_the_parent(tmp_path: Path) -> None:
    need_capture()
    with pytest.raises(CaptureUnavailable, match="no interface 'ghost0'"):
        CaptureProcess(interface="ghost0", port=1, path=tmp_path / "a", ring_bytes=RING).__enter__()
    (tmp_path / "b").touch()
    with pytest.raises(OSError, match="File exists"):
        CaptureProcess(interface="lo", port=1, path=tmp_path / "b", ring_bytes=RING).__enter__()


def test_a_child_that_was_killed_leaves_an_account_that_is_a_blind_spot(tmp_path: Path) -> None:
    need_capture()
    with CaptureProcess(interface="lo", port=1, path=tmp_path / "a", ring_bytes=RING) as capture:
        os.kill(capture.pid, signal.SIGKILL)
    (spot,) = capture.account.blind_spots()
    assert spot.rule == "capture/failed" and "status -9" in spot.message


def test_the_child_ends_with_a_parent_that_is_killed_and_leaves_a_whole_file(tmp_path: Path) -> None:
    need_capture()
    path = tmp_path / "wire.pcap"
    with serve("127.0.0.1") as server:
        port = server.getsockname()[1]
        code = f"""
import pathlib, sys
from audit.capture.process import CaptureProcess
settings = dict(interface="lo", port={port}, path=pathlib.Path({str(path)!r}), ring_bytes={RING})
with CaptureProcess(**settings) as capture:
    print(capture.pid, flush=True)
    sys.stdin.read()
"""
        parent = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
        )
        with parent:
            assert parent.stdout is not None
            child = psutil.Process(int(parent.stdout.readline()))
            send(server, 1_000_000)
            parent.kill()
        psutil.wait_procs([child], timeout=20)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert payload(path, port) == 1_000_000


def test_what_has_not_begun_cannot_end_and_has_no_process() -> None:
    capture = CaptureProcess(interface="lo", port=1, path=Path("a"))
    with pytest.raises(RuntimeError, match="after it has begun"):
        capture.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="after it has begun"):
        _ = capture.pid
