"""Federated MobileNetV2 under label skew, with GroupNorm and with BatchNorm: loss and accuracy by round.

    python -m benchmarks.norm_under_skew [--quick] [--json]

Five sites share scikit-learn's digits by Dirichlet(0.5) and average their updates (FedAvg, weighted by
images), with the settings of the demo. The two runs go side by side, one process of one thread each; data,
order of images and dropout masks are the same. Each norm has the gradient limit that suits it: GroupNorm's
first gradients are long and are scaled down to 1; with that limit BatchNorm hardly learns at all, so it has
none. `--quick` makes three rounds, as many as the paper reports, instead of six.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.report import Report, finish, note, parser
from secure_fl.config import RunConfig

__all__ = ["federated_rounds", "main"]

# By norm, the gradient limit that suits it.
NORMS = {"group": 1.0, "batch": 0.0}
PAPER_ROUNDS = 3
CONFIG = RunConfig(
    dataset="digits",
    sites=5,
    partition="dirichlet",
    alpha=0.5,
    rounds=6,
    local_epochs=2,
    batch_size=16,
    lr=0.02,
    momentum=0.9,
    grid="local",
)
Row = dict[str, float]


def main() -> int:
    """Run both, print the tables, hold them against the bars of the issue."""
    options = parser(__doc__).parse_args()
    config = replace(CONFIG, rounds=PAPER_ROUNDS) if options.quick else CONFIG
    with ProcessPoolExecutor(len(NORMS), mp_context=multiprocessing.get_context("spawn")) as pool:
        tables = dict(
            zip(
                NORMS,
                pool.map(
                    federated_rounds, [replace(config, norm=norm, grad_clip=limit) for norm, limit in NORMS.items()]
                ),
                strict=True,
            )
        )

    shown = ("dataset", "partition", "alpha", "sites", "rounds", "local-epochs", "batch-size", "lr", "momentum", "seed")
    report = Report("norm_under_skew", {key: config.to_mapping()[key] for key in shown})
    for norm, rows in tables.items():
        report.figure(f"{norm}_loss_by_round", [row["loss"] for row in rows])
        report.figure(f"{norm}_accuracy_by_round", [row["accuracy"] for row in rows])
        report.figure(f"{norm}_training_cpu_s", sum(row["cpu_s"] for row in rows))
    batch = tables["batch"]
    losses = [row["loss"] for row in tables["group"]]
    rises = sum(later >= earlier for earlier, later in itertools.pairwise(losses))
    report.bar("GroupNorm, rounds without a fall of the global loss", value=rises, bar=0, better="lower")
    report.bar(
        "BatchNorm, loss after two rounds minus initial loss",
        value=batch[2]["loss"] - batch[0]["loss"],
        bar=0.0,
        better="higher",
    )
    report.bar(
        "GroupNorm minus BatchNorm, accuracy after the paper's three rounds",
        value=tables["group"][PAPER_ROUNDS]["accuracy"] - batch[PAPER_ROUNDS]["accuracy"],
        bar=0.3,
        better="higher",
    )
    if not options.quick:
        report.bar(
            "GroupNorm, accuracy after six rounds", value=tables["group"][-1]["accuracy"], bar=0.90, better="higher"
        )
    return finish(report, options)


def federated_rounds(config: RunConfig) -> list[Row]:
    """FedAvg in this process: {round, loss, accuracy, cpu_s} of the global model, round 0 being the initial one."""
    import time

    from secure_fl.data import load_site, load_test
    from secure_fl.models import ModelSpec, flatten, initial_model, unflatten
    from secure_fl.training.device import configure_torch
    from secure_fl.training.evaluation import evaluate
    from secure_fl.training.examples import Pictures
    from secure_fl.training.local import TrainSettings, train_locally
    from secure_fl.training.seeds import derive_seed

    configure_torch(config.threads, config.device)
    test, normalisation = load_test(config)
    sites = [load_site(config, site) for site in range(config.sites)]
    model = initial_model(config, ModelSpec.of(config, classes=len(test.classes), image_size_px=test.images.shape[1]))
    weights, settings = flatten(model), TrainSettings.of(config, round=1)
    total, rows = sum(len(site.train) for site in sites), []
    for round in range(config.rounds + 1):
        started = time.process_time()
        mean_update = np.zeros(weights.size, dtype=np.float64)
        for index, site in enumerate(sites if round else ()):
            unflatten(weights, model)
            seed = derive_seed(config.seed, "train", round, index)
            train_locally(model, Pictures(site.train, site.normalisation), settings, seed=seed)
            mean_update += (flatten(model) - weights) * (len(site.train) / total)
        cpu_s = time.process_time() - started
        weights = (weights + mean_update).astype(np.float32)
        unflatten(weights, model)
        measured = evaluate(model, Pictures(test, normalisation))
        rows.append({"round": round, "loss": measured.loss, "accuracy": measured.accuracy, "cpu_s": cpu_s})
        note(_line(config, rows[-1]))
    return rows


def _line(config: RunConfig, row: Row) -> str:
    progress: dict[str, Any] = {"round": f"{row['round']:.0f}/{config.rounds}", "loss": f"{row['loss']:.4f}"}
    return (
        f"{config.norm:>5}  " + "  ".join(f"{k} {v}" for k, v in progress.items()) + f"  accuracy {row['accuracy']:.2%}"
    )


if __name__ == "__main__":
    sys.exit(main())
