"""What secure aggregation adds to a federated round: its four more trips, and nothing to the model.

    python -m benchmarks.secure_round [--quick] [--json]

MobileNetV2, real processes over TLS (the deployment grid), the same job with `secagg=none` and `secagg=full` in turn.
Claims: a secure round of ten sites takes at most 2 s more than a plain one on an idle machine; with five and with
ten sites the final model is that of the plain run with the same seed, to a relative RMSE of 2e-5 of its weights, and
its accuracy is unchanged; a site sends at most 1.001 times the 4·d bytes of the model.

What the clocks cover
  round     `seconds` of the event `round-finished`, as in `round_overhead`: from the first order to the next model.
            The first round of a run warms up, and under secure aggregation makes one trip more; it stands apart.
  added     Median of the secure rounds minus median of the plain ones. Runs alternate, so that both see the same
            machine. The job is short (32 images a site), so that what is left of a round is what the machinery costs.
  accuracy  Has to be the same after the first round, when rounding in the ring is all that the two models differ in,
            and after the last. Each later round trains on from models that differ in the seventh digit, which can move
            single images, as another order of summation would; that counts as missed all the same.
  trips     Where a secure round's time goes, median a trip; `train` has the sites' training in it.

`--quick` (2 minutes on two idle cores) makes one run of each kind with ten sites, and one with five.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Report, finish, note, parser, summary
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord

__all__ = ["SecureRun", "fill", "job", "main", "measure", "relative_rmse"]

_MOST_ADDED_S, _MOST_RMSE, _MOST_BYTES = 2.0, 2e-5, 1.001
_IMAGES_PER_SITE, _TEST_IMAGES = 32, 200
_ROUNDS, _QUICK_ROUNDS = 6, 5


@dataclass(frozen=True)
class SecureRun:
    """What one run came to: seconds a round and a trip (secure runs), uplink of the worst site, the last model, and
    the accuracy after each round."""

    sites: int
    seconds: tuple[float, ...]
    trips: tuple[dict[str, float], ...]
    bytes_up: int
    model: np.ndarray[Any, Any]
    accuracies: tuple[float, ...]


def main() -> int:
    """Measure both, and hold the differences against the bars."""
    options = _options()
    before = os.getloadavg()[0]
    if before > 0.5:
        note(f"the machine is not idle (load {before:.1f}); the bar for added time is meant for an idle one")
    runs: dict[str, list[SecureRun]] = {"none": [], "full": []}
    for _ in range(1 if options.quick else 2):
        for secagg in runs:
            runs[secagg].append(measure(secagg, sites=10, rounds=options.rounds))
    five = {secagg: measure(secagg, sites=5, rounds=2) for secagg in runs}
    settings = {
        "model": "mobilenet_v2",
        "parameters": five["none"].model.size,
        "images_per_site": _IMAGES_PER_SITE,
        "rounds": f"{len(runs['full'])} x {options.rounds}",
        "quick": options.quick,
        "load_1min_before": round(before, 2),
    }
    report = Report("secure_round", settings)
    fill(report, runs["none"], runs["full"], five["none"], five["full"])
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, help="of each run with ten sites, at least 2")
    options = made.parse_args()
    options.rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    if options.rounds < 2:
        made.error("too few rounds")
    return options


def job(secagg: str, *, sites: int, rounds: int) -> RunConfig:
    """The settings of a run; only `secagg` differs between the two that are compared."""
    return RunConfig(
        dataset="digits",
        samples=_IMAGES_PER_SITE * sites,
        test_samples=_TEST_IMAGES,
        partition="iid",
        val_fraction=0.0,
        stem="small-images",
        sites=sites,
        quorum=1.0,
        rounds=rounds,
        local_epochs=1,
        secagg=secagg,
    )


def measure(secagg: str, *, sites: int, rounds: int) -> SecureRun:
    """Run the job on the deployment grid; leaves no process and no file behind.

    Raises:
        SecureFLError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="secure-round-") as name:
        home = Path(name)
        config = job(secagg, sites=sites, rounds=rounds)
        record = RunRecord.create(home, ResolvedConfig(config, origins={}), command=sys.argv)
        execute(record, home)
        events, model = record.events(), record.load_checkpoint(record.checkpoints()[rounds])
    finished = [event for event in events if event.kind == "round-finished" and event["round"]]
    done = SecureRun(
        sites=sites,
        seconds=tuple(event["seconds"] for event in finished),
        trips=tuple(event["secagg"]["seconds"] for event in finished if "secagg" in event.fields),
        bytes_up=max(event["bytes_up"] for event in events if event.kind == "reply-accepted"),
        model=model,
        accuracies=tuple(event["accuracy"] for event in finished),
    )
    note(f"secagg={secagg}, {sites} sites: rounds of {', '.join(f'{each:.2f}' for each in done.seconds)} s")
    return done


def relative_rmse(model: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """‖model − reference‖ / ‖reference‖, in float64."""
    difference = model.astype(np.float64) - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference.astype(np.float64)))


def fill(
    report: Report, plain: Sequence[SecureRun], secure: Sequence[SecureRun], five: SecureRun, secure_five: SecureRun
) -> None:
    """Figures and bars of runs with ten sites, paired in their order, and of one pair with five."""
    later = {
        name: [s for run in runs for s in run.seconds[1:]] for name, runs in (("plain", plain), ("secure", secure))
    }
    added_s = statistics.median(later["secure"]) - statistics.median(later["plain"])
    trips = [each for run in secure for each in run.trips[1:]]
    report.figure("plain_round_s", summary(later["plain"]))
    report.figure("secure_round_s", summary(later["secure"]))
    report.figure("trip_s", {name: statistics.median(each[name] for each in trips) for name in trips[0]})
    report.figure("first_plain_round_s", [run.seconds[0] for run in plain])
    report.figure("first_secure_round_s", [run.seconds[0] for run in secure])
    report.bar("added wall time of a secure round, 10 sites, s", value=added_s, bar=_MOST_ADDED_S, better="lower")
    pairs = [*zip(plain, secure, strict=True), (five, secure_five)]
    for sites in (5, 10):
        of_these = [(clear, sealed) for clear, sealed in pairs if clear.sites == sites]
        rmse = max(relative_rmse(sealed.model, clear.model) for clear, sealed in of_these)
        first, last = (max(_moved(clear, sealed, at) for clear, sealed in of_these) for at in (0, -1))
        report.bar(f"relative RMSE of the final model, {sites} sites", value=rmse, bar=_MOST_RMSE, better="lower")
        report.bar(f"images judged otherwise after the first round, {sites} sites", value=first, bar=0, better="lower")
        report.bar(f"change of accuracy, {sites} sites", value=last / _TEST_IMAGES, bar=0.0, better="lower")
        report.figure(f"accuracy_{sites}_sites", [(c.accuracies[-1], s.accuracies[-1]) for c, s in of_these])
    up = max(run.bytes_up for run in secure) / (4 * five.model.size)
    report.bar("bytes of a masked vector, of 4·d", value=up, bar=_MOST_BYTES, better="lower")


def _moved(clear: SecureRun, sealed: SecureRun, at: int) -> int:
    """By how many test images the accuracy of two runs differs after a round."""
    return round(abs(sealed.accuracies[at] - clear.accuracies[at]) * _TEST_IMAGES)


if __name__ == "__main__":
    sys.exit(main())
