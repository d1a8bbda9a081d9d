"""Masks: key streams that are added to an encoded update and cancel in the sum over sites.

A site adds a stream for its own seed and, for each neighbour, one that both derive from a shared secret: the site
with the lower index adds it, the other subtracts it. What leaves the site is uniform to whoever lacks even one of the
seeds (Bonawitz et al. 2017, section 4, with AES-256-CTR as the generator). The coordinator calls the same function
to take away what sites have opened. Seeds are one-time; a seed used for two vectors gives away their difference.

Work is done in chunks that stay in the cache while all streams are added to them: memory is read and written once,
however many streams there are. In a process that masks a lot `compiled_masks` does it, in half of the time, where the
extra `fast` is installed and the processor has what that wants; else, and for what is left at the end, OpenSSL and
NumPy. All let go of the interpreter's lock, so threads run beside each other. Words are little-endian on every machine,
and neither threads, chunks nor who does the work have any effect on the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from secure_fl.secagg.compiled_masks import STEP, Kernel, kernel_that_pays
from secure_fl.secagg.keystream import SEED, KeyStream
from secure_fl.secagg.ring import Words

__all__ = ["CHUNK", "add_masks", "add_words"]

CHUNK: Final = 1 << 17
"""Bytes that are masked at a time: the words, a mask and the cipher's input fit the second-level cache together."""


def add_masks(words: Words, *, plus: Sequence[bytes], minus: Sequence[bytes], threads: int = 1) -> None:
    """Add the streams of the seeds `plus` and subtract those of `minus`, in place, modulo 2^b.

    words: (d,), uint16 or uint32, contiguous; b is their width. Seeds have 32 bytes. ValueError for anything else.
    """
    if words.ndim != 1 or words.dtype not in (np.uint16, np.uint32) or not words.flags.c_contiguous:
        raise ValueError("masks are added to a contiguous vector of uint16 or uint32")
    if threads < 1:
        raise ValueError(f"threads={threads}: at least one has to do the work")
    if not all(len(seed) == SEED for seed in (*plus, *minus)):
        raise ValueError(f"seeds have {SEED} bytes")
    kernel = kernel_that_pays(8 * words.itemsize, words.nbytes * (len(plus) + len(minus)))
    chunks = -(-words.nbytes // CHUNK)
    per_thread = max(1, -(-chunks // threads)) * CHUNK // words.itemsize
    starts = range(0, max(1, words.size), per_thread)
    if len(starts) == 1:
        _add(words, 0, plus, minus, kernel)
        return
    with ThreadPoolExecutor(len(starts)) as pool:
        parts = [
            pool.submit(_add, words[at : at + per_thread], at * words.itemsize, plus, minus, kernel) for at in starts
        ]
    for part in parts:
        part.result()


def add_words(words: Words, vectors: Sequence[Words]) -> None:
    """Add vectors of the same shape and type, in place, modulo 2^b: (d,) each, and `words` is read and written once."""
    step = CHUNK // words.itemsize
    for at in range(0, words.size if vectors else 0, step):
        chunk = words[at : at + step]
        for vector in vectors:
            np.add(chunk, vector[at : at + step], chunk)


def _add(words: Words, skip: int, plus: Sequence[bytes], minus: Sequence[bytes], kernel: Kernel | None) -> None:
    """The part of the streams that begins `skip` bytes in."""
    if kernel is not None:
        whole = words.nbytes // STEP * STEP
        kernel(words[: whole // words.itemsize], skip, plus, minus)
        words, skip = words[whole // words.itemsize :], skip + whole
    streams: list[tuple[KeyStream, np.ufunc]] = [(KeyStream(seed, skip=skip), np.add) for seed in plus]
    streams += [(KeyStream(seed, skip=skip), np.subtract) for seed in minus]
    zeros, buffer = memoryview(bytes(CHUNK)), bytearray(CHUNK + 15)
    mask = np.frombuffer(buffer, words.dtype.newbyteorder("<"), CHUNK // words.itemsize)
    for at in range(0, words.size, mask.size):
        chunk = words[at : at + mask.size]
        part, nothing = mask[: chunk.size], zeros[: chunk.nbytes]
        for stream, combine in streams:
            stream.fill(nothing, buffer)
            combine(chunk, part, chunk)
