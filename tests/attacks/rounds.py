"""One round as an adversary sees it, small enough to check by hand or large enough to cross a chunk."""

from __future__ import annotations

import numpy as np

from attacks.base import Matrix, Rule, Vector, View

f32 = np.float32


def honest_updates(h: int = 8, d: int = 500, seed: int = 0) -> Matrix:
    """(h, d): a common direction and a spread of the same order."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(d) + rng.standard_normal((h, d))).astype(f32)


def view(
    honest: Matrix | None,
    *,
    f: int = 2,
    d: int | None = None,
    previous: Vector | None = None,
    defend: Rule | None = None,
    round: int = 1,
    seed: int = 0,
) -> View:
    """A view with f Byzantine clients, whose own updates are fixed draws."""
    size = honest.shape[1] if honest is not None else (d or 500)
    own = np.random.default_rng(77).standard_normal((f, size)).astype(f32)
    return View(own, honest, previous, defend, round, np.random.default_rng(seed))


# What the peer's own golden run used: its answers are in the tests as numbers.
THREE = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], f32)
