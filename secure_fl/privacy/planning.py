"""How much noise a budget needs, and what it then costs by each accountant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import Epsilon, PrivacyEvent, epsilons, noise_multiplier_for
from secure_fl.protection import FEWEST_SITES, threshold_of

__all__ = ["Plan", "Shares", "plan", "shares_of"]


@dataclass(frozen=True)
class Plan:
    """DP-SGD that keeps `target_epsilon` for each image; `epsilon`: what it comes to, by accountant."""

    noise_multiplier: float
    sample_rate: float
    steps: int
    delta: float
    target_epsilon: float
    epsilon: dict[str, Epsilon]

    def to_mapping(self) -> dict[str, Any]:
        """For machines."""
        return {
            "noise_multiplier": self.noise_multiplier,
            "sample_rate": self.sample_rate,
            "steps": self.steps,
            "delta": self.delta,
            "target_epsilon": self.target_epsilon,
            "epsilon": {name: each.value for name, each in self.epsilon.items()},
            "notes": {name: each.note for name, each in self.epsilon.items() if each.note},
            "unit": "image",
            "adjacency": "add-remove",
            "sampling": "poisson",
        }


@dataclass(frozen=True)
class Shares:
    """Noise that several sites make together (`distributed`), in units of the clip.

    honest: m, how many stay and are honest at the least; each: standard deviation of a site's share; all_alive: of the
    sum if nobody drops out.
    """

    honest: int
    each: float
    all_alive: float

    def to_mapping(self) -> dict[str, float]:
        """For machines."""
        return asdict(self)


def shares_of(noise_multiplier: float, *, sites: int, colluders: int = 0) -> Shares:
    """How each of `sites` sites contributes to noise of `noise_multiplier`, if so many of them may collude.

    Raises:
        ConfigError: fewer sites than secure aggregation takes, or nobody honest is sure to stay.
    """
    if sites < FEWEST_SITES:
        raise ConfigError(f"there are {sites} sites", fix=f"noise in shares takes at least {FEWEST_SITES}")
    honest = threshold_of(sites) - colluders
    if colluders < 0 or honest < 1:
        raise ConfigError(f"{colluders} of {sites} sites may collude", fix=f"assume 0 to {threshold_of(sites) - 1}")
    each = noise_multiplier / math.sqrt(honest)
    return Shares(honest, each, each * math.sqrt(sites))


def plan(
    *,
    epsilon: float,
    delta: float,
    samples: int,
    batch_size: float,
    steps: int,
    spent: Iterable[PrivacyEvent] = (),
) -> Plan:
    """The least noise with which `steps` steps keep ε, planned by PRV.

    samples: the images of the site. batch_size: expected images in a step. spent: what these images have cost.

    Raises:
        ConfigError: a value has no meaning, δ is not below 1/samples, or no noise is enough.
    """
    if samples < 1:
        raise ConfigError(f"there are {samples} samples", fix="give a whole number of at least 1")
    if not 0 < batch_size <= samples:
        raise ConfigError(f"the batch size is {batch_size:g} of {samples} samples", fix="give 1 to the samples")
    if steps < 1:
        raise ConfigError(f"the number of steps is {steps}", fix="give a whole number of at least 1")
    if not 0 < delta < 1 / samples:
        raise ConfigError(
            f"δ is {delta:g} for {samples} samples",
            why="with δ of 1/samples or more, publishing one image outright would be allowed",
            fix=f"give a number above 0 and below {1 / samples:.2g}",
        )
    before, rate = list(spent), batch_size / samples
    noise = noise_multiplier_for(epsilon, delta, rate, steps, spent=before)
    event = PrivacyEvent("poisson-gaussian", noise, rate, steps)
    return Plan(noise, rate, steps, delta, epsilon, epsilons([*before, event], delta))
