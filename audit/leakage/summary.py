"""What was claimed, beside what was measured: lower bounds of ε and tests of the noise against the accountant's ε.

    violated     a bound that holds with probability 0.999 lies above the claimed ε, or the noise is smaller than
                 claimed, or not Gaussian, which the accountant took for granted
    consistent   something was tested, and none of that happened: no proof that the claim holds
    not tested   nothing is claimed, or nothing was measured

Bounds of less confidence are shown and decide nothing: an audit that is right 19 times in 20 raises a false alarm every
twentieth time. Noise that is larger than claimed breaks no promise; it is remarked upon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from audit.findings import Finding, Place
from audit.leakage.noise import TOO_LARGE, TOO_SMALL, WRONG_SHAPE, NoiseTest

__all__ = ["DECISIVE", "Assessment", "Claim", "LowerBound", "PrivacyVerdict", "assess"]

DECISIVE = 0.999
"""Least confidence of a bound that decides."""


class PrivacyVerdict(StrEnum):
    """What the measurements say of the claim."""

    CONSISTENT = "consistent"
    VIOLATED = "violated"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Claim:
    """`steps` steps of the Gaussian mechanism of noise multiplier σ, clip C and sampling rate q are (ε, δ)-DP for one
    `unit`, says the accountant."""

    unit: str  # "image" or "site"
    noise_multiplier: float
    clip: float
    sample_rate: float
    steps: int
    delta: float
    epsilon: float

    def __post_init__(self) -> None:
        positive = (self.noise_multiplier, self.clip, self.sample_rate, self.steps, self.delta)
        if not all(0 < each < math.inf for each in positive) or self.sample_rate > 1 or self.delta >= 1:
            raise ValueError(f"{self} describes no mechanism")
        if not self.epsilon >= 0:
            raise ValueError(f"ε = {self.epsilon} is no claim")


@dataclass(frozen=True)
class LowerBound:
    """ε is at least `epsilon`, with probability `confidence`, if what `assumes` names holds."""

    method: str
    epsilon: float
    confidence: float
    assumes: str
    detail: str = ""


@dataclass(frozen=True)
class Assessment:
    """`findings`: what breaks the claim; `remarks`: what differs from it without breaking it."""

    verdict: PrivacyVerdict
    claim: Claim | None
    bounds: tuple[LowerBound, ...]
    noise: Mapping[str, NoiseTest]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    assumes: tuple[str, ...]


def assess(claim: Claim | None, bounds: Sequence[LowerBound], noise: Mapping[str, NoiseTest]) -> Assessment:
    """Judge the measurements; `noise` by where it was measured, as "updates of the run".

    Raises:
        ValueError: a bound is negative or not a number, or its confidence is not between 0 and 1.
    """
    for bound in bounds:
        if not bound.epsilon >= 0 or not 0 < bound.confidence < 1:
            raise ValueError(f"{bound} is no bound")
    assumes = tuple(f"{each.method}: {each.assumes}" for each in bounds)
    assumes += tuple(f"noise, {where}: {each.assumes}" for where, each in noise.items())
    findings = () if claim is None else (*_exceeding(claim, bounds), *_wrong_noise(noise))
    if claim is None or not (bounds or noise):
        verdict = PrivacyVerdict.NOT_TESTED
    else:
        verdict = PrivacyVerdict.VIOLATED if findings else PrivacyVerdict.CONSISTENT
    return Assessment(verdict, claim, tuple(bounds), dict(noise), findings, _remarks(claim, bounds, noise), assumes)


def _exceeding(claim: Claim, bounds: Sequence[LowerBound]) -> list[Finding]:
    return [
        Finding(
            "privacy/epsilon-exceeded",
            f"{each.method}: ε is at least {each.epsilon:.2f} at {each.confidence:.1%} confidence, claimed is"
            f" {claim.epsilon:.2f} for each {claim.unit}",
        )
        for each in bounds
        if each.confidence >= DECISIVE and each.epsilon > claim.epsilon
    ]


def _wrong_noise(noise: Mapping[str, NoiseTest]) -> list[Finding]:
    found = []
    for where, test in noise.items():
        if TOO_SMALL in test.flags:
            low, high = test.ratio_interval
            message = f"{where}: the noise is {test.ratio:.3f} times the claimed σ ({low:.3f} to {high:.3f})"
            found.append(Finding(f"privacy/{TOO_SMALL}", message, Place(path=where)))
        if WRONG_SHAPE in test.flags:
            message = f"{where}: the noise is not Gaussian, as the accountant assumes"
            found.append(Finding(f"privacy/{WRONG_SHAPE}", message, Place(path=where)))
    return found


def _remarks(claim: Claim | None, bounds: Sequence[LowerBound], noise: Mapping[str, NoiseTest]) -> tuple[str, ...]:
    if claim is None:
        return ("no differential privacy is claimed",)
    weak = tuple(
        f"{each.method}: a bound of {each.confidence:.0%} confidence lies above the claim, which decides nothing"
        for each in bounds
        if each.confidence < DECISIVE and each.epsilon > claim.epsilon
    )
    large = tuple(
        f"{where}: the noise is {test.ratio:.3f} times the claimed σ: private, but not as described"
        for where, test in noise.items()
        if TOO_LARGE in test.flags
    )
    return weak + large
