"""What one DP-SGD over all sites' images gains over DP-SGD at each site, at equal ε for each image; and what it costs.

    python -m benchmarks.distributed_dp [--quick] [--json]

Accuracy: the preset `private` (five sites share scikit-learn's digits by Dirichlet(0.5); tanh CNN; δ = 1e-4), whole
runs under secure aggregation on the local grid, all with 60 steps of DP-SGD, the preset's learning rate and momentum:

    local          20 rounds of 3 steps at each site, each with all of the noise; updates are averaged
    distributed    60 rounds of one step over all sites' images; each site adds its share of the noise

Neither was tuned for here beyond what the preset is, which was made for `local`. Three seeds (`--quick`: one) move data
split and first weights; noise is fresh each time.

Cost: CPU milliseconds of a site's share of noise, and of its whole encoding, for 2.24 million coordinates; the ratio
of measured to planned variance in the sum of m shares; and by how much rounding inflates the sensitivity.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.private_accuracy import run_once
from benchmarks.report import Report, finish, note, parser, summary
from secure_fl.privacy.distributed import SharedNoise
from secure_fl.secagg.noise import DiscreteGaussian
from secure_fl.secagg.noisy import NoisyFixedPoint
from secure_fl.secagg.ring import Ring

__all__ = ["EPSILONS", "MODES", "main"]

MODES = {
    "local": ("secagg=full",),
    "distributed": ("secagg=full", "dp-sgd=distributed", "rounds=60"),
}
EPSILONS = (8.0, 2.0, 1.0)
SEEDS = (0, 1, 2)
COORDINATES = 2_240_000


def main() -> int:
    """Run all; the bar is that the trouble of a step together is worth it."""
    options = parser(__doc__ or "").parse_args()
    seeds = SEEDS[:1] if options.quick else SEEDS
    report = Report("distributed_dp", {"preset": "private", "seeds": list(seeds), "quick": options.quick})
    _costs(report)
    for target in EPSILONS:
        means = {}
        for mode, assignments in MODES.items():
            runs = [run_once(*assignments, f"dp-epsilon={target}", f"seed={seed}") for seed in seeds]
            accuracy = [each[0] for each in runs]
            means[mode] = float(np.mean(accuracy))
            report.figure(f"ε = {target:g}, {mode}: accuracy by seed", accuracy)
            spent = max(each[1] for each in runs)
            report.bar(f"ε = {target:g}, {mode}: ε spent", value=spent, bar=target, better="lower")
            note(f"ε = {target:g}, {mode}: {', '.join(f'{each:.1%}' for each in accuracy)}")
        gained = means["distributed"] - means["local"]
        report.bar(f"ε = {target:g}: accuracy gained over local", value=gained, bar=0.0, better="higher")
    return finish(report, options)


def _costs(report: Report) -> None:
    """What a site's noise takes, and how well it fits."""
    for sigma in (30, 300, 3000, 1e5, 1e6):
        noise = DiscreteGaussian(float(sigma) ** 2)
        noise.sample(1, os.urandom(32))  # builds the tables
        times = _cpu_ms(partial(noise.sample, COORDINATES, _key()))
        report.figure(f"noise of σ = {sigma:g} steps, CPU ms", summary(times))
    shared = SharedNoise(noise_multiplier=1.0, dimension=COORDINATES, honest=4)
    codec = NoisyFixedPoint(Ring(32), 1.0, shared.levels, DiscreteGaussian(shared.share), shared.longest_squared)
    update, out = np.full(COORDINATES, 1 / math.sqrt(COORDINATES), np.float32), np.empty(COORDINATES, np.uint32)
    times = _cpu_ms(partial(codec.encode, update, 1, out, rounding=_key()))
    report.figure("encoding with noise, CPU ms", summary(times))
    total, still = np.zeros(COORDINATES, np.uint32), np.zeros(COORDINATES, np.float32)
    for _ in range(shared.honest):
        codec.encode(still, 1, out, rounding=_key())
        total += out
    ratio = float(total.view(np.int32).astype(np.float64).var()) / shared.variance
    report.bar("variance of m shares, off the planned one", value=abs(ratio - 1), bar=0.02, better="lower")
    report.bar("sensitivity inflated by rounding", value=shared.inflation, bar=0.01, better="lower")
    note(f"variance of m shares over the planned one: {ratio:.5f}; inflation {shared.inflation:.2e}")


def _cpu_ms(action: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(5):
        began = time.process_time()
        action()
        times.append(1e3 * (time.process_time() - began))
    return times


def _key() -> bytes:
    return os.urandom(32)


if __name__ == "__main__":
    sys.exit(main())
