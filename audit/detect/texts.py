"""Runs of text that may be bytes in disguise: base64 (also url-safe, also broken into lines) and hex.

A run is 64 or more letters of the alphabet, so that random bytes have one at 2^-128 an offset. Where in a run the
encoded bytes begin is unknown: base64 is decoded at each of its four phases, hex at both, and every phase is scanned.
To find runs at memory speed every eighth byte is looked up: eight such hits in a row are what every run must have.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from audit.detect.wrappers import Decoder

__all__ = ["MIN_RUN", "TEXTS", "Text", "is_text", "may_hold_runs", "runs", "short_run"]

# Longer than a SHA-256 in hex, of which protocols are full; 80 letters hold 60 bytes in base64 and 40 in hex.
MIN_RUN = 80
_STRIDE = 8
_BREAKS = b"\r\n"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_HEX = b"0123456789abcdefABCDEF"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class _Decoded:
    """Text of `group` letters to a few bytes, from letter `phase` of the run on."""

    def __init__(self, phase: int, group: int, decode: Callable[[bytes], bytes]) -> None:
        self.ended = False
        self._skip, self._group, self._decode = phase, group, decode
        self._rest = b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """As in `Decoder`; `data` is more of the run."""
        letters = data.translate(_URL_SAFE, _BREAKS)
        skipped = min(self._skip, len(letters))
        self._skip -= skipped
        letters = self._rest + letters[skipped:]
        whole = len(letters) // self._group * self._group
        self._rest = letters[whole:]
        if whole:
            yield self._decode(letters[:whole])

    def rest(self) -> bytes:
        """The last bytes, where padding was left out or ended the run."""
        # One letter over is less than a byte, in base64 as in hex.
        return self._decode(self._rest + b"=" * (4 - len(self._rest))) if len(self._rest) > 1 else b""


def _base64(phase: int) -> Decoder:
    return _Decoded(phase, 4, binascii.a2b_base64)


def _hex(phase: int) -> Decoder:
    return _Decoded(phase, 2, binascii.unhexlify)


@dataclass(frozen=True)
class Text:
    """One encoding of bytes as text: its alphabet, and a decoder for each phase."""

    name: str
    alphabet: bytes
    phases: int
    decoder: Callable[[int], Decoder]
    run: re.Pattern[bytes] = field(init=False, repr=False)
    member: npt.NDArray[np.bool_] = field(init=False, repr=False, compare=False)  # (256,)

    def __post_init__(self) -> None:
        allowed = self.alphabet + _BREAKS
        object.__setattr__(self, "run", re.compile(b"[" + re.escape(allowed) + b"]*"))
        member = np.zeros(256, np.bool_)
        member[list(allowed)] = True
        object.__setattr__(self, "member", member)

    def end(self, data: bytes, start: int) -> int:
        """Where the run that goes on at `start` ends; `start` itself where none does."""
        match = self.run.match(data, start)
        assert match is not None  # noqa: S101 - an expression that may be empty matches anywhere
        return match.end()


TEXTS = (Text("base64", _BASE64, 4, _base64), Text("hex", _HEX, 2, _hex))


def is_text(data: bytes) -> bool:
    """Whether all bytes are letters of base64, which those of hex are too."""
    return not data.translate(None, _BASE64 + _BREAKS)


def may_hold_runs(data: bytes, start: int) -> bool:
    """Whether there may be a run in any of the encodings: false for numbers and noise, which this tells quickly. The
    letters of base64 are those of all."""
    return len(_sampled(TEXTS[0], data, start)) > 0


def _sampled(text: Text, data: bytes, start: int) -> npt.NDArray[np.int64]:
    """Offsets, a stride apart, at which as many letters follow at the same stride as a run of MIN_RUN has at least."""
    member = text.member[np.frombuffer(data, np.uint8)[start::_STRIDE]]
    for reach in (1, 2, 4):
        member = member[:-reach] & member[reach:] if len(member) > reach else member[:0]
    return start + _STRIDE * np.flatnonzero(member)


def runs(text: Text, data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each run of MIN_RUN letters or more that begins at `start` or later."""
    candidates = _sampled(text, data, start)
    done, index = start, 0
    while index < len(candidates):
        first = int(candidates[index])
        while first > done and text.member[data[first - 1]]:
            first -= 1
        done = text.end(data, first)
        if done - first >= MIN_RUN:
            yield first, done
        index = max(index + 1, int(np.searchsorted(candidates, done)))


def short_run(text: Text, data: bytes) -> int:
    """Where the letters begin that end `data` and are too few yet to be a run."""
    at = len(data)
    while at and len(data) - at < MIN_RUN and text.member[data[at - 1]]:
        at -= 1
    return at
