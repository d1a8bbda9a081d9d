"""The guard: what every update must satisfy on its own before any rule sees it.

One client can neither end a round nor put NaN into the model: an update that fails a check is set
aside with its reason, and the round goes on while the quorum holds.

Guarantee: an accepted update is a finite float32 vector of exactly `size` entries whose L2 norm is at
most `max_norm`. It says nothing about whether the update is useful or honest; that is for the rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

__all__ = ["Reason", "Refusal", "UpdateRules", "inspect_update", "l2_norm"]

# Chunks of 256 Ki entries keep the float64 copy in the cache.
_CHUNK = 1 << 18


class Reason(StrEnum):
    """Why a reply was turned away; the values are part of the run record's format."""

    NOT_FINITE = "not-finite"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DTYPE = "wrong-dtype"
    MISSING_ARRAY = "missing-array"
    SPEC_MISMATCH = "spec-mismatch"
    STALE_ROUND = "stale-round"
    SAMPLE_COUNT = "sample-count"
    NORM_CAP = "norm-cap"
    TOO_LARGE = "too-large"
    BAD_SIGNATURE = "bad-signature"
    MALFORMED = "malformed"
    SITE_ERROR = "site-error"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason and a detail for people."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UpdateRules:
    """`size`: entries (d); `max_norm`: largest L2 norm that is accepted."""

    size: int
    max_norm: float

    def __post_init__(self) -> None:
        if self.size < 1 or not self.max_norm > 0:
            raise ValueError(f"size={self.size} and max_norm={self.max_norm} must be positive")


def inspect_update(update: np.ndarray[Any, Any], rules: UpdateRules) -> Refusal | None:
    """None when `update` is acceptable, else the first reason why it is not.

    `update`: what a client sent, of any shape and type. Costs one read of the data.
    """
    if update.dtype != np.float32:
        return Refusal(Reason.WRONG_DTYPE, f"{update.dtype} instead of float32")
    if update.shape != (rules.size,):
        return Refusal(Reason.WRONG_SHAPE, f"shape {update.shape} instead of ({rules.size},)")
    norm = l2_norm(update)
    if not math.isfinite(norm):
        bad = int(rules.size - np.count_nonzero(np.isfinite(update)))
        return Refusal(Reason.NOT_FINITE, f"{bad} of {rules.size} entries are NaN or infinite")
    if norm > rules.max_norm:
        return Refusal(Reason.NORM_CAP, f"norm {norm:.4g} exceeds {rules.max_norm:.4g}")
    return None


def l2_norm(vector: np.ndarray[Any, Any]) -> float:
    """L2 norm of a (d,) vector, accumulated in float64; NaN or infinite when an entry is."""
    total = 0.0
    for start in range(0, vector.size, _CHUNK):
        chunk = vector[start : start + _CHUNK].astype(np.float64)
        total += float(chunk @ chunk)
    return math.sqrt(total)
