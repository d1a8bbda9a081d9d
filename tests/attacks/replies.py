"""An honest reply, and what our own guard says to another one."""

from __future__ import annotations

import numpy as np

from attacks.wire import Forgery, Reply, WireAttack
from defenses.guard import Reason, UpdateRules, inspect_update

D = 1000
HONEST = Reply(
    arrays={"u": np.random.default_rng(0).standard_normal(D).astype(np.float32)},
    samples=100.0,
    round=3,
    spec="a" * 64,
    pictures=tuple(np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)),
)


def forged(attack: WireAttack, *, earlier: Reply | None = None, seed: int = 0) -> Forgery:
    return attack.forge(HONEST, earlier=earlier, rng=np.random.default_rng(seed))


def verdict(reply: Reply) -> Reason | None:
    """The guard's reason against the update of a reply; None when it finds nothing."""
    refusal = inspect_update(reply.arrays["u"], UpdateRules(size=D, max_norm=1e4))
    return None if refusal is None else refusal.reason
