"""The originating paper's search beside ours, on the same capture: what was sent, and what each of them found of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from audit.capture.pcap import CaptureFormatError, read_packets
from audit.decode.packets import Segment, read_segment
from audit.detect.paper import PaperSearch, search_packets
from audit.report.examination import Control, Examination, Polarity
from audit.report.limits import PAPER_PROCEDURE
from audit.report.sections import Searches, SearchRow

__all__ = ["searches_part"]


def searches_part(capture: Path, examination: Examination) -> Searches:
    """A row for each known leak that the audit sent, and one for each kind of finding."""
    searched = search_packets(_payloads(capture, examination))
    rows = [_control(each, searched) for each in examination.controls if each.polarity is Polarity.POSITIVE]
    for rule in sorted({each.rule for each in examination.findings}):
        count = sum(each.rule == rule for each in examination.findings)
        rows.append(
            SearchRow(
                sent=f"what our search found of the sites: {rule}",
                paper_hits=0,
                paper_said=_of_paper(searched),
                ours_hits=count,
                ours_said=f"{count} found, each with its place",
            )
        )
    return Searches(
        procedure=PAPER_PROCEDURE,
        capture_sha256=examination.captures[0].sha256 if examination.captures else "",
        rows=tuple(rows),
    )


def _control(control: Control, searched: PaperSearch) -> SearchRow:
    return SearchRow(
        sent=f"by the audit itself: {control.sends}",
        paper_hits=0,
        paper_said=_of_paper(searched),
        ours_hits=int(control.fired),
        ours_said=f"found: {control.seen}" if control.fired else "not found",
    )


def _of_paper(searched: PaperSearch) -> str:
    """The paper's result is the same whatever was sent: its search reads ciphertext, where magics stand by chance."""
    total = searched.jpeg + searched.png
    chance = searched.jpeg_expected_by_chance
    if not total:
        return f"nothing in {searched.packets:,} packets of ciphertext"
    return f"nothing of it: {total} magics in {searched.bytes:,} bytes of ciphertext, where chance gives {chance:.1f}"


def _payloads(capture: Path, examination: Examination) -> Iterator[bytes | bytearray | memoryview]:
    """The payload of each captured packet of the audited port."""
    if not examination.captures or not capture.is_file():
        return
    port = examination.captures[0].port
    try:
        for packet in read_packets(capture):
            segment = read_segment(packet.link_type, packet.data, packet.wire_length)
            if isinstance(segment, Segment) and port in (segment.source_port, segment.target_port):
                yield segment.payload
    except CaptureFormatError:
        return  # the examination names it
