"""How much noise a budget needs, and what it then costs by each accountant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import Epsilon, PrivacyEvent, epsilons, noise_multiplier_for

__all__ = ["Plan", "plan"]


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
