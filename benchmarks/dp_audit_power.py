"""What the audit of differential privacy finds, and how often it cries wolf.

    python -m benchmarks.dp_audit_power [--quick] [--json]

Claims, with as many coordinates as one run of `--preset private` shows in its models (20 rounds × 257 = 5,140):

    noise test       noise of 0.95 of what is claimed is flagged in at least 95 % of the audits,
                     correct noise in fewer than 0.1 %
    Gaussian audit   noise of σ/√2 (a wrong sensitivity) and of σ/2 exceeds its claim, ε = 8, in at least 95 %,
                     correct noise in fewer than 0.1 % (its bound holds at 99.95 %)
    one run          never above the truth; how much of the claim it proves is shown, with no bar: it cannot see σ/2

How it is measured. A simulation of the mechanism: Gaussian noise, canaries by fair coins, T = 60 rounds without
subsampling, δ = 1e-5; 95 % bound for the one-run audit. Each rate is over independent audits. Two more figures come
from the real thing: the sites' engine fed with canaries, once correct and once with noise that is scaled by 0.95.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from audit.leakage.gaussian import audit_gaussian, epsilon_of_gdp, mu_for
from audit.leakage.noise import coordinates_needed, judge_noise, power
from audit.leakage.one_run import audit_one_run
from benchmarks.report import Report, finish, note, parser, summary

__all__ = ["COORDINATES", "RATIOS", "main", "measure_canaries", "measure_engine", "measure_noise"]

COORDINATES = 5_140
ROUNDS, DELTA, CLAIM = 60, 1e-5, 8.0
RATIOS = {"σ": 1.0, "0.95 σ": 0.95, "0.9 σ": 0.9, "σ/√2": math.sqrt(0.5), "σ/2": 0.5}
_FALSE_FLAGS, _POWER = 0.001, 0.95


def main() -> int:
    """Simulate all audits and hold their rates against the bars."""
    options = parser(__doc__ or "").parse_args()
    trials = {"noise": 5_000, "false": 10_000, "canaries": 400} if options.quick else {
        "noise": 20_000, "false": 100_000, "canaries": 5_000,
    }  # fmt: skip
    report = Report(
        "dp_audit_power",
        {"coordinates": COORDINATES, "rounds": ROUNDS, "delta": DELTA, "claim": CLAIM, **trials},
    )
    measure_noise(report, trials["noise"], trials["false"])
    measure_canaries(report, trials["canaries"], trials["false"])
    measure_engine(report)
    return finish(report, options)


def measure_noise(report: Report, trials: int, false_trials: int) -> None:
    """How often the noise test flags, by the true width of the noise."""
    for ratio in (0.95, 0.9, 0.5):
        report.figure(f"coordinates needed to flag {ratio:g} σ in 95 %", coordinates_needed(ratio))
    for name, ratio in RATIOS.items():
        count = false_trials if ratio == 1 else trials
        rng = np.random.default_rng(round(1e6 * ratio))
        raised = sum(bool(judge_noise(rng.standard_normal(COORDINATES) * ratio, 1.0).flags) for _ in range(count))
        report.figure(
            f"noise test at {name}: flagged", {"rate": raised / count, "of": count, "theory": power(COORDINATES, ratio)}
        )
        note(f"noise test at {name}: {raised} of {count}")
        if ratio == 1:
            report.bar("noise test, correct noise: flagged", value=raised / count, bar=_FALSE_FLAGS, better="lower")
        elif name == "0.95 σ":
            report.bar("noise test at 0.95 σ: flagged", value=raised / count, bar=_POWER, better="higher")


def measure_canaries(report: Report, trials: int, false_trials: int) -> None:
    """Both lower bounds of ε, by the true width of the noise; the claim is ε = 8 throughout."""
    mu = mu_for(CLAIM, DELTA)
    for name, ratio in RATIOS.items():
        rng = np.random.default_rng(round(1e6 * ratio) + 1)
        truth = epsilon_of_gdp(mu / ratio, DELTA)
        parametric = _bounds(rng, mu / ratio, false_trials if ratio == 1 else trials, _gaussian_low)
        free = _bounds(rng, mu / ratio, max(20, trials // 20), _one_run_low)
        above = float(np.mean([each > CLAIM for each in parametric]))
        report.figure(f"Gaussian audit at {name}: ε at least", summary(parametric))
        report.figure(f"Gaussian audit at {name}: above the claim", above)
        report.figure(f"one run at {name}: ε at least", summary(free))
        report.figure(f"one run at {name}: above the claim", float(np.mean([each > CLAIM for each in free])))
        note(
            f"canaries at {name}, ε = {truth:.2f}: Gaussian {np.median(parametric):.2f}, one run {np.median(free):.2f}"
        )
        if ratio == 1:
            report.bar("Gaussian audit, correct noise: above the claim", value=above, bar=_FALSE_FLAGS, better="lower")
        elif ratio < 0.9:
            report.bar(f"Gaussian audit at {name}: above the claim", value=above, bar=_POWER, better="higher")
        wrong = float(np.mean([each > truth for each in free]))
        report.bar(f"one run at {name}: above the truth", value=wrong, bar=0.05, better="lower")


def measure_engine(report: Report) -> None:
    """The engine that sites train with, with 5,000 canaries and the noise of ε = 8; and with a bug in its noise."""
    import torch

    from secure_fl.audited.leakage.engine import replay_site
    from secure_fl.privacy import engine
    from secure_fl.privacy.accounting import PrivacyEvent
    from secure_fl.privacy.mechanism import gaussian_mechanism
    from secure_fl.privacy.randomness import Randomness

    torch.set_num_threads(1)
    event = PrivacyEvent("poisson-gaussian", math.sqrt(ROUNDS) / mu_for(CLAIM, DELTA), 1.0, ROUNDS)
    for ratio in (1.0, 0.95):

        def mechanism(
            values: torch.Tensor,
            *,
            sensitivity: float,
            noise_multiplier: float,
            randomness: Randomness,
            scale: float = ratio,
        ) -> torch.Tensor:
            return gaussian_mechanism(
                values, sensitivity=sensitivity, noise_multiplier=noise_multiplier * scale, randomness=randomness
            )

        with patch.object(engine, "gaussian_mechanism", mechanism):
            found = replay_site(
                event,
                1.0,
                canaries=5_000,
                coins=np.random.default_rng(0),
                randomness=Randomness.insecure_for_tests(0),
            )
        judged = judge_noise(found.noise, found.noise_std)
        bound = audit_gaussian(found.scores, found.included, delta=DELTA)
        report.figure(f"engine of the sites at {ratio:g} σ: measured / claimed σ", judged.ratio)
        report.figure(f"engine of the sites at {ratio:g} σ: flags", ", ".join(judged.flags) or "none")
        report.figure(f"engine of the sites at {ratio:g} σ: ε at least, Gaussian audit", bound.epsilon_low)


def _bounds(
    rng: np.random.Generator,
    mu: float,
    trials: int,
    bound: Callable[[npt.NDArray[np.float64], npt.NDArray[np.bool_]], float],
) -> list[float]:
    found = []
    for _ in range(trials):
        coins = rng.random(COORDINATES) < 0.5
        found.append(bound(coins * mu + rng.standard_normal(COORDINATES), coins))
    return found


def _gaussian_low(scores: npt.NDArray[np.float64], coins: npt.NDArray[np.bool_]) -> float:
    return audit_gaussian(scores, coins, delta=DELTA).epsilon_low


def _one_run_low(scores: npt.NDArray[np.float64], coins: npt.NDArray[np.bool_]) -> float:
    return audit_one_run(scores, coins, delta=DELTA).epsilon_low


if __name__ == "__main__":
    sys.exit(main())
