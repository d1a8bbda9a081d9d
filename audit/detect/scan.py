"""Files in bytes, wherever they begin and through whatever wraps them, in one pass and with bounded memory.

A layer is a stream of bytes: the prefilter says where a file or a wrapper may begin, validators decide (`formats`), and
each wrapper that opens feeds what it holds to a layer of its own. A stream is cut into blocks at fixed offsets, however
it arrives, and what a block cannot decide waits for the next: so the result does not depend on the pieces.

Hostile bytes cost a bounded amount: all work is paid from one `Account`; at most 64 wrappers are open at once, 4 inside
one another. What stays unseen because of that is a `BlindSpot`, so such a stream never passes.

What is not seen: XOR or encryption; a file without its first 56 bits of structure; what starts inside a wrapper's
middle; headerless deflate beyond the limits of `deflate`. Other detectors stand beside this scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audit.detect import deflate
from audit.detect.account import CREDIT, CREDIT_A_BYTE, Account
from audit.detect.formats import FORMATS, LOOKAHEAD, Format, Head, Short, judge
from audit.detect.prefilter import Prefilter, best_prefilter
from audit.detect.texts import TEXTS, Text, is_text, may_hold_runs, runs, short_run
from audit.detect.wrappers import WRAPPERS, Decoder, Inflate, Opened, Wrapper
from audit.findings import BlindSpot, Finding, Place

__all__ = ["MAX_DEPTH", "PATTERNS", "Scan", "StreamScanner", "prefilter", "scan", "scan_report"]

MAX_DEPTH = 4
_BLOCK, _INNER_BLOCK = 1 << 20, 64 << 10
_TAIL = 512  # bytes kept from block to block: more than any pattern stands behind its item's start
_SLICE = 4 << 10
_PROBE = 1 << 10  # bytes that a headerless stream has to decode without fault before it is followed
_LETTERS = 16  # so many letters of base64 in a row are no deflate stream: 2^-32
_VARIED = 12  # different letters; garbage that repeats itself has fewer, and is not worth a blind spot
_PROVEN = 256  # and bytes that have to come out of them
_MAX_OPEN = 64
_TRIAL = 1024  # what one trial costs

_KINDS: tuple[Format | Wrapper, ...] = (*FORMATS, *WRAPPERS)
_ITEMS = tuple((pattern, kind) for kind in _KINDS for pattern in kind.patterns)
PATTERNS = tuple(pattern for pattern, _ in _ITEMS)
_prefilters: list[Prefilter] = []


def prefilter() -> Prefilter:
    """The prefilter of all patterns; compiled at the first call."""
    if not _prefilters:
        _prefilters.append(best_prefilter(PATTERNS))
    return _prefilters[0]


@dataclass(frozen=True)
class Scan:
    """What a scan found, and what it could not see."""

    findings: tuple[Finding, ...]
    blind_spots: tuple[BlindSpot, ...]
    scanned_bytes: int


class _Branch:
    """One wrapper that is open: its decoder and the layer that sees what it holds."""

    def __init__(self, account: Account, decoder: Decoder, name: str, origin: int, via: tuple[str, ...]) -> None:
        self._account, self._decoder, self._origin = account, decoder, origin
        self._via = (*via, name)
        self._layer: _Layer | None = None
        self._held = bytearray()  # decoders get slices cut at fixed offsets, however the stream arrives
        self.closed = False
        account.open += 1

    def feed(self, data: memoryview) -> None:
        """More of the wrapped stream; closes when it has ended."""
        at = 0
        if self._held:
            at = _SLICE - len(self._held)
            self._held += data[:at]
            if len(self._held) == _SLICE:
                self._decode(bytes(self._held))
                self._held.clear()
        while not self.closed and at + _SLICE <= len(data):
            self._decode(bytes(data[at : at + _SLICE]))
            at += _SLICE
        if not self.closed:
            self._held += data[at:]

    def close(self) -> None:
        """Decide what is still open inside."""
        if self.closed:
            return
        if self._held:
            self._decode(bytes(self._held))
            self._held.clear()
        if not self.closed and (rest := self._decoder.rest()):
            self._look_into(rest)
        self._end()

    def _decode(self, data: bytes) -> None:
        if self.closed:
            return
        if not self._account.spend(len(data) // 8, self._origin):
            self._end()
            return
        for piece in self._decoder.pieces(data):
            if not self._look_into(piece):
                self._end()
                return
        if self._decoder.ended:
            self._end()

    def _look_into(self, piece: bytes) -> bool:
        """Scan what came out; whether that could be paid for."""
        if not self._account.spend(len(piece), self._origin):
            return False
        if self._layer is None:
            self._layer = _Layer(self._account, self._via, self._origin, _INNER_BLOCK)
        self._layer.feed(piece)
        return True

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._account.open -= 1
            if self._layer is not None:
                self._layer.close()


class _Layer:
    """One stream of bytes, unwrapped `len(via)` times. `origin`: see `Account.find`; None in the outermost layer."""

    def __init__(
        self,
        account: Account,
        via: tuple[str, ...] = (),
        origin: int | None = None,
        block: int = _BLOCK,
        headerless_until: int = deflate.STREAM_LIMIT,
    ) -> None:
        self._account, self._via, self._origin = account, via, origin
        # Garbage that happens to inflate would be searched for more of it without end: no bare deflate inside another.
        tried = account.headerless and "deflate" not in via
        self._block, self._headerless_until = block, headerless_until if tried else 0
        self._parts: list[bytes] = []  # of the block that is being filled
        self._filled = 0
        self._buffer = b""  # bytes that were seen and that something may still look back at
        self._base = 0  # offset of buffer[0] in this layer
        self._undecided: list[tuple[int, int]] = []  # (start, index into _ITEMS), in this layer
        self._branches: list[_Branch] = []
        self._runs: dict[str, list[_Branch]] = {}  # of texts that go on, a branch for each phase
        self._text_from = dict.fromkeys((text.name for text in TEXTS), 0)  # where the next run may begin
        self._headerless_from = 0
        self._bodies: set[int] = set()  # where a wrapper's deflate stream begins, not to be unwrapped twice

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes."""
        view = memoryview(data).cast("B") if not isinstance(data, memoryview) else data.cast("B")
        at = 0
        while at < len(view):
            part = view[at : at + self._block - self._filled]
            self._parts.append(bytes(part))
            self._filled += len(part)
            at += len(part)
            if self._filled == self._block:
                self._advance(final=False)

    def close(self) -> None:
        """There are no more."""
        self._advance(final=True)
        for branch in self._branches:
            branch.close()
        for branches in self._runs.values():
            for branch in branches:
                branch.close()

    def _advance(self, *, final: bool) -> None:
        block = b"".join(self._parts)
        self._parts, self._filled = [], 0
        for branch in self._branches:
            branch.feed(memoryview(block))
        self._branches = [branch for branch in self._branches if not branch.closed]
        seen = len(self._buffer)
        buffer = self._buffer = self._buffer + block
        self._undecided = list(self._judged(buffer, [*self._undecided, *self._new_hits(buffer, seen)], final))
        first = min((self._text_from[text.name] for text in TEXTS), default=0)
        letters = may_hold_runs(buffer, max(0, first - self._base))
        for text in TEXTS:
            self._read_text(text, buffer, seen, letters=letters)
        self._try_headerless(buffer, final)
        keep = min([len(buffer) - _TAIL, *(start - self._base for start, _ in self._undecided)])
        if self._headerless_from < self._headerless_until:
            keep = min(keep, self._headerless_from - self._base)
        if keep > 0:
            self._buffer = buffer[keep:]
            self._base += keep

    def _new_hits(self, buffer: bytes, seen: int) -> Iterator[tuple[int, int]]:
        """Hits of the prefilter that reach into the bytes behind `seen`."""
        start = max(0, seen - _TAIL)
        for at, index in self._account.engine.hits(buffer[start:] if start else buffer):
            pattern = PATTERNS[index]
            first = self._base + start + at - pattern.back
            if start + at + pattern.width > seen and first >= 0:
                yield first, index

    def _judged(self, buffer: bytes, hits: Iterable[tuple[int, int]], final: bool) -> Iterator[tuple[int, int]]:
        """Decide the hits; yields those that need more bytes."""
        for start, index in hits:
            kind = _ITEMS[index][1]
            at = start - self._base
            origin = self._origin if self._origin is not None else start
            if not self._account.spend(_TRIAL, origin):
                return
            try:
                if isinstance(kind, Format):
                    match = judge(kind, buffer, at, final=final)
                    if match:
                        self._account.find(kind, match, buffer[at : at + match.length], origin, self._via)
                else:
                    opened = kind.open(Head(buffer, at))
                    if opened:
                        self._unwrap(opened, kind.name, start, buffer)
            except Short:
                # A wrapper whose header is cut off, or longer than a validator may look, holds nothing to see.
                if not final and len(buffer) - at < LOOKAHEAD:
                    yield start, index

    def _unwrap(self, opened: Opened, name: str, start: int, buffer: bytes) -> None:
        body = start + opened.body
        if body < self._headerless_until:
            self._bodies.add(body)
        rest = memoryview(buffer)[body - self._base :]
        if len(self._via) >= MAX_DEPTH and next(opened.decoder.pieces(bytes(rest[:_PROBE])), None) is None:
            return
        branch = self._branch(opened.decoder, name, start)
        if branch is not None:
            branch.feed(rest)
            if not branch.closed:
                self._branches.append(branch)

    def _branch(self, decoder: Decoder, name: str, start: int) -> _Branch | None:
        """A branch for a wrapper that begins at `start`, or None with a blind spot where there are enough."""
        origin = self._origin if self._origin is not None else start
        if len(self._via) >= MAX_DEPTH:
            self._account.blind("scan/depth", f"wrapped more than {MAX_DEPTH} times", origin)
        elif self._account.open >= _MAX_OPEN:
            self._account.blind("scan/open", f"more than {_MAX_OPEN} wrappers open at once", origin)
        else:
            return _Branch(self._account, decoder, name, origin, self._via)
        return None

    def _read_text(self, text: Text, buffer: bytes, seen: int, *, letters: bool) -> None:
        """Feed the run of letters that goes on, and open those that begin, if there may be `letters` at all."""
        at = max(0, self._text_from[text.name] - self._base)
        if text.name in self._runs:
            at = text.end(buffer, seen)
            self._feed_run(text, memoryview(buffer)[seen:at], goes_on=at == len(buffer))
        for first, end in runs(text, buffer, at) if letters else ():
            if len(self._via) >= MAX_DEPTH and len(set(buffer[first:end])) < _VARIED:
                continue
            branches = [
                self._branch(text.decoder(phase), text.name, self._base + first) for phase in range(text.phases)
            ]
            self._runs[text.name] = [branch for branch in branches if branch is not None]
            self._feed_run(text, memoryview(buffer)[first:end], goes_on=end == len(buffer))
        self._text_from[text.name] = self._base + max(at, short_run(text, buffer))

    def _feed_run(self, text: Text, letters: memoryview, *, goes_on: bool) -> None:
        for branch in self._runs[text.name]:
            branch.feed(letters)
        if not goes_on:
            for branch in self._runs.pop(text.name):
                branch.close()

    def _try_headerless(self, buffer: bytes, final: bool) -> None:
        """Headerless deflate where a block's head is well formed, in the first bytes of the layer only."""
        start = self._headerless_from - self._base
        stop = min(self._headerless_until - self._base, len(buffer) - (0 if final else _PROBE))
        if start >= stop:
            return
        self._headerless_from = self._base + stop
        fixed = deflate.INNER_FIXED_LIMIT if self._via else deflate.FIXED_LIMIT
        for at in deflate.block_heads(buffer, start, stop, fixed_until=fixed - self._base).tolist():
            origin = self._origin if self._origin is not None else self._base + at
            if self._base + at in self._bodies or is_text(buffer[at : at + _LETTERS]):
                continue
            if not self._account.spend(_TRIAL, origin):
                return
            if sum(map(len, Inflate().pieces(buffer[at : at + _PROBE]))) >= _PROVEN:
                self._unwrap(Opened(0, Inflate()), "deflate", self._base + at, buffer)


class StreamScanner:
    """Scans a stream that arrives in pieces; the findings are the same however it is cut.

    `place`: of the stream's first byte; a finding's offset counts from there. `ignore`: rules that are no findings
    where nothing wraps the file, as "array/npy" in a stream that carries Flower's arrays. `block`: bytes that are
    looked at together; findings come when a block is full. `headerless`: whether headerless deflate is tried; streams
    whose values are scanned by themselves need it only once.
    """

    def __init__(
        self,
        place: Place | None = None,
        *,
        ignore: frozenset[str] = frozenset(),
        block: int = _BLOCK,
        headerless: bool = True,
    ) -> None:
        self._account = Account(place or Place(), prefilter(), headerless=headerless)
        self._layer = _Layer(self._account, block=block)
        self._ignore = ignore
        self._told = 0
        self.scanned_bytes = 0

    @property
    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """What could not be looked into so far."""
        return tuple(self._account.blind_spots.values())

    def feed(self, data: bytes | bytearray | memoryview) -> list[Finding]:
        """The next piece; findings that are decided by now and were not given before."""
        size = memoryview(data).nbytes
        self.scanned_bytes += size
        self._account.credit += CREDIT_A_BYTE * size
        self._layer.feed(data)
        return self._fresh()

    def close(self) -> list[Finding]:
        """The end of the stream; the findings that are left."""
        self._layer.close()
        return self._fresh()

    def _fresh(self) -> list[Finding]:
        fresh = self._account.findings[self._told :]
        self._told += len(fresh)
        return [each for each in fresh if each.via or each.rule not in self._ignore]


def scan_report(data: bytes | bytearray | memoryview, place: Place | None = None, *, carries: str = "") -> Scan:
    """All files in one value, ordered by offset, and what could not be seen.

    `carries`: the rule of what the value is by its own declaration, as "array/npy" for a chunk of Flower's arrays. It
    is no finding at offset 0; anywhere else in the value, or wrapped, it is one.
    """
    place = place or Place()
    size = memoryview(data).nbytes
    account = Account(place, prefilter(), credit=CREDIT + CREDIT_A_BYTE * size)
    whole = size <= deflate.VALUE_LIMIT
    layer = _Layer(account, headerless_until=deflate.VALUE_LIMIT if whole else deflate.STREAM_LIMIT)
    layer.feed(data)
    layer.close()
    found = [each for each in account.findings if each.rule != carries or each.via or each.place != place]
    found.sort(key=lambda each: (each.place.offset, each.via, each.rule))
    return Scan(tuple(found), tuple(account.blind_spots.values()), size)


def scan(data: bytes | bytearray | memoryview, place: Place | None = None, *, carries: str = "") -> list[Finding]:
    """The findings of `scan_report`."""
    return list(scan_report(data, place, carries=carries).findings)
