"""Rounds to aggregate, and the names of everything that can aggregate them: shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from defenses.base import Aggregation, Surroundings
from defenses.registry import PRE_AGGREGATORS, RULES, build

Rows = NDArray[np.float32]

COORDINATE = ("median", "trimmed_mean", "meamed", "bulyan", "rlr")
ROBUST = tuple(name for name in RULES if name not in ("mean", "foolsgold", "rlr", "fltrust"))
"""Rules that promise something whatever f attackers send, without a reference and without a history."""
PARAMETERS: Mapping[str, Mapping[str, float]] = {"clipping": {"c": 5.0}, "flame": {"noise": 0.0}}
ALL = (*RULES, *PRE_AGGREGATORS)


def updates(n: int, d: int, seed: int = 0, *, shift: float = 0.0) -> Rows:
    """(n, d) float32, standard normal around `shift`."""
    return (np.random.default_rng(seed).standard_normal((n, d)) + shift).astype(np.float32)


def surroundings(rows: Rows, seed: int = 7) -> Surroundings:
    """What every rule finds enough: a generator, and a server's update that is the median of the finite rows."""
    finite = rows[np.isfinite(rows).all(axis=1)]
    return Surroundings(reference=np.median(finite, axis=0), rng=np.random.default_rng(seed))


def aggregated(text: str, rows: Rows, f: int, **parameters: float) -> Aggregation:
    """`text`: names joined by "+"; `parameters` go to the last."""
    names = text.split("+")
    steps = [(name, dict(PARAMETERS.get(name, {}))) for name in names]
    steps[-1][1].update(parameters)
    return build(steps, n=len(rows), f=f).aggregate(rows, surroundings(rows))
