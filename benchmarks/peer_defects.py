"""Defects of the peers, shown by running them: what one or two hostile clients do to byzfl's and Flower's rules.

    python -m benchmarks.peer_defects

Each line is one constructed round, given to the peer and to our rule. The exit status is 0 when every peer fails as
described and ours does not; 1 when a peer no longer fails (say so in the facts, then) or ours does. The same rounds
are tests in tests/defenses/test_peer_defects.py, for our side only.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.report import need_peer
from defenses.base import Matrix
from defenses.registry import build

__all__ = ["DEFECTS", "Defect", "counters", "main"]

_HANGING_S = 8
_HANG = """
import byzfl, numpy as np
rows = np.random.default_rng(0).standard_normal((9, 1000))
byzfl.CAF(2)(np.vstack([rows, np.full((2, 1000), 1e10)]))
"""


@dataclass(frozen=True)
class Defect:
    """`round_`: what is sent; `peer` and `ours` answer in a few words, and whether they failed."""

    round_: str
    peer: Callable[[], tuple[str, bool]]
    ours: Callable[[], tuple[str, bool]]


def honest(n: int, d: int = 1000) -> Matrix:
    """(n, d) standard normal updates."""
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


def with_nan() -> Matrix:
    """Nine honest updates and one with a single NaN."""
    rows = np.vstack([honest(9), honest(1)])
    rows[9, 500] = np.nan
    return rows


def near(n: int) -> Matrix:
    """n − 4 honest updates that differ little beside a common part of norm² 1e4, and 4 attackers thrice as far."""
    rng = np.random.default_rng(1)
    common = rng.standard_normal(5000) * np.sqrt(2.0)
    spread = np.r_[np.full(n - 4, 5e-5), np.full(4, 1.5e-4)][:, None]
    return np.asarray(common + spread * rng.standard_normal((n, 5000)), np.float32)


def counters() -> tuple[list[dict[str, np.ndarray[Any, Any]]], Matrix]:
    """Eight honest clients with counters of 22 to 173 batches, two attackers with more noise and a median counter."""
    rng = np.random.default_rng(0)
    base, batches = rng.standard_normal(20_000).astype(np.float32), rng.integers(20, 200, 8)
    replies = []
    for client in range(10):
        hostile = client >= 8
        noise = rng.standard_normal(20_000).astype(np.float32) * np.float32(0.05 if hostile else 0.001)
        seen = int(np.median(batches)) if hostile else int(batches[client])
        replies.append({"w": base + noise, **{f"seen{i}": np.array(seen, np.int64) for i in range(52)}})
    return replies, np.stack([reply["w"] for reply in replies]).astype(np.float32)


def _record(arrays: dict[str, np.ndarray[Any, Any]], samples: int = 1) -> Any:
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    record = ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})
    return RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": samples})})


def _flower_selects(records: list[Any], f: int, keep: int) -> list[int]:
    from flwr.serverapp.strategy.multikrum import select_multikrum

    chosen = select_multikrum(records, f, keep)
    return [index for index, record in enumerate(records) if any(record is each for each in chosen)]


def _selected(chosen: list[int], hostile: range) -> tuple[str, bool]:
    bad = [index for index in chosen if index in hostile]
    return (f"lets in {len(bad)} of {len(hostile)} attackers", bool(bad))


def _ours_selects(rule: str, rows: Matrix, f: int, hostile: range) -> tuple[str, bool]:
    done = build([(rule, {})], n=len(rows), f=f).aggregate(rows)
    return _selected(np.flatnonzero(done.kept).tolist(), hostile)


def _finite(step: Any) -> tuple[str, bool]:
    values = np.asarray(step)
    return ("finite", False) if np.isfinite(values).all() else ("NaN in the model", True)


def _byzfl(name: str, rows: Matrix, *parameters: Any) -> Any:
    import byzfl

    return getattr(byzfl, name)(*parameters)(rows.astype(np.float64))


def _ours(rule: str, rows: Matrix, f: int) -> tuple[str, bool]:
    return _finite(build([(rule, {})], n=len(rows), f=f).aggregate(rows).step)


def _flower_legacy(rule: str) -> tuple[str, bool]:
    from flwr.server.strategy.aggregate import aggregate_krum, aggregate_median

    replies = [([row], 1) for row in with_nan()]
    step = aggregate_median(replies) if rule == "median" else aggregate_krum(replies, 1, 0)
    return _finite(step[0])


def _byzfl_krum_near() -> tuple[str, bool]:
    # The rule itself returns a mean; whom it took is seen from the distances that it computes.
    import torch

    rows = torch.from_numpy(near(30))
    scores = (torch.cdist(rows, rows) ** 2).sort(dim=1)[0][:, 1:26].mean(dim=1)
    return _selected(scores.topk(26, largest=False)[1].tolist(), range(26, 30))


def _caf_hangs() -> tuple[str, bool]:
    try:
        subprocess.run([sys.executable, "-c", _HANG], timeout=_HANGING_S, check=True, capture_output=True)
    except subprocess.TimeoutExpired:
        return f"has not ended after {_HANGING_S} s", True
    return "ends", False


def _flower_aborts() -> tuple[str, bool]:
    from flwr.serverapp.exception import InconsistentMessageReplies
    from flwr.serverapp.strategy.strategy_utils import validate_message_reply_consistency

    rows = honest(9, 50)
    records = [_record({"w": row}) for row in rows] + [_record({"w": rows[0], "extra": rows[0]})]
    try:
        validate_message_reply_consistency(records, "num-examples", True)
    except InconsistentMessageReplies:
        return "aborts the round for all", True
    return "goes on", False


def _ours_goes_on() -> tuple[str, bool]:
    from defenses.guard import UpdateRules, inspect_update

    rows, rules = honest(9, 50), UpdateRules(size=50, max_norm=1e3)
    accepted = [row for row in [*rows, np.concatenate([rows[0], rows[0]])] if inspect_update(row, rules) is None]
    step = build([("multi_krum", {})], n=10, f=1).aggregate(accepted).step
    return ("goes on without it", False) if len(accepted) == 9 and np.isfinite(step).all() else ("fails", True)


def _flower_believes() -> tuple[str, bool]:
    from flwr.serverapp.strategy.multikrum import select_multikrum
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

    rows = honest(9, 50)
    liar = rows[0] * 0.5
    records = [_record({"w": row}, 10) for row in rows] + [_record({"w": liar}, 10**12)]
    step = aggregate_arrayrecords(select_multikrum(records, 1, 9), "num-examples")["w"].numpy()
    taken = bool(np.allclose(step, liar, atol=1e-4))
    return ("the model is the attacker's", True) if taken else ("an average", False)


def _ours_counts_heads() -> tuple[str, bool]:
    rows = honest(9, 50)
    step = build([("multi_krum", {})], n=10, f=1).aggregate(np.vstack([rows, rows[:1] * 0.5])).step
    taken = bool(np.allclose(step, rows[0] * 0.5, atol=1e-4))
    return ("the model is the attacker's", True) if taken else ("an unweighted average", False)


def _ours_caf() -> tuple[str, bool]:
    rows = np.vstack([honest(9), np.full((2, 1000), 1e10, np.float32)])
    step = build([("caf", {})], n=11, f=2).aggregate(rows).step
    return ("ends, near the honest mean", False) if np.abs(step).max() < 3 else ("follows the attackers", True)


DEFECTS = {
    "Flower Multi-Krum: integer counters in the distance": Defect(
        "2 attackers, 50 times the noise, median BatchNorm counters",
        lambda: _selected(_flower_selects([_record(each) for each in counters()[0]], 2, 8), range(8, 10)),
        lambda: _ours_selects("multi_krum", counters()[1], 2, range(8, 10)),
    ),
    "Flower Multi-Krum: float32 norms cancel": Defect(
        "updates of norm² 1e4, squared distances of 2e-5",
        lambda: _selected(_flower_selects([_record({"w": row}) for row in near(20)], 4, 16), range(16, 20)),
        lambda: _ours_selects("multi_krum", near(20), 4, range(16, 20)),
    ),
    "byzfl Krum distances above 25 clients: the same": Defect(
        "30 such updates",
        _byzfl_krum_near,
        lambda: _ours_selects("multi_krum", near(30), 4, range(26, 30)),
    ),
    **{
        f"byzfl {name}: one NaN": Defect(
            "one entry of one update is NaN",
            lambda name=name, parameters=parameters: _finite(_byzfl(name, with_nan(), *parameters)),  # type: ignore[misc]
            lambda rule=rule: _ours(rule, with_nan(), 1),  # type: ignore[misc]
        )
        for name, rule, parameters in (
            ("Krum", "krum", (1,)),
            ("Median", "median", ()),
            ("GeometricMedian", "geometric_median", ()),
            ("CenteredClipping", "centered_clipping", ()),
            ("Meamed", "meamed", (1,)),
        )
    },
    "Flower aggregate_krum: one NaN": Defect(
        "one entry of one update is NaN", lambda: _flower_legacy("krum"), lambda: _ours("krum", with_nan(), 1)
    ),
    "Flower aggregate_median: one NaN": Defect(
        "one entry of one update is NaN", lambda: _flower_legacy("median"), lambda: _ours("median", with_nan(), 1)
    ),
    "byzfl CAF: no end": Defect("two vectors of constant 1e10", _caf_hangs, _ours_caf),
    "Flower: one malformed reply": Defect("one reply has an array too many", _flower_aborts, _ours_goes_on),
    "Flower Multi-Krum: num-examples": Defect("one client says 1e12 examples", _flower_believes, _ours_counts_heads),
}


def main() -> int:
    """Print a line a defect; 0 when all peers fail and ours does not."""
    for module in ("byzfl", "flwr"):
        need_peer(module, extra="test")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    width = max(map(len, DEFECTS))
    as_described = True
    for name, defect in DEFECTS.items():
        with np.errstate(all="ignore"):
            (theirs, fails), (ours, we_fail) = defect.peer(), defect.ours()
        as_described &= fails and not we_fail
        verdict = "ok" if fails and not we_fail else "NOT AS DESCRIBED"
        print(f"{name:{width}}  {defect.round_:58}  peer: {theirs:28}  ours: {ours:28}  [{verdict}]")
    return 0 if as_described else 1


if __name__ == "__main__":
    sys.exit(main())
