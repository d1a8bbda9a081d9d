"""Can we repeat what others published? Cells of the Fashion-MNIST tables of `published_rows`, by a stated rule.

    python -m benchmarks.published_tables [--rows 4,9] [--rules FedAvg,Median] [--seeds 2] [--workers 1]
    python -m benchmarks.published_tables --status
    python -m benchmarks.published_tables --each-round [--rows 9] [--rules FedAvg]
    python -m benchmarks.published_tables --quick

One cell at one seed is one simulation of 40 rounds: 7 to 10 minutes of one core. Each is written as one file, whole or
not at all, under a name that holds the digest of its scenario; so the program may be killed at any moment, goes on
where it was, and never takes a result for that of another setting.

Rule: over k >= 2 seeds, |our mean - published mean| <= 2 s_pub / sqrt(15) + 2 s_ours / sqrt(k) + 0.005, s being sample
standard deviations: both means are uncertain, and half a point is left for what the papers' code does not fix (the
order of images, the version of a kernel). With one seed, or where no spread was published, there is no verdict.
`--each-round` runs the cells once, at seed 0, tests the model after every round instead of every fifth, and writes the
course beside the results: it shows where the accuracy of the last round depends on whether that round is odd or even.
`--quick` makes six rounds of row 4 with a sixth of the images and asks only that Multi-Krum beats FedAvg.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.published_rows import ROWS, RULES, Published, scenario_of
from benchmarks.report import Report, finish, note, parser
from secure_fl.lab.outcome import Outcome
from secure_fl.lab.scenario import Scenario
from secure_fl.runs.atomic import write_atomic

__all__ = ["Verdict", "judge", "main", "pending"]

RESULTS = Path(__file__).parent / "results" / "published_tables"
PUBLISHED_SEEDS = 15
SLACK = 0.005
ALL = ("FedAvg", "Median", "Multi-Krum")
# The cells that have to be repeated, in the order in which they are worth having.
FIRST = {4: ALL, 13: ("FedAvg", "Multi-Krum"), 9: ALL, 12: ("FedAvg", "Multi-Krum")}
_QUICK = {"rounds": 6, "samples": 10_000, "evaluate_every": 6}


@dataclass(frozen=True)
class Job:
    """One simulation: a cell at one seed."""

    row: int
    rule: str
    seed: int

    @property
    def scenario(self) -> Scenario:
        return scenario_of(self.row, self.rule, self.seed)

    def file(self, folder: Path) -> Path:
        return folder / f"row{self.row:02}-{self.rule}-seed{self.seed}-{self.scenario.digest()[:12]}.json"


@dataclass(frozen=True)
class Verdict:
    """How one cell compares. values: ours, a seed each; tolerance: NaN where there can be no verdict."""

    row: int
    rule: str
    measure: str
    published: Published
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def tolerance(self) -> float:
        if len(self.values) < 2 or self.published.std is None:
            return math.nan
        ours = 2 * statistics.stdev(self.values) / math.sqrt(len(self.values))
        return 2 * self.published.std / math.sqrt(PUBLISHED_SEEDS) + ours + SLACK

    @property
    def off_by(self) -> float:
        return abs(self.mean - self.published.mean)

    @property
    def word(self) -> str:
        if math.isnan(self.tolerance):
            return "pending" if len(self.values) < 2 else "no verdict"
        return "pass" if self.off_by <= self.tolerance else "FAIL"

    @property
    def title(self) -> str:
        return f"row {self.row} {self.rule} {self.measure}"

    def line(self) -> str:
        """The cell for people."""
        spread = "" if self.published.std is None else f" ± {self.published.std:.3f}"
        ours = f"{self.mean:.3f}" if self.values else "  —  "
        return (
            f"  {self.word:<10} row {self.row:>2}  {ROWS[self.row].title:<24} {self.rule:<11} {self.measure:<15}"
            f" ours {ours} (seeds: {len(self.values)})  published {self.published.mean:.3f}{spread}"
            f"  tolerance {self.tolerance:.3f}"
        )


def main() -> int:
    """Run what is missing, then judge what is there."""
    options = _options()
    if options.quick:
        return _quick(options)
    jobs = [
        Job(row, rule, seed)
        for seed in range(options.seeds)
        for row in options.rows
        for rule in options.rules or FIRST.get(row, ALL)
    ]
    options.results.mkdir(parents=True, exist_ok=True)
    if options.each_round:
        return _each_round(options)
    if not options.status:
        _run(list(pending(jobs, options.results)), options.results, options.workers)
    report = Report("published_tables", {"rows": list(options.rows), "seeds": options.seeds})
    for verdict in judge(options.results, options.rows, options.rules or tuple(RULES)):
        note(verdict.line())
        report.figure(verdict.title, {"ours": list(verdict.values), "published": verdict.published.mean})
        if verdict.word in ("pass", "FAIL"):
            report.bar(f"{verdict.title}: off by", value=verdict.off_by, bar=verdict.tolerance, better="lower")
    return finish(report, options)


def pending(jobs: Sequence[Job], folder: Path) -> Iterator[Job]:
    """The jobs of which there is no result yet."""
    return (job for job in jobs if not job.file(folder).exists())


def judge(folder: Path, rows: Sequence[int], rules: Sequence[str]) -> Iterator[Verdict]:
    """The verdict on each published cell, by the results in `folder`, whatever their number of seeds."""
    for number in rows:
        row = ROWS[number]
        for rule in rules:
            found = list(_outcomes(folder, number, rule))
            if rule in row.accuracy:
                values = tuple(each.final.accuracy or 0.0 for each in found)
                yield Verdict(number, rule, "accuracy", row.accuracy[rule], values)
            if rule in row.attack_success:
                values = tuple(each.final.attack_success or 0.0 for each in found)
                yield Verdict(number, rule, "attack success", row.attack_success[rule], values)


def _outcomes(folder: Path, row: int, rule: str) -> Iterator[Outcome]:
    """Results of a cell by seed; those of other settings than today's have another digest and are passed over."""
    for path in sorted(folder.glob(f"row{row:02}-{rule}-seed*.json")):
        seed = int(path.name.split("-seed")[1].split("-")[0])
        if path == Job(row, rule, seed).file(folder):
            yield Outcome.from_mapping(json.loads(path.read_text(encoding="utf-8")))


def _run(jobs: Sequence[Job], folder: Path, workers: int) -> None:
    """Simulate the jobs in their order, one thread each, and write each result as soon as it is there."""
    if workers == 1:
        for job in jobs:
            note(_simulated(job, folder))
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for line in pool.map(_simulated, jobs, [folder] * len(jobs)):
            note(line)


def _simulated(job: Job, folder: Path) -> str:
    from secure_fl.lab.engine import simulate

    outcome = simulate(job.scenario)
    text = json.dumps(outcome.to_mapping(), indent=1, allow_nan=False) + "\n"
    write_atomic(job.file(folder), text.encode())
    success = outcome.final.attack_success
    extra = "" if success is None else f", attack success {success:.3f}"
    accuracy = outcome.final.accuracy or 0.0
    return f"row {job.row} {job.rule} seed {job.seed}: accuracy {accuracy:.4f}{extra}, {outcome.cpu_s:.0f} CPU s"


def _each_round(options: argparse.Namespace) -> int:
    """The course of each cell at seed 0; training is the same, only testing is more frequent."""
    from secure_fl.lab.engine import simulate

    report = Report("published_tables", {"rows": list(options.rows), "each_round": True})
    for number in options.rows:
        for rule in options.rules or FIRST.get(number, ALL):
            outcome = simulate(scenario_of(number, rule, 0).changed(evaluate_every=1))
            course = [each.accuracy or 0.0 for each in outcome.rounds]
            text = json.dumps({"row": number, "rule": rule, "seed": 0, "accuracy": course}) + "\n"
            write_atomic(options.results / f"course-row{number:02}-{rule}-seed0.json", text.encode())
            for name, half in (("odd", course[-20::2]), ("even", course[-19::2])):
                report.figure(
                    f"row {number} {rule}: mean accuracy of the last ten {name} rounds", statistics.fmean(half)
                )
                note(f"row {number} {rule}, {name} rounds: " + " ".join(f"{each:.2f}" for each in half))
    return finish(report, options)


def _quick(options: argparse.Namespace) -> int:
    from secure_fl.lab.engine import simulate

    report = Report("published_tables", {"quick": True, **_QUICK})
    accuracy = {}
    for rule in ("FedAvg", "Multi-Krum"):
        accuracy[rule] = simulate(scenario_of(4, rule, 0).changed(**_QUICK)).final.accuracy or 0.0
        report.figure(f"row 4 {rule} accuracy after {_QUICK['rounds']} rounds", accuracy[rule])
        note(f"{rule}: {accuracy[rule]:.3f}")
    gain = accuracy["Multi-Krum"] - accuracy["FedAvg"]
    report.bar("Multi-Krum minus FedAvg under Gaussian attackers", value=gain, bar=0.05, better="higher")
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=_numbers, default=tuple(FIRST), help=f"of {', '.join(map(str, ROWS))}")
    made.add_argument("--rules", type=_names, default=(), help=", ".join(RULES))
    made.add_argument("--seeds", type=int, default=2, help="seeds 0 to this, not included")
    made.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    made.add_argument("--status", action="store_true", help="only judge what is there")
    made.add_argument("--each-round", action="store_true", help="test after every round, at seed 0")
    options = made.parse_args()
    options.results = options.results.absolute()
    return options


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(each) for each in text.split(","))
    if unknown := [each for each in numbers if each not in ROWS]:
        raise argparse.ArgumentTypeError(f"no rows {unknown}; there are {list(ROWS)}")
    return numbers


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [each for each in names if each not in RULES]:
        raise argparse.ArgumentTypeError(f"no rules {unknown}; there are {list(RULES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
