"""Fingerprints: two people with the same one have the same images, in the same hands.

SHA-256 over parts that each carry their own length, so that no two different lists of parts can be
the same bytes. Arrays enter with dtype and shape, little-endian, so machines of any kind agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["array_bytes", "fingerprint", "fingerprint_partition"]


def fingerprint(*parts: bytes) -> str:
    """`sha256:<hex>` over the parts, each preceded by its length (8 bytes, big-endian)."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return f"sha256:{state.hexdigest()}"


def array_bytes(array: npt.NDArray[Any]) -> bytes:
    """dtype, shape and values of an array, the same bytes on every machine."""
    portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return f"{portable.dtype.str}{portable.shape}".encode() + portable.tobytes()


def fingerprint_partition(parts: Sequence[npt.NDArray[np.int64]]) -> str:
    """The fingerprint of who holds which image; `parts` holds one index array a site."""
    return fingerprint(b"secure-fl partition 1", *(array_bytes(part.astype(np.int64)) for part in parts))
