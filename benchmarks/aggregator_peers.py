"""The same rule by three hands: ours, byzfl's and Flower's, each as something that can be prepared and then timed.

byzfl gets torch tensors that share our memory, its fastest form. Flower gets reply messages with one array each, which
is kind to it (it deserialises each array of each message), and aggregates by its message strategies; their form is
built anew before every call, outside of the timed part, because Flower consumes it. Flower's Bulyan for messages takes
half a millisecond a coordinate (20 minutes at 2.24 million), so its older `aggregate_bulyan` stands in for it.

Flower's distances, and byzfl's above 25 rows, are float32 norms that cancel: there the ratio is to a faster but wrong
computation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from defenses.base import Matrix

__all__ = ["RULES", "Peer", "byzantine", "byzfl_peer", "flower_peer", "our_rule"]

Peer = Callable[[], Callable[[], Any]]
"""Prepares one call, untimed, and returns it."""

RULES = ("median", "trimmed_mean", "krum", "multi_krum", "nnm", "geometric_median", "caf", "meamed", "bulyan")


def byzantine(rule: str, n: int) -> int:
    """f: a fifth of the clients, or what Bulyan tolerates."""
    return min(n // 5, (n - 3) // 4) if rule == "bulyan" else n // 5


def our_rule(rule: str, rows: Matrix) -> Peer:
    """Ours; nearest-neighbour mixing as the (n, d) matrix that byzfl's returns."""
    from defenses.gram import gram
    from defenses.registry import build
    from defenses.rows import mix, rows_of
    from defenses.rules.front import nnm_mixing

    n, f = len(rows), byzantine(rule, len(rows))
    if rule == "nnm":

        def mixed() -> Matrix:
            given = rows_of(rows)
            return mix(given, nnm_mixing(gram(given)[0].distances2(), f))

        return lambda: mixed
    defense = build([(rule, {})], n=n, f=f)
    return lambda: lambda: defense.aggregate(rows)


def byzfl_peer(rule: str, rows: Matrix) -> Peer | str:
    """byzfl's, or why it cannot take part."""
    import byzfl
    import torch
    from byzfl.aggregators import preaggregators

    n, d, f = *rows.shape, byzantine(rule, len(rows))
    mixed_gb = n * (n - f) * d * 4 / 1e9
    if rule == "bulyan":
        return "byzfl has no Bulyan"
    if rule == "nnm" and mixed_gb > 4:
        return f"byzfl would build a tensor of (n, n - f, d): {mixed_gb:.0f} GB"
    if rule == "meamed" and n * (n - f) * d > 1e12:
        return "byzfl would build index tensors beyond memory"
    made = {
        "median": byzfl.Median,
        "trimmed_mean": lambda: byzfl.TrMean(f),
        "krum": lambda: byzfl.Krum(f),
        "multi_krum": lambda: byzfl.MultiKrum(f),
        "nnm": lambda: preaggregators.NNM(f),
        "geometric_median": byzfl.GeometricMedian,
        "caf": lambda: byzfl.CAF(f),
        "meamed": lambda: byzfl.Meamed(f),
    }[rule]()
    tensor = torch.from_numpy(rows)
    return lambda: lambda: made(tensor)


def flower_peer(rule: str, rows: Matrix) -> Peer | str:
    """Flower's, or why it cannot take part."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.server.strategy.aggregate import aggregate_bulyan, aggregate_krum
    from flwr.serverapp import strategy
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
    f = byzantine(rule, len(rows))
    strategies: dict[str, Callable[[], Any]] = {
        "median": strategy.FedMedian,
        "trimmed_mean": lambda: strategy.FedTrimmedAvg(beta=f / len(rows) + 1e-9),
        "krum": lambda: strategy.Krum(num_malicious_nodes=f),
        "multi_krum": lambda: strategy.MultiKrum(num_malicious_nodes=f, num_nodes_to_select=len(rows) - f),
    }
    if rule == "bulyan":
        return lambda: partial(aggregate_bulyan, [([row], 1) for row in rows], f, aggregate_krum, to_keep=0)
    if rule not in strategies:
        return f"Flower has no {rule}"
    made = strategies[rule]()

    def prepared() -> Callable[[], Any]:
        replies = []
        for number, row in enumerate(rows):
            asked = Message(RecordDict(), dst_node_id=number + 1, message_type="train")
            arrays = ArrayRecord({"w": Array(row)})
            content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
            replies.append(Message(content, reply_to=asked))
        return lambda: made.aggregate_train(1, replies)

    return prepared
