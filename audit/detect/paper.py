"""The originating paper's own procedure: JPEG's and PNG's magic in the payloads of captured packets, as they are.

Kept for the report, where it stands beside ours on the same capture. Under TLS it reads ciphertext and cannot find a
picture, sent or not: the positive control shows it. What it does find is chance: FF D8 FF is expected in 64 of each
GiB of random bytes, so that its hits prove as little as their absence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PaperSearch", "search_packets"]

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class PaperSearch:
    """How often each magic stood in a packet, and how many JPEG hits chance alone is expected to give."""

    packets: int
    bytes: int
    jpeg: int
    png: int

    @property
    def jpeg_expected_by_chance(self) -> float:
        """Hits of three given bytes in so many random ones."""
        return self.bytes / 2**24


def search_packets(payloads: Iterable[bytes | bytearray | memoryview]) -> PaperSearch:
    """Count the magics in each payload by itself; one that is split over two packets is missed, as it was there."""
    packets = size = jpeg = png = 0
    for payload in payloads:
        octets = bytes(payload)
        packets += 1
        size += len(octets)
        jpeg += octets.count(_JPEG)
        png += octets.count(_PNG)
    return PaperSearch(packets, size, jpeg, png)
