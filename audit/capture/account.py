"""What a capture says about itself: how much it saw, and above all what it lost.

A capture that lost a packet looks like one that did not; only the kernel's counters tell them apart. So the account
carries them, and whatever they say was not seen becomes a blind spot, which is enough for INCOMPLETE.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.findings import BlindSpot

__all__ = ["CaptureAccount", "CaptureUnavailable"]


class CaptureUnavailable(Exception):
    """Nothing can be captured here; `reason` says why, in words for whoever started the audit."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class CaptureAccount:
    """One capture, after its end."""

    interface: str  # several are joined by commas
    port: int
    packets: int  # in the file
    bytes: int  # of packets in the file, without the file's own headers
    kernel_drops: int  # packets that passed the filter and found no room in the ring
    freezes: int  # times that the ring was full; each costs at least one drop
    sha256: str  # of the file
    started_s: float  # Unix time
    ended_s: float
    cut: int = 0  # packets of which the end is missing
    fragments: int = 0  # IP fragments: their ports cannot be told
    unread: int = 0  # packets that the kernel put into the ring and nobody took out
    interruptions: int = 0  # times that an interface went down
    failure: str = ""  # why the capture ended before it was told to

    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """What this capture cannot have seen; empty if it saw all."""
        counted = (
            ("capture/kernel-drop", self.kernel_drops, "packets found no room in the ring and were dropped"),
            ("capture/cut-packet", self.cut, "packets were captured without their end"),
            ("capture/fragment", self.fragments, "IP fragments, whose ports cannot be told, passed by"),
            ("capture/unread", self.unread, "packets stayed in the ring"),
            ("capture/interface-down", self.interruptions, "times an interface went down during the capture"),
        )
        spots = [BlindSpot(rule, f"{self.interface}: {n} {what}") for rule, n, what in counted if n]
        if self.failure:
            spots.append(BlindSpot("capture/failed", f"{self.interface}: {self.failure}"))
        return tuple(spots)
