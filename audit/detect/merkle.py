"""The root of a Merkle tree, RFC 6962 section 2.1: one digest that commits to a list, its order and its length.

Leaves and nodes are hashed under different first bytes, so that no node can be passed off as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["merkle_root"]


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """32 bytes; SHA-256 of nothing for no leaves."""
    if not leaves:
        return hashlib.sha256().digest()
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        # A last node without a partner moves up as it is, which is RFC 6962's split at the largest power of two.
        pairs = [hashlib.sha256(b"\1" + left + right).digest() for left, right in zip(*[iter(level)] * 2, strict=False)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]
