"""What a list of mechanisms costs: ε at a given δ, by two accountants and a third where it is installed.

What happened is kept apart from how it is counted: an event describes its mechanism completely, ε is always
derived. Each event is one or more steps of the Gaussian mechanism on records that were drawn by Poisson sampling,
under add-or-remove adjacency (Mironov, Talwar, Zhang 2019, arXiv:1908.10530, section 2).

    prv   numerical composition of privacy random variables (Gopi et al. 2021, arXiv:2106.02848): an upper bound
          within 0.01 of the truth; what we report
    rdp   Rényi accountant (Mironov 2017): an upper bound, 7 to 13 % looser; stands in where PRV fails
    pld   Google's privacy loss distributions, where `dp-accounting` is installed: an independent check

The accountant by central limit theorem (GDP) under-reports by up to a fifth and is not offered.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from secure_fl.errors import ConfigError
from secure_fl.privacy.renyi import renyi_epsilon

__all__ = ["ACCOUNTANTS", "Epsilon", "PrivacyEvent", "epsilon", "epsilons", "noise_multiplier_for"]

ACCOUNTANTS = ("prv", "rdp", "pld")
MECHANISMS = ("poisson-gaussian", "gaussian")

# How far PRV's answer may lie from the truth, which it adds to it; Opacus's default.
_PRV_EPSILON_ERROR = 0.01
# Below, the rounding of its Fourier transform exceeds δ: at 1e-12 its bound was found to lie under PLD's.
_PRV_LEAST_DELTA = 1e-10
# Below, its quadrature fails after minutes.
_PRV_LEAST_NOISE = 0.2
# Points of its grid, 8 bytes each, several times over: more would exhaust a small machine, as would PLD's.
_MOST_POINTS = 2e7
# Above, they overflow after minutes; no such ε protects anybody.
_MOST_LOSS = 300.0
_PLD_MESH = 1e-4
# Relative precision to which noise is planned; it is rounded up.
_NOISE_PRECISION = 1e-3
_MOST_NOISE = 1e5
_LEAST_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """`steps` times: records drawn with probability `sample_rate`, a sum of sensitivity 1, noise N(0, σ²).

    mechanism: "poisson-gaussian", or "gaussian" for the same without sampling (rate 1).

    Raises:
        ConfigError: a value has no meaning.
    """

    mechanism: str
    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise ConfigError(f"unknown mechanism {self.mechanism!r}", fix=f"one of: {', '.join(MECHANISMS)}")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ConfigError(f"the noise multiplier is {self.noise_multiplier}", fix="give a number above 0")
        if not 0 < self.sample_rate <= 1:
            raise ConfigError(f"the sample rate is {self.sample_rate}", fix="give a number above 0, at most 1")
        if self.mechanism == "gaussian" and self.sample_rate != 1:
            raise ConfigError(f"the sample rate is {self.sample_rate} without sampling", fix="give 1")
        if type(self.steps) is not int or self.steps < 1:
            raise ConfigError(f"the number of steps is {self.steps!r}", fix="give a whole number of at least 1")


@dataclass(frozen=True, slots=True)
class Epsilon:
    """`value`: ε; `accountant`: who derived it; `note`: why it is not the one that was asked."""

    value: float
    accountant: str
    note: str = ""


def epsilon(events: Iterable[PrivacyEvent], delta: float, accountant: str = "prv") -> Epsilon:
    """What the events cost together; 0 without events. Events compose in any order.

    Raises:
        ConfigError: δ is not between 0 and 1, or the accountant is unknown or not installed.
    """
    if not 0 < delta < 1:
        raise ConfigError(f"δ is {delta}", fix="give a number between 0 and 1, far below one over the images")
    if accountant not in ACCOUNTANTS:
        raise ConfigError(f"no accountant {accountant!r}", fix=f"one of: {', '.join(ACCOUNTANTS)}")
    merged = _merged(events)
    return _epsilon(merged, delta, accountant) if merged else Epsilon(0.0, accountant)


def epsilons(events: Iterable[PrivacyEvent], delta: float) -> dict[str, Epsilon]:
    """The same by every accountant that is installed."""
    listed = list(events)
    installed = [name for name in ACCOUNTANTS if name != "pld" or _pld_installed()]
    return {name: epsilon(listed, delta, name) for name in installed}


def noise_multiplier_for(
    target_epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    *,
    spent: Iterable[PrivacyEvent] = (),
    accountant: str = "prv",
) -> float:
    """The least σ, to 0.1 %, with which `steps` steps on top of what is spent cost at most `target_epsilon`.

    Raises:
        ConfigError: the target is not positive.
        ConfigError: no noise is enough, because what is spent leaves nothing.
    """
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise ConfigError(f"the target ε is {target_epsilon}", fix="give a number above 0")
    before = list(spent)

    def costs(noise: float) -> float:
        return epsilon([*before, PrivacyEvent("poisson-gaussian", noise, sample_rate, steps)], delta, accountant).value

    if before and epsilon(before, delta, accountant).value >= target_epsilon:
        raise ConfigError(
            f"nothing is left of ε = {target_epsilon:g} at δ = {delta:g}",
            why=f"ε = {epsilon(before, delta, accountant).value:.3f} is spent already",
            fix="give a larger ε, or other images",
        )
    # Rényi bounds cost a hundredth of the others and lead close to their answer.
    start = 1.0
    if accountant != "rdp":
        with suppress(ConfigError):
            start = noise_multiplier_for(target_epsilon, delta, sample_rate, steps, spent=before, accountant="rdp")
    high, factor = start, 1.1 if start != 1.0 else 2.0
    while costs(high) > target_epsilon:
        high *= factor
        if high > _MOST_NOISE:
            raise ConfigError(
                f"no noise keeps ε = {target_epsilon:g} at δ = {delta:g}",
                why=f"accountants add their own error, and {accountant}'s alone is more than what is left",
                fix="give a larger ε",
            )
    low = high / factor
    while costs(low) <= target_epsilon and low > _LEAST_NOISE:
        high, low = low, low / factor
    while high / low > 1 + _NOISE_PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if costs(middle) <= target_epsilon else (middle, high)
    return high


def _merged(events: Iterable[PrivacyEvent]) -> tuple[tuple[float, float, int], ...]:
    """(σ, q, steps) with equal (σ, q) summed: PRV's cost grows with the number of different ones."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sample_rate)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(sorted((noise, rate, count) for (noise, rate), count in steps.items()))


@lru_cache(maxsize=1024)
def _epsilon(merged: tuple[tuple[float, float, int], ...], delta: float, accountant: str) -> Epsilon:
    bound = renyi_epsilon(merged, delta)
    if accountant == "rdp":
        return Epsilon(bound, "rdp")
    # The others discretise; with very little noise their grids overflow or their errors swallow the answer.
    name = accountant.upper()
    try:
        value = _prv(merged, delta) if accountant == "prv" else _pld(merged, delta)
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        return Epsilon(bound, "rdp", f"{name} failed, RDP stands in: {error}")
    if not math.isfinite(value) or value < 0:
        return Epsilon(bound, "rdp", f"{name} gave {value}, RDP stands in")
    # All are upper bounds; the smaller one holds. PLD is there to compare, so its own number is shown.
    if accountant == "prv" and bound < value:
        return Epsilon(bound, "rdp", "RDP is the tighter bound here")
    return Epsilon(value, accountant)


def _prv(merged: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """The upper bound of Opacus's accountant, put together from its parts: how wide the grid has to be (Gopi et al.,
    remark 5.6) is a matter of Rényi bounds, which we have already."""
    from opacus.accountants.analysis import prv

    if delta < _PRV_LEAST_DELTA:
        raise ValueError(f"δ is below {_PRV_LEAST_DELTA:g}, where rounding errors exceed it")
    if any(noise < _PRV_LEAST_NOISE for noise, _, _ in merged):
        raise ValueError(f"a noise multiplier is below {_PRV_LEAST_NOISE:g}")
    counts, missed = [count for _, _, count in merged], delta / 1000
    mesh = _PRV_EPSILON_ERROR / math.sqrt(sum(counts) * math.log(12 / missed) / 2)
    _check_grid(renyi_epsilon(merged, missed), mesh)
    alone = [renyi_epsilon([(noise, rate, 1)], missed / (8 * sum(counts))) for noise, rate, _ in merged]
    width = max(renyi_epsilon(merged, missed / 4), *alone, _PRV_EPSILON_ERROR) + 3
    domain = prv.Domain.create_aligned(-width, width, mesh)
    variables = (prv.PoissonSubsampledGaussianPRV(rate, noise) for noise, rate, _ in merged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # logarithms below the support, which it then masks
        truncated = (prv.TruncatedPrivacyRandomVariable(each, domain.t_min, domain.t_max) for each in variables)
        discrete = [prv.discretize(each, domain) for each in truncated]
        composed = prv.compose_heterogeneous(dprvs=discrete, num_self_compositions=counts)
        _, _, upper = composed.compute_epsilon(delta, missed, _PRV_EPSILON_ERROR)
    return float(upper)


def _pld(merged: tuple[tuple[float, float, int], ...], delta: float) -> float:
    if not _pld_installed():
        raise ConfigError("the accountant pld is not installed", fix="pip install dp-accounting")
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    _check_grid(renyi_epsilon(merged, delta), _PLD_MESH)
    accountant = PLDAccountant(value_discretization_interval=_PLD_MESH)
    for noise, rate, steps in merged:
        accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps)
    return float(accountant.get_epsilon(delta))


def _check_grid(most_loss: float, mesh: float) -> None:
    """Refuse a grid over losses between plus and minus `most_loss` that does not fit a small machine."""
    if not most_loss < _MOST_LOSS:
        raise ValueError(f"losses up to {most_loss:.3g} overflow its grid")
    if not 2 * most_loss / mesh < _MOST_POINTS:
        raise ValueError(f"its grid would have {2 * most_loss / mesh:.1e} points")


def _pld_installed() -> bool:
    return importlib.util.find_spec("dp_accounting") is not None
