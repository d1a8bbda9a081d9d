"""The capture: what crosses a port of this machine goes into a pcap file, with an account of what did not.

    with Capture("lo", 9092, folder / "wire.pcap") as capture:
        ...
    capture.account.blind_spots()

The ring is larger than any burst of an update, and its reader does nothing but copy, digest and write; so it loses
nothing where scapy's sniffer loses nearly all of the same burst, and says so when it does. At the end the kernel's
counters must equal what was taken out of the ring, or the difference is a blind spot. A thread competes with its own
process for the interpreter: a busy process captures in a child instead (`audit/capture/process.py`).

Several interfaces go into one file, `"lo,eth0"`; packets of one interface are in order, those of two need not be.
"""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from audit.capture.account import CaptureAccount, CaptureUnavailable
from audit.capture.packet_socket import PacketRing
from audit.capture.pcap import LINKTYPE_ETHERNET, PcapWriter

__all__ = ["RING_BYTES", "Capture", "CaptureAccount", "CaptureUnavailable", "Recording"]

RING_BYTES = 256 << 20  # of each interface
_FLUSH_S = 3.0  # the kernel closes the last block within 60 ms of its first packet
_POLL_MS = 20


class Recording:
    """Rings and the file that they go into; one thread runs it. `Capture` and the child process both stand on it.

    Raises `CaptureUnavailable`, and `FileExistsError` rather than overwrite a capture. The file is its owner's only.
    """

    def __init__(self, interface: str, port: int, path: Path, *, ring_bytes: int, clock: Callable[[], float]) -> None:
        self._interface = interface
        self._port = port
        self._clock = clock
        self._digest = hashlib.sha256()
        self._rings: list[PacketRing] = []
        self._resources = ExitStack()
        with ExitStack() as opened:
            for name in dict.fromkeys(interface.split(",")):
                ring = PacketRing(name, port, ring_bytes)
                opened.callback(ring.close)
                self._rings.append(ring)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = opened.enter_context(os.fdopen(descriptor, "wb", buffering=0))
            self._write(PcapWriter.header(LINKTYPE_ETHERNET))
            self._resources = opened.pop_all()
        self._started_s = clock()

    def run(self, stop: int) -> CaptureAccount:
        """Record until the file descriptor `stop` is readable or at its end; never raises for a failed write."""
        failure = ""
        with self._resources:
            try:
                self._record(stop)
                self._flush()
            except OSError as error:
                failure = f"the capture ended early: {error}"
            for ring in self._rings:
                ring.count()
        return self._account(failure)

    def _record(self, stop: int) -> None:
        poll = select.poll()
        poll.register(stop, select.POLLIN)
        for ring in self._rings:
            poll.register(ring, select.POLLIN)
        while stop not in (ready := dict(poll.poll())):
            for ring in self._rings:
                while (packets := ring.take()) is not None:
                    self._write(packets)
                if ready.get(ring.fileno(), 0) & select.POLLERR:
                    ring.count()  # reads the error as well; otherwise it would be reported for ever

    def _flush(self) -> None:
        """Take what is in the rings, down to the last open block, until the kernel's count is reached."""
        for ring in self._rings:
            ring.refuse_all()
        deadline_s = time.monotonic() + _FLUSH_S
        for ring in self._rings:
            poll = select.poll()
            poll.register(ring, select.POLLIN)
            while True:
                while (packets := ring.take()) is not None:
                    self._write(packets)
                ring.count()
                if ring.unread() <= 0 or time.monotonic() > deadline_s:
                    break
                poll.poll(_POLL_MS)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _account(self, failure: str) -> CaptureAccount:
        counts = [ring.counts for ring in self._rings]
        return CaptureAccount(
            interface=self._interface,
            port=self._port,
            packets=sum(each.packets for each in counts),
            bytes=sum(each.bytes for each in counts),
            kernel_drops=sum(each.dropped for each in counts),
            freezes=sum(each.freezes for each in counts),
            sha256=self._digest.hexdigest(),
            started_s=self._started_s,
            ended_s=self._clock(),
            cut=sum(each.cut for each in counts),
            fragments=sum(each.fragments for each in counts),
            unread=sum(max(ring.unread(), 0) for ring in self._rings),
            interruptions=sum(each.interruptions for each in counts),
            failure=failure,
        )


class Capture:
    """Captures in a thread of this process between `with` and its end; entering raises what `Recording` raises."""

    def __init__(
        self,
        interface: str,
        port: int,
        path: Path,
        *,
        ring_bytes: int = RING_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open = partial(Recording, interface, port, path, ring_bytes=ring_bytes, clock=clock)
        self._account: CaptureAccount | None = None

    def __enter__(self) -> Capture:
        recording = self._open()
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, args=(recording,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    @property
    def account(self) -> CaptureAccount:
        """What was captured and what was lost; once the `with` block has ended."""
        if self._account is None:
            raise RuntimeError("a capture gives its account after its end")
        return self._account

    def _run(self, recording: Recording) -> None:
        self._account = recording.run(self._stop)
