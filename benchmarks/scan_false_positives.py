"""Findings of the scan where there is nothing to find: random bytes, and float weights. And how fast the scan is.

    python -m benchmarks.scan_false_positives [--quick] [--gib N] [--json]

10 GiB (`--quick`: 1), in turns 3 MiB of float32 from N(0, 0.05), 4 MiB of random bytes and 1 MiB of float16, as one
stream through the scan with all formats and wrappers. Claims: no finding and no blind spot (at most 2.5e-6 findings are
expected, audit/detect/formats/evidence.py); the prefilter of all patterns at 1.4 GB/s of CPU or more with Hyperscan.

Rates are of CPU time of this process; making the bytes is not in them. The bar for the speed is meant for an idle
machine: the other hardware thread of a core takes a third of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from audit.detect.fingerprints import ImageIndex
from audit.detect.pixels import inspect_array
from audit.detect.prefilter import HyperscanPrefilter, PortablePrefilter, Prefilter
from audit.detect.scan import PATTERNS, StreamScanner
from benchmarks.report import Report, finish, need_peer, note, parser

__all__ = ["main", "prefilter_rate", "scan_nothing"]

_MIB = 1 << 20
_TURN = 8 * _MIB


def main() -> int:
    """Scan, count, and time."""
    made = parser(__doc__ or "")
    made.add_argument("--gib", type=int, help="how much to scan")
    options = made.parse_args()
    gib = options.gib or (1 if options.quick else 10)
    need_peer("hyperscan", extra="scan")
    report = Report("scan_false_positives", {"gib": gib, "patterns": len(PATTERNS), "quick": options.quick})
    fast = prefilter_rate(HyperscanPrefilter(PATTERNS), 256 * _MIB)
    report.figure("prefilter_portable_mb_s", prefilter_rate(PortablePrefilter(PATTERNS), 16 * _MIB))
    report.figure("fingerprints_mb_s", _fingerprint_rate(16 * _MIB))
    report.figure("pixels_mb_s", _pixel_rate(32 * _MIB))
    findings, blind_spots, rate = scan_nothing(gib << 30)
    report.figure("scan_mb_s", rate)
    report.bar("findings", value=findings, bar=0, better="lower")
    report.bar("blind spots", value=blind_spots, bar=0, better="lower")
    report.bar("prefilter, MB/s of CPU", value=fast, bar=1400, better="higher")
    return finish(report, options)


def scan_nothing(size: int) -> tuple[int, int, float]:
    """Findings and blind spots in so many bytes without a file, and MB/s of CPU."""
    generator = np.random.default_rng(11)
    scanner = StreamScanner()
    findings, seconds = 0, 0.0
    for done in range(0, size, _TURN):
        data = _turn(generator)
        start = time.process_time()
        findings += len(scanner.feed(data))
        seconds += time.process_time() - start
        if done % (1 << 30) == 0:
            note(f"{done >> 30} GiB: {findings} findings, {len(scanner.blind_spots)} blind spots")
    findings += len(scanner.close())
    return findings, len(scanner.blind_spots), size / seconds / 1e6


def prefilter_rate(engine: Prefilter, size: int) -> float:
    """MB/s of CPU over blocks of 1 MiB, best of three."""
    generator = np.random.default_rng(12)
    data = _turn(generator)
    blocks = [data[start : start + _MIB] for start in range(0, _TURN, _MIB)]
    return max(_rate(lambda: [engine.hits(blocks[n % 8]) for n in range(size // _MIB)], size) for _ in range(3))


def _turn(generator: np.random.Generator) -> bytes:
    """8 MiB without a file in them."""
    weights = generator.standard_normal(3 * _MIB // 4, dtype=np.float32) * np.float32(0.05)
    halves = (generator.standard_normal(_MIB // 2, dtype=np.float32) * np.float32(0.05)).astype(np.float16)
    return weights.tobytes() + generator.bytes(4 * _MIB) + halves.tobytes()


def _fingerprint_rate(size: int) -> float:
    """Search for 100 pictures of 32 px, blocks 32 bytes apart."""
    generator = np.random.default_rng(13)
    index = ImageIndex(generator.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8), bytes(16))
    data = generator.bytes(size)
    return _rate(lambda: index.search(data), size)


def _pixel_rate(size: int) -> float:
    values = np.random.default_rng(14).standard_normal(size // 4, dtype=np.float32)
    return _rate(lambda: inspect_array(values), size)


def _rate(work: Callable[[], object], size: int) -> float:
    start = time.process_time()
    work()
    return size / (time.process_time() - start) / 1e6


if __name__ == "__main__":
    sys.exit(main())
