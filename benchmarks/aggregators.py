"""Robust aggregation: how many times the speed of byzfl and of Flower ours has, and how near it is to one read.

    python -m benchmarks.aggregators [--quick] [--json]

Claims, on float32 updates of n clients, one thread, CPU time, f = n/5 (Bulyan: what it tolerates):

    median, trimmed mean       15 times byzfl, 20 times Flower, in every cell
    Krum, Multi-Krum            4 times either, at n ≤ 25 and d = 2.24 million
    nearest-neighbour mixing    6 times byzfl, in every cell
    geometric median, CAF      10 times byzfl, at d = 2.24 million
    mean around the median      4 times byzfl, in every cell; Bulyan 4 times Flower
    memory of mixing n = 100 vectors of 2.24 million: at most 3 GB in all, the updates and the result included
    moonshot: the median and the trimmed mean cost at most 1.5 reads of the data at n ≤ 20

The cost of adaptive attacks (Opt-ALIE, Opt-IPM) is measured by `benchmarks.adaptive_attacks`.

How it is measured. In each cell (n, d) all that take part run in one process and take turns; a ratio is formed in each
turn and the median of those counts, so that a disturbance meets both sides. A bar over several cells is held against
the worst of them. Ours is called once before, which makes its kernels; Flower's messages are built outside of the
timed part. A read of the data is `numpy.sum` over the matrix: it is the floor in units of which ours is shown.

What is not like with like: ours refuses or masks what is not finite and iterates the geometric median to convergence;
byzfl makes three steps. byzfl's CAF follows a random direction, ours the exact eigenvector. At d = 80 thousand
byzfl's geometric median and CAF cost so little that calls and n×n algebra decide; these ratios are shown without bar.
`--quick` leaves out the peers at n = 50 and d = 2.24 million, and takes fewer turns.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Report, finish, need_peer, note, parser, summary

if TYPE_CHECKING:
    from defenses.base import Matrix

__all__ = ["BARS", "CLIENTS", "SIZES", "Ratios", "hold", "main", "measure", "measure_memory"]

CLIENTS = (10, 20, 50)
SIZES = (80_000, 2_240_000)
LARGE = SIZES[-1]
_MOST_GB = 3.0
_MOST_READS = 1.5

Cell = tuple[str, str, int, int]
"""Rule, peer, n, d."""
Ratios = dict[Cell, list[float]]
"""By cell: in each turn, how many times our CPU time the peer's was. The peer "read" is the floor: ours over it."""

# Rules, peer, least ratio, and which cells count.
BARS: tuple[tuple[tuple[str, ...], str, float, Callable[[int, int], bool]], ...] = (
    (("median", "trimmed_mean"), "byzfl", 15.0, lambda n, d: True),
    (("median", "trimmed_mean"), "flower", 20.0, lambda n, d: True),
    (("krum", "multi_krum"), "byzfl", 4.0, lambda n, d: n <= 25 and d == LARGE),
    (("krum", "multi_krum"), "flower", 4.0, lambda n, d: n <= 25 and d == LARGE),
    (("nnm",), "byzfl", 6.0, lambda n, d: True),
    (("geometric_median", "caf"), "byzfl", 10.0, lambda n, d: d == LARGE),
    (("meamed",), "byzfl", 4.0, lambda n, d: True),
    (("bulyan",), "flower", 4.0, lambda n, d: True),
)


def main() -> int:
    """Measure all cells and hold ours against the bars."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
    options = _options()
    if options.memory:
        print(json.dumps(_own_peak_gb(*options.memory)))
        return 0
    need_peer("byzfl", extra="test")
    need_peer("llvmlite", extra="fast")
    logging.getLogger("flwr").setLevel(logging.ERROR)  # a line for each aggregation
    load = os.getloadavg()[0]
    if load > 0.5:
        note(f"the machine is not idle (load {load:.1f}): ratios hold up better than seconds do")
    turns = {SIZES[0]: 5 if options.quick else 15, LARGE: 2 if options.quick else 5}
    report = Report(
        "aggregators",
        {"threads": 1, "dtype": "float32", "clock": "cpu_s", "turns": turns, "quick": options.quick, "load": load},
    )
    peak = measure_memory("nnm", 100, LARGE)
    found: Ratios = {}
    for d in SIZES:
        for n in CLIENTS:
            peers = ("byzfl", "flower") if not (options.quick and n == 50 and d == LARGE) else ()
            if not peers:
                report.figure(f"n={n}, d={d}: peers", "left out by --quick: they take minutes")
            found |= measure(report, n, d, turns=turns[d], peers=peers)
    hold(report, found, peak)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--memory", nargs=3, metavar=("RULE", "N", "D"), help=argparse.SUPPRESS)
    return made.parse_args()


def measure(report: Report, n: int, d: int, *, turns: int, peers: tuple[str, ...]) -> Ratios:
    """The ratios of one cell size, with their figures; a peer that cannot run leaves its reason."""
    import numpy as np
    import torch

    from benchmarks.aggregator_peers import RULES, Peer, byzfl_peer, flower_peer, our_rule

    torch.set_num_threads(1)
    rows: Matrix = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    rows += np.linspace(-1, 1, d, dtype=np.float32)
    made: Mapping[str, Any] = {"byzfl": byzfl_peer, "flower": flower_peer}
    found: Ratios = {}
    for rule in RULES:
        ours = our_rule(rule, rows)
        ours()()
        others = {peer: made[peer](rule, rows) for peer in peers}
        for peer, why in others.items():
            if isinstance(why, str) and not why.startswith(("byzfl has no", "Flower has no")):
                report.figure(f"n={n}, d={d}, {rule}: {peer}", f"not run: {why}")
        taking_part: dict[str, Peer] = {"ours": ours, "read": lambda: lambda: rows.sum()}
        taking_part |= {peer: each for peer, each in others.items() if not isinstance(each, str)}
        seconds: dict[str, list[float]] = {name: [] for name in taking_part}
        for turn in range(turns):
            names = list(taking_part)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                seconds[name].append(_cpu_s(taking_part[name]()))
        for name, spent in seconds.items():
            label = f"n={n}, d={d}, {rule}"
            if name == "ours":
                report.figure(f"{label}: ours, ms", summary([1e3 * each for each in spent]))
                continue
            ratios = [their / our for their, our in zip(spent, seconds["ours"], strict=True)]
            if name == "read":
                ratios = [1 / each for each in ratios]
                report.figure(f"{label}: reads of the data", summary(ratios))
            else:
                report.figure(f"{label}: {name} / ours", summary(ratios))
            found[rule, name, n, d] = ratios
        note(f"n={n}, d={d}, {rule}: " + ", ".join(f"{k} {1e3 * min(v):.1f} ms" for k, v in seconds.items()))
    return found


def _cpu_s(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def hold(report: Report, found: Ratios, peak_gb: float) -> None:
    """Hold the worst cell of each claim against its bar; a claim without a cell stands as missed."""
    for rules, peer, least, counts in BARS:
        for rule in rules:
            cells = {
                cell: statistics.median(ratios)
                for cell, ratios in found.items()
                if cell[0] == rule and cell[1] == peer and counts(*cell[2:])
            }
            worst = min(cells, key=cells.__getitem__, default=None)
            where = f" (worst at n={worst[2]}, d={worst[3]})" if worst else ""
            value = cells[worst] if worst else float("nan")
            report.bar(f"{rule}: {peer} / ours{where}", value=value, bar=least, better="higher")
    report.bar("nnm of n=100, d=2.24 million: peak memory, GB", value=peak_gb, bar=_MOST_GB, better="lower")
    for rule in ("median", "trimmed_mean"):
        reads = [statistics.median(v) for (r, p, n, _), v in found.items() if (r, p) == (rule, "read") and n <= 20]
        value = max(reads, default=float("nan"))
        report.bar(f"moonshot, {rule} at n <= 20: reads of the data", value=value, bar=_MOST_READS, better="lower")


def measure_memory(rule: str, n: int, d: int) -> float:
    """Peak resident size, in GB, of a process that makes n updates and applies the rule."""
    command = [sys.executable, "-m", "benchmarks.aggregators", "--memory", rule, str(n), str(d)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    peak = float(json.loads(done.stdout))
    note(f"{rule}, n={n}, d={d}: peak {peak:.2f} GB")
    return peak


def _own_peak_gb(rule: str, n: str, d: str) -> float:
    import numpy as np

    from benchmarks.aggregator_peers import our_rule

    our_rule(rule, np.random.default_rng(0).standard_normal((int(n), int(d)), dtype=np.float32))()()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise OSError("no VmHWM in /proc/self/status")


if __name__ == "__main__":
    sys.exit(main())
