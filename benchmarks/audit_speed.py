"""How fast an audit reads a capture: our decoding and scanning beside grep, tshark and scapy on the same file.

    python -m benchmarks.audit_speed [--quick] [--json]

Claim: decoding and scanning together read at least 150 MB of capture a second of CPU, and the scan's prefilter, all
its patterns in one pass, at least 1,400 MB/s, on an idle machine and one core.

What each reads, in turns, so that a disturbance hits all of them
  decode        packets → TCP → TLS 1.3 → HTTP → Flower's objects, hashed and checked → arrays. Nothing is kept.
  decode+scan   the same, and every decrypted stream through `audit.detect.scan.StreamScanner`.
  small packets the same as decode on the same updates in segments of 1,448 bytes, as a network shows them.
  prefilter     the patterns alone, over blocks of 1 MiB of the updates' bytes.
  grep          `grep -c` of one JPEG signature over the capture. It reads ciphertext, and can find nothing.
  tshark        the decrypted stream by `follow,tls`; in its time is the printing as hexadecimal.
  scapy         `TCPSession` with the key log: the application bytes that it hands out, on the smallest file only
                (some MB/s). It says nothing of losses and gaps, and may hand out the right number of wrong bytes.

MB/s are megabytes of capture file a second of CPU time, of the process and its children; for a peer that is a
program of its own, its start is in it. tshark and scapy have to agree with us on the number of bytes inside TLS, else
the figure `… bytes missing` is not zero.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.capture.keylog import read_key_log
from audit.capture.pcap import read_packets
from audit.decode.conversation import RawChunk, WireMessage
from audit.decode.reader import Decoder, Event
from audit.detect.scan import StreamScanner, prefilter
from audit.findings import Place
from benchmarks.audit_traffic import PORT, write_traffic
from benchmarks.report import Report, finish, need_peer, note, parser, summary

__all__ = ["Bench", "fill", "main"]

_DECODE_AND_SCAN, _PREFILTER = 150.0, 1_400.0  # MB/s of CPU
_SEGMENT, _SMALL_SEGMENT = 65_000, 1_448
_MEGABYTES, _QUICK_MEGABYTES, _TINY_MEGABYTES = 200, 50, 10
_OUR_ARRAYS = frozenset({"array/npy"})  # Flower's chunks begin as npy files
_TURNS, _QUICK_TURNS = 5, 2
_SCAPY = """
import sys
from scapy.config import conf
from scapy.layers.tls.all import TLS, TLS13, TLSApplicationData
from scapy.layers.inet import TCP
from scapy.packet import bind_layers
from scapy.sendrecv import sniff
from scapy.sessions import TCPSession
conf.tls_session_enable, conf.tls_nss_filename, conf.verb = True, sys.argv[2], 0
conf.debug_dissector = False
bind_layers(TCP, TLS, dport=int(sys.argv[3])); bind_layers(TCP, TLS, sport=int(sys.argv[3]))
seen = 0
def count(packet):
    global seen
    layer = packet
    while layer:
        if isinstance(layer, (TLS, TLS13)):
            inside = layer.inner.msg if isinstance(layer, TLS13) else layer.msg
            seen += sum(len(m.data) for m in inside if isinstance(m, TLSApplicationData))
        layer = layer.payload
sniff(offline=sys.argv[1], session=TCPSession, store=False, prn=count)
print(seen)
"""


@dataclass(frozen=True)
class Capture:
    """A capture file with its secrets. `said`: bytes that were said inside TLS."""

    pcap: Path
    key_log: Path
    said: int

    @property
    def megabytes(self) -> float:
        """Size of the capture file."""
        return self.pcap.stat().st_size / 1e6


def make(folder: Path, name: str, *, megabytes: int, segment_bytes: int) -> Capture:
    """Write a capture of so many megabytes of updates."""
    pcap, key_log = folder / f"{name}.pcap", folder / f"{name}.keys"
    key_log.touch(mode=0o600)
    return Capture(
        pcap, key_log, write_traffic(pcap, key_log, megabytes=megabytes, segment_bytes=segment_bytes, seed=7)
    )


def events(capture: Capture) -> Iterator[Event]:
    """What our decoder makes of a capture; ends the benchmark if it is not all of it."""
    with tempfile.TemporaryDirectory(dir=capture.pcap.parent) as spool:
        decoder = Decoder(read_key_log(capture.key_log), port=PORT, spool=Path(spool))
        yield from decoder.read(read_packets(capture.pcap))
        accounts = decoder.finish()
    if not accounts.complete or accounts.findings:
        raise RuntimeError(f"the capture was not read whole: {accounts.blind_spots} {accounts.findings}")


def decode(capture: Capture) -> int:
    """Decode; application bytes."""
    return sum(len(e.data) for e in events(capture) if isinstance(e, RawChunk) and e.layer == "application")


def decode_and_scan(capture: Capture) -> int:
    """Decode and scan each stream; application bytes."""
    scanners: dict[tuple[str, str, str], StreamScanner] = {}
    seen = 0
    for event in events(capture):
        if not isinstance(event, RawChunk):
            continue
        key = (event.session, event.direction, event.layer)
        scanner = scanners.get(key)
        if scanner is None:
            scanner = scanners[key] = StreamScanner(
                Place(session=event.session, direction=event.direction), ignore=_OUR_ARRAYS
            )
        if found := scanner.feed(event.data):
            raise RuntimeError(f"a finding in random numbers: {found}")
        seen += len(event.data) if event.layer == "application" else 0
    for scanner in scanners.values():
        scanner.close()
    return seen


def update_bytes(capture: Capture) -> bytes:
    """The updates' numbers, for the prefilter."""
    found = (array.tobytes() for e in events(capture) if isinstance(e, WireMessage) for array in e.arrays().values())
    return b"".join(found)


def search(data: bytes) -> int:
    """All patterns over blocks of 1 MiB; bytes."""
    engine = prefilter()
    for at in range(0, len(data), 1 << 20):
        engine.hits(data[at : at + (1 << 20)])
    return len(data)


def grep(capture: Capture) -> int:
    """Lines with a JPEG signature in the capture's bytes."""
    command = ["grep", "-c", "-a", "-P", r"\xFF\xD8\xFF", str(capture.pcap)]
    told = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False)
    return int(told.stdout)


def tshark(capture: Capture) -> int:
    """Application bytes that tshark decrypts."""
    command = ["tshark", "-r", str(capture.pcap), "-q", "-z", "follow,tls,raw,0", "-d", f"tcp.port=={PORT},tls"]
    with subprocess.Popen([*command, "-o", f"tls.keylog_file:{capture.key_log}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101
        digits = set(b"0123456789abcdef\t\n")
        return sum(len(line.strip()) // 2 for line in process.stdout if digits.issuperset(line))


def scapy(capture: Capture) -> int:
    """Application bytes that scapy hands out."""
    command = [sys.executable, "-c", _SCAPY, str(capture.pcap), str(capture.key_log), str(PORT)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[-1])


def cpu_s(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds of CPU that `work` took, its children's with it, and its result."""
    before = time.process_time() + _children_s()
    result = work()
    return time.process_time() + _children_s() - before, result


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    """Speeds in MB/s by name, a sample a turn; `missing`: bytes that a peer did not hand out, or too many."""

    def __init__(self) -> None:
        self.speeds: dict[str, list[float]] = {}
        self.missing: dict[str, int] = {}

    def run(self, name: str, work: Callable[[], int], *, megabytes: float, said: int | None = None) -> None:
        """Measure once. `said`: the bytes that it has to see."""
        seconds, result = cpu_s(work)
        self.speeds.setdefault(name, []).append(megabytes / seconds)
        if said is not None:
            self.missing[name] = said - result
        note(f"{name}: {megabytes / seconds:.1f} MB/s of CPU")


def fill(report: Report, bench: Bench) -> None:
    """Figures and bars out of the measured speeds."""
    for name, speeds in bench.speeds.items():
        report.figure(f"{name}, MB/s of CPU", summary(speeds))
    for name, missing in bench.missing.items():
        report.figure(f"{name}, bytes missing", missing)
    middle = {name: summary(speeds)["median"] for name, speeds in bench.speeds.items()}
    report.bar("decode + scan, MB/s of CPU", value=middle["decode+scan"], bar=_DECODE_AND_SCAN, better="higher")
    report.bar("prefilter, MB/s of CPU", value=middle["prefilter"], bar=_PREFILTER, better="higher")
    for name in ("decode", "decode+scan", "small packets"):
        report.bar(f"{name}: bytes missing", value=abs(bench.missing[name]), bar=0, better="lower")


def main() -> int:
    """Entry point of the benchmark; see the module's docstring."""
    options = parser(__doc__ or "").parse_args()
    need_peer("hyperscan", extra="scan")
    need_peer("scapy", extra="test")
    if shutil.which("tshark") is None:
        note("error: the peer tshark is not installed\n  fix: apt-get install tshark")
        return 2
    megabytes, turns = (_QUICK_MEGABYTES, _QUICK_TURNS) if options.quick else (_MEGABYTES, _TURNS)
    report = Report("audit_speed", {"megabytes": megabytes, "turns": turns, "segment_bytes": _SEGMENT})
    bench = Bench()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = make(folder, "large", megabytes=megabytes, segment_bytes=_SEGMENT)
        small = make(folder, "small", megabytes=megabytes // 2, segment_bytes=_SMALL_SEGMENT)
        tiny = make(folder, "tiny", megabytes=_TINY_MEGABYTES, segment_bytes=_SEGMENT)
        numbers = update_bytes(large)
        for turn in range(turns):
            bench.run("decode", lambda: decode(large), megabytes=large.megabytes, said=large.said)
            bench.run("decode+scan", lambda: decode_and_scan(large), megabytes=large.megabytes, said=large.said)
            bench.run("small packets", lambda: decode(small), megabytes=small.megabytes, said=small.said)
            bench.run("prefilter", lambda: search(numbers), megabytes=len(numbers) / 1e6)
            bench.run("grep", lambda: grep(large), megabytes=large.megabytes)
            if turn == 0:  # minutes each
                bench.run("tshark", lambda: tshark(large), megabytes=large.megabytes, said=large.said)
                bench.run("scapy", lambda: scapy(tiny), megabytes=tiny.megabytes, said=tiny.said)
    fill(report, bench)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
