"""TCP streams out of segments, and the proof that they are whole.

A stream is delivered byte by byte in order, as soon as it is contiguous; what comes early waits in bounded memory.
Loss of a packet must never pass for silence, so whatever tells how far the sender got is evidence: its own later
sequence numbers (a bare ACK has one too), its FIN or RST, and the acknowledgements of its peer, which saw what we may
have missed. What evidence covers and the capture does not is a gap. A stream that ends without FIN or RST is whole only
if its peer acknowledged exactly what we saw. One loss leaves no trace in any capture: a peer that resets, unasked, over
a segment that it never acknowledged.

Repeated bytes are compared with those delivered: two versions of the same bytes (Ptacek and Newsham, "Insertion,
evasion, and denial of service", 1998) would let the audit read one and the receiver another.

Sources: RFC 9293 sections 3.4 and 3.10.7; mid-stream, a connection is blind, since its first bytes decide all others.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from audit.decode.ledger import Page
from audit.decode.packets import ACK, FIN, RST, SYN, Segment

__all__ = ["HISTORY_BYTES", "HOLD_BYTES", "Half", "Hold"]

HOLD_BYTES = 16 << 20  # that one direction may hold while it waits for a missing segment: more than any TCP window here
HISTORY_BYTES = 16 << 20  # of what was delivered, kept to compare repetitions: as far as a window reaches back
_WRAP = 1 << 32
_NO_SYN = "the connection's beginning is not in the capture"

# Says what is wrong: rule, sentence, position in the stream, length.
Complain = Callable[[str, str, int, int], None]
# A piece of the stream: where it begins, and its bytes.
Piece = tuple[int, memoryview]


class Hold:
    """How much all streams together may hold back."""

    def __init__(self, limit: int) -> None:
        self.free = limit


class Half:
    """One direction of one connection.

    `broken`: a part is missing before what comes now; nothing that needs the whole stream can be read any more.
    """

    def __init__(self, page: Page, hold: Hold, complain: Complain) -> None:
        self._page, self._hold, self._complain = page, hold, complain
        self._first: int | None = None  # sequence number of byte 0
        self.delivered = 0
        self.broken = False
        self._sent = 0  # how far the sender is known to have got
        self._acknowledged = 0  # how far its peer says it got, the FIN counted as a byte
        self._end: int | None = None  # where its FIN says that it ends
        self._reset = False
        self._midway = False  # something came, and no SYN before it
        self._early: dict[int, bytes] = {}  # position (or sequence number, until the first is known) to bytes
        self._order: list[int] = []
        self._early_bytes = 0
        self._past: deque[tuple[int, bytes]] = deque()
        self._past_bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the sender has said that it sends no more, and all was delivered."""
        return self._reset or (self._end is not None and self.delivered >= self._end)

    @property
    def was_reset(self) -> bool:
        """Whether the sender broke the connection off."""
        return self._reset

    def begins_with(self, segment: Segment) -> bool:
        """Whether this SYN can be the one of this stream: the first, or the same again."""
        return self._first is None or self._first == (segment.sequence + 1) % _WRAP

    def take(self, segment: Segment) -> list[Piece]:
        """What becomes deliverable by one segment of the sender."""
        payload, flags, sequence = segment.payload, segment.flags, segment.sequence
        size = len(payload)
        self._page.captured += size
        pieces: list[Piece] = []
        if flags & SYN:
            sequence = (sequence + 1) % _WRAP
            if self._first is None:
                pieces = self._begin(sequence)
        if flags & RST:
            return pieces + self._break_off(sequence, size)
        if self._first is None:
            self._midway = True
            if size:
                self._keep(sequence, payload)
                if self._early_bytes > HOLD_BYTES or self._hold.free < 0:
                    return self._begin_anywhere()
            return []
        position = self._position(sequence)
        reached = position + size + segment.cut
        self._sent = max(self._sent, reached)
        if flags & FIN:
            if self._end is not None and self._end != reached:
                self._complain("tcp/overlap-conflict", "a second FIN at another place", reached, 0)
            else:
                self._end = reached
        return pieces + self._place(position, payload) if size else pieces

    def acknowledge(self, segment: Segment) -> None:
        """Learn from a segment of the peer how far it has received."""
        if segment.flags & ACK and self._first is not None:
            self._acknowledged = max(self._acknowledged, self._position(segment.acknowledged))

    def finish(self, peer: Half) -> list[Piece]:
        """What is left when no more segments come; complains of all that cannot be shown to be whole."""
        pieces: list[Piece] = []
        if self._first is None and self._early:
            pieces = self._begin_anywhere()
        elif self._first is None and self._midway:
            self._complain("tcp/no-syn", _NO_SYN, 0, 0)
            self.broken = True
        while self._early:
            pieces += self._skip()
        known = max(self._sent, self._acknowledged)
        if self._end is not None and known == self._end + 1:  # the FIN counts as a byte
            known = self._end
        if known > self.delivered:
            self._complain(
                "tcp/gap", "bytes that were sent and are not in the capture", self.delivered, known - self.delivered
            )
            self.broken = True
        elif self._end is not None and self.delivered > self._end:
            self._complain("tcp/past-fin", "bytes behind the stream's end", self._end, self.delivered - self._end)
        elif not (
            self.broken
            or self._end is not None
            or self._reset
            or peer.was_reset
            or self._acknowledged == self.delivered
        ):
            # Everything that was seen is there, but more may have been sent.
            self._complain("tcp/open-end", "no FIN, and no acknowledgement of the last bytes", self.delivered, 0)
        self._past.clear()
        return pieces

    def _begin(self, sequence: int) -> list[Piece]:
        """The first sequence number is known: what came before it can be placed."""
        self._first = sequence
        waiting, self._early, self._order = self._early, {}, []
        self._hold.free += self._early_bytes
        self._early_bytes = 0
        pieces: list[Piece] = []
        for each, data in waiting.items():
            position = self._position(each)
            self._sent = max(self._sent, position + len(data))
            pieces += self._place(position, memoryview(data))
        return pieces

    def _begin_anywhere(self) -> list[Piece]:
        """No SYN: begin with the lowest number seen. `broken` tells that this is not the stream's beginning."""
        self._complain("tcp/no-syn", _NO_SYN, 0, 0)
        self.broken = True
        origin = next(iter(self._early))
        return self._begin(min(self._early, key=lambda each: (each - origin + _WRAP // 2) % _WRAP))

    def _position(self, sequence: int) -> int:
        """Where a sequence number lies in the stream, taking the number that is nearest to where we are."""
        assert self._first is not None  # noqa: S101 - callers have looked
        return (sequence - self._first - self.delivered + _WRAP // 2) % _WRAP - _WRAP // 2 + self.delivered

    def _place(self, position: int, payload: memoryview) -> list[Piece]:
        if position > self.delivered:
            self._keep(position, payload)
            over = self._early_bytes > HOLD_BYTES or self._hold.free < 0
            return self._skip() if over else []
        pieces: list[Piece] = []
        self._deliver(position, payload, pieces)
        if self._order:
            self._drain(pieces)
        return pieces

    def _deliver(self, position: int, payload: memoryview, pieces: list[Piece]) -> None:
        known = self.delivered - position
        if known:
            self._compare(position, payload[:known])
            payload = payload[known:]
        if payload:
            pieces.append((self.delivered, payload))
            # A copy: a view would keep the whole window of the capture alive.
            self._past.append((self.delivered, bytes(payload)))
            self._past_bytes += len(payload)
            self.delivered += len(payload)
            while self._past_bytes > HISTORY_BYTES and len(self._past) > 1:
                self._past_bytes -= len(self._past.popleft()[1])

    def _compare(self, position: int, again: memoryview) -> None:
        """Repeated bytes are as they were, or the audit says so."""
        size = len(again)
        if not self._past or position < self._past[0][0]:
            self._page.parts["blind/repetition"] += size
            self._complain("tcp/repetition", "repeated bytes, too old to be compared", position, size)
        elif self._was_so(position, again):
            self._page.parts["tcp/repeated"] += size
        else:
            self._page.parts["blind/overlap-conflict"] += size
            self._complain("tcp/overlap-conflict", "two versions of the same bytes", position, size)

    def _was_so(self, position: int, again: memoryview) -> bool:
        end = position + len(again)
        for begin, data in self._past:
            low, high = max(begin, position), min(begin + len(data), end)
            if low < high and data[low - begin : high - begin] != again[low - position : high - position]:
                return False
        return True

    def _keep(self, position: int, payload: memoryview) -> None:
        """Hold an early segment back; of two at one position the longer stays."""
        held = self._early.get(position)
        if held is not None:
            common = min(len(held), len(payload))
            same = held[:common] == payload[:common]
            self._page.parts["tcp/repeated" if same else "blind/overlap-conflict"] += common
            if not same:
                self._complain("tcp/overlap-conflict", "two versions of the same bytes", position, common)
            if len(payload) <= len(held):
                return
            self._hold_back(-len(held))
        else:
            heapq.heappush(self._order, position)
        self._early[position] = bytes(payload)
        self._hold_back(len(payload))

    def _hold_back(self, size: int) -> None:
        self._early_bytes += size
        self._hold.free -= size

    def _drain(self, pieces: list[Piece]) -> None:
        """Deliver what waited for the byte that has come now."""
        while self._order and self._order[0] <= self.delivered:
            position = heapq.heappop(self._order)
            data = self._early.pop(position)
            self._hold_back(-len(data))
            self._deliver(position, memoryview(data), pieces)

    def _skip(self) -> list[Piece]:
        """Give the missing range up, and go on behind it."""
        missing = self._order[0] - self.delivered
        if missing > 0:
            self._complain("tcp/gap", "a range of the stream is not in the capture", self.delivered, missing)
            self.broken = True
            self.delivered += missing
            self._past.clear()
        pieces: list[Piece] = []
        self._drain(pieces)
        return pieces

    def _break_off(self, sequence: int, size: int) -> list[Piece]:
        self._reset = True
        if self._first is not None:
            self._sent = max(self._sent, self._position(sequence))
        if size:
            self._page.parts["blind/reset-payload"] += size
            self._complain("tcp/reset-payload", "bytes inside a reset", self.delivered, size)
        return []
