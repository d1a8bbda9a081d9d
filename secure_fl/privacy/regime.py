"""What a run's settings promise, as events that an accountant can count.

Sample level. In each round a site makes `dp_steps` steps of DP-SGD; each is one Poisson-subsampled Gaussian
mechanism of noise σ and rate q. Against anybody who sees every model and every update of the run (the coordinator,
other sites, whoever gets the model), the run is (ε, δ)-differentially private for adding or removing one image of
the site, given that the site runs this software and that its number of images is public.

Client level. In each round the coordinator clips each site's update and adds Gaussian noise to their sum: every
site takes part in every round (q = 1). It protects a site against whoever sees the models, not against the
coordinator.
"""

from __future__ import annotations

from functools import lru_cache

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import PrivacyEvent, epsilon, noise_multiplier_for

__all__ = ["client_event", "planned", "promise", "sample_event"]


def planned(config: RunConfig) -> RunConfig:
    """The same settings with the noise that they need, if DP-SGD is on and it is not given.

    Raises:
        ConfigError: the given noise is too little for the budget.
    """
    if not config.dp_at_sites:
        return config
    steps = config.rounds * config.dp_steps
    if not config.dp_noise_multiplier:
        noise = _least_noise(config.dp_epsilon, config.dp_delta, config.dp_sample_rate, steps)
        return config.changed({"dp-noise-multiplier": noise})
    promised = epsilon([sample_event(config, rounds=config.rounds)], config.dp_delta)
    if promised.value > config.dp_epsilon:
        raise ConfigError(
            f"`dp-noise-multiplier` is {config.dp_noise_multiplier:g}, too little for ε = {config.dp_epsilon:g}",
            why=f"{steps} steps would spend ε = {promised.value:.2f}",
            fix="leave dp-noise-multiplier out, or train fewer rounds",
        )
    return config


def sample_event(config: RunConfig, *, rounds: int = 1) -> PrivacyEvent:
    """What `rounds` rounds cost each image of a site."""
    return PrivacyEvent(
        mechanism="poisson-gaussian",
        noise_multiplier=config.dp_noise_multiplier,
        sample_rate=config.dp_sample_rate,
        steps=rounds * config.dp_steps,
    )


def client_event(config: RunConfig, *, rounds: int = 1) -> PrivacyEvent:
    """What `rounds` rounds cost each site."""
    noise = _least_noise(config.dp_epsilon, config.dp_delta, 1.0, config.rounds)
    return PrivacyEvent(mechanism="gaussian", noise_multiplier=noise, sample_rate=1.0, steps=rounds)


def promise(config: RunConfig) -> list[dict[str, str | float]]:
    """What the run guarantees if it ends as planned, one line a unit of privacy; no line: nothing.

    Drawn with `insecure-test-rng` nothing is guaranteed, and each line says so.
    """
    lines: list[dict[str, str | float]] = []
    shared: dict[str, str | float] = {"delta": config.dp_delta, "accountant": "prv", "adjacency": "add-remove"}
    if config.dp_at_sites:
        lines.append(
            {
                "unit": "image",
                "epsilon": epsilon([sample_event(config, rounds=config.rounds)], config.dp_delta).value,
                "noise_multiplier": config.dp_noise_multiplier,
                "sampling": f"Poisson, q = {config.dp_sample_rate:g}",
                "protects_against": "the coordinator, other sites, and whoever sees the models or updates",
                **shared,
            }
        )
    if config.dp_of_sites:
        event = client_event(config, rounds=config.rounds)
        lines.append(
            {
                "unit": "site",
                "epsilon": epsilon([event], config.dp_delta).value,
                "noise_multiplier": event.noise_multiplier,
                "sampling": "none: every site in every round",
                "protects_against": "whoever sees the models; not the coordinator, which sees the updates",
                **shared,
            }
        )
    if config.insecure_test_rng:
        lines = [
            {**line, "not_private": "insecure-test-rng: the noise can be recomputed from the seed"} for line in lines
        ]
    return lines


@lru_cache(maxsize=8)
def _least_noise(target: float, delta: float, sample_rate: float, steps: int) -> float:
    return noise_multiplier_for(target, delta, sample_rate, steps)
