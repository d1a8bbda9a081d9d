"""One seed for a run, any number of independent seeds derived from it.

Adding small numbers to a seed (seed + site, seed + round) makes site 1 in round 2 repeat site 2 in
round 1. Hashing the full path of what a seed is for does not.
"""

from __future__ import annotations

import hashlib
import json

__all__ = ["derive_seed"]


def derive_seed(*parts: int | str) -> int:
    """A seed in 0 .. 2⁶³ - 1 from what it is for, for example `derive_seed(7, "site", 3, "round", 2)`.

    SHA-256 over the parts as JSON: 1 and "1" differ, and so do ("ab", "c") and ("a", "bc"). The value
    is the same on every platform and in every version.
    """
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
