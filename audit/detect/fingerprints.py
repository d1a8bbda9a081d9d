"""A site's own training pictures, found in any bytes: an index that the site holds, of which only a root leaves it.

Every picture is encoded in all the ways of `encodings`; blocks of 32 bytes at multiples of `spacing` are indexed under
a hash with the site's secret key; a search hashes the 32 bytes at every offset of the data. So each run of
`spacing` + 31 bytes or more of an encoded picture is found, wherever it lies (the argument of rsync, Tridgell 1996,
with the roles exchanged); 63 bytes at the default. Every hit is compared byte by byte: there are no false ones.

Not found: blocks with fewer than 8 different bytes, which weights may have too (flat parts of pictures); pictures that
were augmented, resized, compressed or noised, since their bytes are others. `pixels` and `formats` see some of these.
The auditor gets the number of pictures and the Merkle root of their keyed digests: the root of a list that the site can
open later, and from which nobody without the key can test whether a picture is in it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audit.detect.encodings import Encodings
from audit.detect.merkle import merkle_root
from audit.findings import Finding, Place

__all__ = ["ImageIndex"]

_BLOCK = 32  # bytes: four words
_MIN_DISTINCT = 8
_PIECE = 128 << 10  # bytes of data that are hashed at once, so that the words stay in the cache
_WORD = np.dtype("<u8")
# A word of the data passes the first look-up by chance once in so many times. A larger table misses the cache more.
_SPARSITY = 16
_MIN_BITS, _MAX_BITS = 16, 28

_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Run:
    """Bytes of the data that are bytes of an encoded picture."""

    start: int
    stop: int
    image: int
    encoding: str


class ImageIndex:
    """The index of a site's pictures. `key`: at least 16 bytes that only the site knows.

    `images`: (n, s, s, c) uint8, as they are in memory before training. `spacing`: bytes between indexed blocks, a
    multiple of 32; larger ones make the index smaller and the shortest run that is surely found longer.

    Raises:
        ValueError: wrong shape, type, key or spacing, or other channels than the encodings have.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], key: bytes, *, encodings: Encodings | None = None, spacing: int = _BLOCK
    ) -> None:
        self._encodings = encodings or Encodings()
        channels = len(self._encodings.mean)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise ValueError(f"pictures are (n, s, s, {channels}) uint8, not {images.shape} {images.dtype}")
        if len(key) < 16:
            raise ValueError("the key has at least 16 bytes")
        if spacing < _BLOCK or spacing % _BLOCK:
            raise ValueError(f"blocks are a multiple of {_BLOCK} bytes apart")
        self._images = images
        self.count = len(images)
        self.sure_run = spacing + _BLOCK - 1  # bytes: every run of this length or longer is found
        leaves = [hmac.digest(key, repr(each.shape).encode() + each.tobytes(), "sha256") for each in images]
        self.merkle_root = merkle_root(leaves).hex()
        # Odd multipliers: the top bits of the products are a universal hash (Dietzfelbinger et al. 1997).
        secret = hashlib.blake2b(key, digest_size=32, person=b"image-index").digest()
        self._factors = np.frombuffer(secret, _WORD) | np.uint64(1)
        self._build(spacing)

    def _build(self, spacing: int) -> None:
        hashes, firsts, places = [], [], []
        names = self._encodings.names()
        for number, image in enumerate(self._images):
            for encoding, name in enumerate(names):
                octets = np.frombuffer(self._encodings.encode(image, name), np.uint8)
                at = np.arange(0, len(octets) - _BLOCK + 1, spacing)
                blocks = octets[at[:, None] + np.arange(_BLOCK)]
                ordered = np.sort(blocks, axis=1)
                rich = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) >= _MIN_DISTINCT
                words = blocks[rich].view(_WORD)
                hashes.append(self._hash([words[:, index] for index in range(4)]))
                firsts.append(words[:, 0] * self._factors[0])
                places.append((number * len(names) + encoding) << 32 | at[rich])
        every = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        # Blocks that several pictures share are kept once, for the first of them.
        self._hashes, kept = np.unique(every, return_index=True)
        self._places = np.concatenate(places)[kept] if places else np.empty(0, np.int64)
        bits = int(np.clip(np.ceil(np.log2(_SPARSITY * max(1, len(self._hashes)))), _MIN_BITS, _MAX_BITS))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, np.bool_)
        if firsts:
            self._table[(np.concatenate(firsts)[kept] >> self._shift).view(np.int64)] = True

    def search(self, data: bytes | bytearray | memoryview, place: Place | None = None) -> list[Finding]:
        """Every run of an indexed picture in the data, by offset; `place` as in `scan`. Of pixels only a digest."""
        octets = bytes(data)
        place = place or Place()
        found: list[Finding] = []
        covered = 0
        for offset, entry in self._candidates(octets):
            # Inside a run that was found, the further blocks of that run are no news.
            if offset + _BLOCK <= covered:
                continue
            run = self._verified(octets, offset, entry)
            if run is None:
                continue
            covered = max(covered, run.stop)
            length = run.stop - run.start
            found.append(
                Finding(
                    "image/known",
                    f"{length} bytes of training image {run.image} as {run.encoding}",
                    replace(place, offset=place.offset + run.start),
                    length,
                    hashlib.sha256(octets[run.start : run.stop]).hexdigest(),
                )
            )
        return found

    def _candidates(self, data: bytes) -> list[tuple[int, int]]:
        """(offset, index entry) wherever the hash of 32 bytes is in the index."""
        found = []
        for start in range(0, max(0, len(data) - _BLOCK + 1), _PIECE):
            count = min(_PIECE, len(data) - _BLOCK + 1 - start)
            words: _Words = np.ndarray((count + _BLOCK - 8,), _WORD, buffer=data, offset=start, strides=(1,))
            keys = words[:count] * self._factors[0]
            keys >>= self._shift
            at = np.flatnonzero(self._table.take(keys.view(np.int64)))
            hashes = self._hash([words[at + 8 * index] for index in range(4)])
            entries = np.searchsorted(self._hashes, hashes)
            entries[entries == len(self._hashes)] = 0
            equal = self._hashes[entries] == hashes if len(self._hashes) else np.zeros(len(at), np.bool_)
            found += list(zip((start + at[equal]).tolist(), entries[equal].tolist(), strict=True))
        return found

    def _hash(self, words: list[_Words]) -> _Words:
        """Of four words each, (n,)."""
        total: _Words = words[0] * self._factors[0]
        for word, factor in zip(words[1:], self._factors[1:], strict=True):
            total = total + word * factor
        return total

    def _verified(self, data: bytes, offset: int, entry: int) -> _Run | None:
        """The whole run around a hit, None where the hashes agree by chance."""
        place = int(self._places[entry])
        names = self._encodings.names()
        image, encoding = divmod(place >> 32, len(names))
        encoded = _encoded(self, image, names[encoding])
        inside = place & 0xFFFFFFFF
        if encoded[inside : inside + _BLOCK] != data[offset : offset + _BLOCK]:
            return None
        shift = offset - inside
        first, last = max(0, -shift), min(len(encoded), len(data) - shift)
        ours = np.frombuffer(encoded, np.uint8)[first:last]
        differs = np.flatnonzero(ours != np.frombuffer(data, np.uint8)[first + shift : last + shift]) + first
        before = int(np.searchsorted(differs, inside))
        start = int(differs[before - 1]) + 1 if before else first
        stop = int(differs[before]) if before < len(differs) else last
        return _Run(start + shift, stop + shift, image, names[encoding])


@lru_cache(maxsize=8)
def _encoded(index: ImageIndex, image: int, name: str) -> bytes:
    return index._encodings.encode(index._images[image], name)
