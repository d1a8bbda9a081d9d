"""Canaries among the images: pictures with a wrong label, each put into the training data by a secret coin.

A model learns a wrong label only from the picture that carries it, so its loss there tells whether it was shown. That
makes the scores of `one_run`, for the whole path from image to model, without touching the training code; bounds
from pictures are looser than those of coordinates of their own (Nasr et al. 2023, "Tight Auditing of Differentially
Private Machine Learning", section 5).

The auditor must not choose coins after seeing the model, and nobody may know them during the run. So the coins are
committed to: SHA-256 over a label, the run, a secret nonce of 32 bytes and the coins is published before, nonce and
coins after. The nonce hides the coins; the hash binds them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CanaryPlan", "commitment", "opens", "plan_canaries", "scores"]

Losses = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], npt.NDArray[np.float64]]
"""images (n, s, s, c) uint8 and labels (n,) to the model's loss of each, (n,)."""

_LABEL = b"secure-fl audit canaries 1"
_NONCE_BYTES = 32


@dataclass(frozen=True, eq=False)
class CanaryPlan:
    """positions: (m,) of the candidates among the images; labels: (m,) their wrong ones; included: (m,) bool, the
    secret coins. Only the candidates whose coin is True enter the training data, and they do with the wrong label.
    """

    positions: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    included: npt.NDArray[np.bool_]
    nonce: bytes

    def commitment(self, run: str) -> str:
        """What is published before the run."""
        return commitment(self.included, self.nonce, run=run)


def plan_canaries(
    labels: npt.NDArray[np.int64], classes: int, count: int, *, rng: np.random.Generator, nonce: bytes
) -> CanaryPlan:
    """Choose `count` of the images and a wrong label for each, and toss the coins.

    rng: of the auditor's, unknown to whoever trains; nonce: 32 secret bytes, used once.

    Raises:
        ValueError: fewer images or classes than that takes, or a nonce of another length.
    """
    if not 0 < count <= len(labels) or classes < 2:
        raise ValueError(f"{count} canaries of {len(labels)} images in {classes} classes")
    _check(nonce)
    positions = np.sort(rng.choice(len(labels), count, replace=False))
    shift = rng.integers(1, classes, count)
    return CanaryPlan(positions, (labels[positions] + shift) % classes, rng.random(count) < 0.5, nonce)


def commitment(included: npt.NDArray[np.bool_], nonce: bytes, *, run: str) -> str:
    """`sha256:<hex>` that binds the coins to the run and hides them behind the nonce."""
    _check(nonce)
    coins, name = np.packbits(included).tobytes(), run.encode()
    parts = (_LABEL, len(name).to_bytes(8, "big"), name, nonce, len(included).to_bytes(8, "big"), coins)
    return "sha256:" + hashlib.sha256(b"".join(parts)).hexdigest()


def opens(published: str, included: npt.NDArray[np.bool_], nonce: bytes, *, run: str) -> bool:
    """Whether these coins are those that were committed to before the run."""
    return hmac.compare_digest(published, commitment(included, nonce, run=run))


def scores(plan: CanaryPlan, images: npt.NDArray[np.uint8], losses: Losses) -> npt.NDArray[np.float64]:
    """(m,): minus the model's loss on each candidate with its wrong label; high where the model has learned it."""
    return -np.asarray(losses(images[plan.positions], plan.labels), np.float64)


def _check(nonce: bytes) -> None:
    if len(nonce) != _NONCE_BYTES:
        raise ValueError(f"the nonce has {len(nonce)} bytes and needs {_NONCE_BYTES}")
