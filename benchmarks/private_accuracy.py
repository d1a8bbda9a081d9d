"""What differential privacy costs in accuracy, by mode: the preset `private`, and the same without.

    python -m benchmarks.private_accuracy [--quick] [--json]

Five sites share scikit-learn's digits by Dirichlet(0.5) and train the tanh CNN for 20 rounds; whole runs, by
`secure-fl`'s own launcher on the local grid, one after the other.

    none        no privacy; learning rate 0.1, constant, as plain SGD wants it (also for `client`)
    sample      DP-SGD at each site, ε = 8 for each image, δ = 1e-4
    client      clipping and noise by the coordinator, ε = 8 for each site, δ = 1e-4

Three seeds (`--quick`: one) move data split and first weights. The privacy of a run is of no seed: noise and sampling
are drawn anew each time, so that figures differ from one invocation to the next by some points.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report, finish, note, parser, summary
from secure_fl.config_sources import resolve
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord

__all__ = ["MODES", "main", "run_once"]

PLAIN = ("lr=0.1", "lr-schedule=constant")
MODES = {
    "none": ("dp-epsilon=0", *PLAIN),
    "sample": (),
    "client": ("dp-unit=client", "dp-client-clip=1.0", *PLAIN),
}
SEEDS = (0, 1, 2)


def main() -> int:
    """Run all modes and seeds; there is a bar for what must be learned in spite of privacy."""
    options = parser(__doc__ or "").parse_args()
    seeds = SEEDS[:1] if options.quick else SEEDS
    report = Report("private_accuracy", {"preset": "private", "seeds": list(seeds), "quick": options.quick})
    for mode, assignments in MODES.items():
        runs = [run_once(*assignments, f"seed={seed}") for seed in seeds]
        accuracy = [each[0] for each in runs]
        report.figure(f"{mode}: accuracy", summary(accuracy))
        report.figure(f"{mode}: accuracy by seed", accuracy)
        report.figure(f"{mode}: epsilon", max(each[1] for each in runs))
        note(f"{mode}: {', '.join(f'{each:.1%}' for each in accuracy)}")
        if mode == "sample":
            report.bar("accuracy with ε = 8 at the sites, worst seed", value=min(accuracy), bar=0.9, better="higher")
            report.bar("ε that the run has spent", value=max(each[1] for each in runs), bar=8.0, better="lower")
    return finish(report, options)


def run_once(*assignments: str) -> tuple[float, float]:
    """Accuracy after the last round of a whole run, and what it has cost (0 without privacy).

    Raises:
        SecureFLError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="private-accuracy-") as name:
        home = Path(name)
        resolved = resolve(flags={}, assignments=("grid=local", *assignments), environ={}, preset="private")
        record = RunRecord.create(home, resolved, command=sys.argv)
        execute(record, home)
        last = record.rounds()[-1]
        return float(last.accuracy or 0.0), float(last.epsilon or last.client_epsilon or 0.0)


if __name__ == "__main__":
    sys.exit(main())
