"""Adaptive attacks: what the search for the worst z or τ costs, beside ByzFL's, against the same rule.

    python -m benchmarks.adaptive_attacks [--quick] [--json]

ByzFL builds the n updates anew and runs the rule for each of 20 trials. Ours reads the honest updates once: whatever
the trials need is in their inner products. Both run in this process, in turn, on one thread and the same float32 data,
and are compared by CPU time. The peer gets torch tensors, its fastest form.

The two rules differ in one convention (Krum's neighbours: n − f − 2 here and in the paper, n − f − 1 there), so the
vectors need not agree; that they do where the conventions agree is a test, not a benchmark.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from attacks.adaptive import OptALIE, OptIPM
from attacks.base import Matrix, View
from benchmarks.report import Report, finish, need_peer, note, parser
from defenses.registry import build
from defenses.trials import trial_of

__all__ = ["compare", "main"]

Work = Callable[[], object]

N, F, EVALS = 10, 2, 20
BAR = 20.0
# (d, repetitions in full, repetitions with --quick). ByzFL needs some 50 s of CPU for one search at 2.24 million.
SIZES = ((80_202, 5, 3), (2_236_682, 3, 1))
RULES = (("nnm", "krum"), ("geometric_median",))


def honest_updates(d: int) -> Matrix:
    """(n − f, d) float32: a common direction and a spread of the same order."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(d, np.float32) + rng.standard_normal((N - F, d), np.float32)


def ours(attack: OptALIE | OptIPM, rule: tuple[str, ...], honest: Matrix) -> Work:
    """The attack of ours against the rule, ready to run."""
    defend = trial_of(build([(name, {}) for name in rule], n=N, f=F))
    view = View(np.zeros((F, honest.shape[1]), np.float32), honest, None, defend, 1, np.random.default_rng(0))
    return lambda: attack.craft(view)


def theirs(attack: OptALIE | OptIPM, rule: tuple[str, ...], honest: Matrix) -> Work:
    """The same of ByzFL's."""
    import byzfl
    from byzfl.aggregators import preaggregators

    last = {"krum": lambda: byzfl.Krum(F), "geometric_median": byzfl.GeometricMedian}[rule[-1]]()
    search = {"opt_alie": byzfl.Optimal_ALittleIsEnough, "opt_ipm": byzfl.Optimal_InnerProductManipulation}[attack.name]
    front = [preaggregators.NNM(F) for _ in rule[:-1]]
    made = search(agg=last, pre_agg_list=front, f=F, evals=EVALS)
    tensor = torch.from_numpy(honest)
    return lambda: made(tensor)


def cpu_s(work: Work) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(attack: OptALIE | OptIPM, rule: tuple[str, ...], honest: Matrix, repetitions: int) -> dict[str, Any]:
    """CPU seconds of both in turn, and the median of the ratios; ours also beside one read of the data."""
    mine, peer = ours(attack, rule, honest), theirs(attack, rule, honest)
    mine()  # the first call of BLAS is not the search
    pairs = [(cpu_s(mine), cpu_s(peer)) for _ in range(repetitions)]
    read = min(cpu_s(lambda: honest.sum()) for _ in range(5))
    return {
        "ours_cpu_s": statistics.median(a for a, _ in pairs),
        "byzfl_cpu_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
        "reads_of_the_data": statistics.median(a for a, _ in pairs) / read,
        "repetitions": repetitions,
    }


def one_thread() -> None:
    """Start this process again with BLAS on one thread, unless it is: BLAS reads the setting when it is loaded."""
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        limits = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **limits})  # noqa: S606  # ourselves, by our own arguments


def main(options: argparse.Namespace) -> int:
    """Measure all; the exit status."""
    need_peer("byzfl", extra="test")
    one_thread()
    torch.set_num_threads(1)
    report = Report(name="adaptive_attacks", settings={"n": N, "f": F, "evals": EVALS, "threads": 1})
    for d, full, quick in SIZES:
        honest = honest_updates(d)
        for rule in RULES:
            for attack in (OptALIE(evals=EVALS), OptIPM(evals=EVALS)):
                if options.quick and d == SIZES[-1][0] and rule == RULES[0] and attack.name == "opt_ipm":
                    continue  # another minute of the peer's, and the search is the same
                name = f"{attack.name}, {'+'.join(rule)}, d={d}"
                note(name)
                found = compare(attack, rule, honest, quick if options.quick else full)
                report.figure(name, found)
                report.bar(f"{name}: times faster than ByzFL", value=found["ratio"], bar=BAR, better="higher")
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main(parser(__doc__).parse_args()))
