"""Whether secure aggregation costs accuracy: whole trainings over several seeds, beside what mere rounding does.

    python -m benchmarks.secure_accuracy [--seeds N] [--quick] [--json]

Ten sites, MobileNetV2, all of scikit-learn's digits, unevenly (Dirichlet 0.5), four rounds of two epochs on the local
grid. For each seed three runs that differ in one thing only, how the updates are summed:

    plain    in float64, as runs without secure aggregation do
    secure   `secagg=full`: fixed point in the 32-bit ring, masked, opened
    control  in float32, the sites in reverse order: nobody's method is wrong, and the seventh digit differs

The sums differ by the rounding of numbers, of which `benchmarks.secure_round` says how much. Training then drives any
two models that are not equal apart, so single images of a test set are judged otherwise at the end. That is what the
control shows, and why one pair of runs tells nothing about a change of accuracy; pairs over seeds do.

Claims: the change of accuracy that secure aggregation makes has a 95 % interval (bootstrap over seeds) within one
point, a sign-flip test does not find it (p at least 0.05), and its root mean square is at most twice the control's.

Two runs go side by side, one process of one thread each. `--quick` takes two seeds and two rounds, too few for the
claims about chance: it holds only the last one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Report, finish, note, parser
from secure_fl.config import RunConfig

__all__ = ["KINDS", "change", "config_of", "final_accuracy", "main", "reversed_float32"]

KINDS = ("plain", "secure", "control")
_SEEDS, _ROUNDS = 6, 4
_QUICK_SEEDS, _QUICK_ROUNDS = 2, 2
_WITHIN, _LEAST_P, _MOST_OF_CONTROL = 0.01, 0.05, 2.0


def main() -> int:
    """Train all, compare in pairs, hold the differences against the bars."""
    options = _options()
    jobs = [(kind, seed, options.rounds) for seed in range(options.seeds) for kind in KINDS]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip([job[:2] for job in jobs], pool.map(final_accuracy, *zip(*jobs, strict=True)), strict=True))
    by_kind = {kind: [found[kind, seed] for seed in range(options.seeds)] for kind in KINDS}
    report = Report("secure_accuracy", {"sites": 10, "seeds": options.seeds, "rounds": options.rounds})
    fill(report, by_kind, chances=not options.quick)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--seeds", type=int, help="how many, at least 6 (2 with --quick)")
    options = made.parse_args()
    options.rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    options.seeds = options.seeds or (_QUICK_SEEDS if options.quick else _SEEDS)
    if options.seeds < (2 if options.quick else 6):
        made.error("too few seeds: with fewer than 6, no difference could be found")
    return options


def fill(report: Report, accuracies: dict[str, list[float]], *, chances: bool) -> None:
    """Figures and bars of accuracies by kind, each in the order of seeds."""
    from secure_fl.lab.statistics import estimate, sign_flip_p

    for kind, values in accuracies.items():
        report.figure(f"accuracy, {kind}", values)
    secure, control = (change(accuracies, kind) for kind in ("secure", "control"))
    sizes = {"secure": _rms(secure), "control": _rms(control)}
    report.figure("change of accuracy by seed", {"secure": secure, "control": control})
    report.figure("root mean square change", sizes)
    if chances:
        measured = estimate(secure)
        ends = (measured.low, measured.high)
        report.figure("mean change by secure aggregation, and its interval", [measured.mean, *ends])
        farthest = max(abs(end) for end in ends if end is not None)
        report.bar("95 % interval of the change, farthest end", value=farthest, bar=_WITHIN, better="lower")
        report.bar("p of no change", value=sign_flip_p(secure), bar=_LEAST_P, better="higher")
    # One image more or less is what a test set resolves; a control without any change would make a ratio of nothing.
    ratio = sizes["secure"] / max(sizes["control"], 1 / 359)
    report.bar("change by secure aggregation / by the control", value=ratio, bar=_MOST_OF_CONTROL, better="lower")


def change(accuracies: dict[str, list[float]], kind: str) -> list[float]:
    """By seed, the accuracy of `kind` less that of the plain run."""
    return [one - plain for one, plain in zip(accuracies[kind], accuracies["plain"], strict=True)]


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def config_of(kind: str, seed: int, rounds: int) -> RunConfig:
    """The settings of one run."""
    return RunConfig(
        dataset="digits",
        sites=10,
        partition="dirichlet",
        alpha=0.5,
        rounds=rounds,
        local_epochs=2,
        grid="local",
        seed=seed,
        threads=1,
        secagg="full" if kind == "secure" else "none",
    )


def final_accuracy(kind: str, seed: int, rounds: int) -> float:
    """Train once in this process; the accuracy of the last model."""
    from secure_fl.app.strategy import FedAvg
    from secure_fl.config_sources import ResolvedConfig
    from secure_fl.federation.launch import execute
    from secure_fl.runs import RunRecord

    usual = FedAvg.combine
    if kind == "control":
        FedAvg.combine = reversed_float32  # type: ignore[method-assign, assignment]
    try:
        with tempfile.TemporaryDirectory(prefix="secure-accuracy-") as home:
            resolved = ResolvedConfig(config_of(kind, seed, rounds), origins={})
            record = RunRecord.create(Path(home), resolved, command=sys.argv)
            execute(record, Path(home))
            last = [event for event in record.events() if event.kind == "round-finished"][-1]
    finally:
        FedAvg.combine = usual  # type: ignore[method-assign]
    note(f"seed {seed}, {kind}: {last['accuracy']:.4f}")
    return float(last["accuracy"])


def reversed_float32(_: Any, updates: Sequence[np.ndarray[Any, Any]], weights: Sequence[float]) -> Any:
    """The weighted mean of (d,) float32 updates, summed from the last to the first in float32."""
    total, mean = float(sum(weights)), np.zeros_like(updates[0])
    for update, weight in zip(reversed(updates), reversed(weights), strict=True):
        mean += update * np.float32(weight / total)
    return mean


if __name__ == "__main__":
    sys.exit(main())
