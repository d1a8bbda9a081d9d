"""What a run's settings promise, as events that an accountant can count.

Sample level. In each round a site makes `dp_steps` steps of DP-SGD; each is one Poisson-subsampled Gaussian
mechanism of noise σ and rate q. Against anybody who sees every model and every update of the run (the coordinator,
other sites, whoever gets the model), the run is (ε, δ)-differentially private for adding or removing one image of
the site, given that the site runs this software and that its number of images is public.

Client level. In each round the coordinator clips each site's update and adds Gaussian noise to their sum: every
site takes part in every round (q = 1). It protects a site against whoever sees the models, not against the
coordinator.

Distributed. Under secure aggregation the sites add the noise themselves, each a share, and the coordinator sees sums
only (`distributed`): of clipped updates (client level), or of the clipped gradients of one step of DP-SGD over all
sites' images. The same events count both; what they protect against then includes the coordinator, if as many sites
are honest and stay as the noise is made for. A thousandth of δ is set aside for what the sampling of noise adds to it.
"""

from __future__ import annotations

from functools import lru_cache

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import PrivacyEvent, epsilon, noise_multiplier_for
from secure_fl.privacy.distributed import slack
from secure_fl.protection import threshold_of

__all__ = ["accounted_delta", "client_event", "planned", "promise", "sample_event", "spent_after"]

# The share of δ that is kept for the slack of distributed noise.
_SET_ASIDE = 1e-3


def planned(config: RunConfig) -> RunConfig:
    """The same settings with the noise that they need, if DP-SGD is on and it is not given.

    Raises:
        ConfigError: the given noise is too little for the budget, or ε is too large for noise in shares.
    """
    delta = accounted_delta(config)
    if not config.dp_at_sites:
        return config
    steps = config.rounds * config.dp_steps
    if not config.dp_noise_multiplier:
        noise = _least_noise(config.dp_epsilon, delta, config.dp_sample_rate, steps)
        return config.changed({"dp-noise-multiplier": noise})
    promised = epsilon([sample_event(config, rounds=config.rounds)], delta)
    if promised.value > config.dp_epsilon:
        raise ConfigError(
            f"`dp-noise-multiplier` is {config.dp_noise_multiplier:g}, too little for ε = {config.dp_epsilon:g}",
            why=f"{steps} steps would spend ε = {promised.value:.2f}",
            fix="leave dp-noise-multiplier out, or train fewer rounds",
        )
    return config


def accounted_delta(config: RunConfig) -> float:
    """The δ at which a run's events are counted; what distributed noise adds beside fills it up to `dp-delta`.

    Raises:
        ConfigError: it would add more than is set aside.
    """
    if not config.dp_distributed:
        return config.dp_delta
    reserved = config.dp_delta * _SET_ASIDE
    if slack(config.rounds, config.dp_epsilon) > reserved:
        raise ConfigError(
            f"`dp-epsilon` is {config.dp_epsilon:g} with `dp-delta` {config.dp_delta:g}, under noise in shares",
            why=f"what sampling and rounding add to δ grows as e^ε, and exceeds {_SET_ASIDE:g} of it",
            fix="give a smaller dp-epsilon, or a larger dp-delta",
        )
    return config.dp_delta - reserved


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
    noise = _least_noise(config.dp_epsilon, accounted_delta(config), 1.0, config.rounds)
    return PrivacyEvent(mechanism="gaussian", noise_multiplier=noise, sample_rate=1.0, steps=rounds)


def spent_after(config: RunConfig, rounds: int) -> dict[str, float]:
    """ε after so many rounds, as `round-finished` names it: of each image, of each site; empty without privacy.

    By the settings alone, for a coordinator that sees sums only; each site's ledger says what that site has spent.
    """
    spent, delta = {}, accounted_delta(config)
    if config.dp_at_sites:
        spent["epsilon"] = epsilon([sample_event(config, rounds=rounds)] if rounds else [], delta).value
    if config.dp_of_sites:
        spent["client_epsilon"] = epsilon([client_event(config, rounds=rounds)] if rounds else [], delta).value
    return spent


def promise(config: RunConfig) -> list[dict[str, str | float]]:
    """What the run guarantees if it ends as planned, one line a unit of privacy; no line: nothing.

    Drawn with `insecure-test-rng` nothing is guaranteed, and each line says so.
    """
    lines: list[dict[str, str | float]] = []
    delta = accounted_delta(config)
    shared: dict[str, str | float] = {"delta": config.dp_delta, "accountant": "prv"}
    if config.dp_at_sites:
        in_shares = _in_shares(config) if config.dp_sgd == "distributed" else {}
        lines.append(
            {
                "unit": "image",
                "epsilon": epsilon([sample_event(config, rounds=config.rounds)], delta).value,
                "noise_multiplier": config.dp_noise_multiplier,
                "sampling": f"Poisson, q = {config.dp_sample_rate:g}",
                "protects_against": "the coordinator, other sites, and whoever sees the models or updates",
                "adjacency": "add-remove",
                **shared,
                **in_shares,
            }
        )
    if config.dp_of_sites:
        event = client_event(config, rounds=config.rounds)
        trusted = "whoever sees the models; not the coordinator, which sees the updates"
        in_shares = _in_shares(config) if config.dp_distributed else {}
        lines.append(
            {
                "unit": "site",
                "epsilon": epsilon([event], delta).value,
                "noise_multiplier": event.noise_multiplier,
                "sampling": "none: every site in every round",
                "protects_against": trusted,
                "adjacency": "zero-out" if config.dp_distributed else "add-remove",
                **shared,
                **in_shares,
            }
        )
    if config.insecure_test_rng:
        lines = [
            {**line, "not_private": "insecure-test-rng: the noise can be recomputed from the seed"} for line in lines
        ]
    return lines


def _in_shares(config: RunConfig) -> dict[str, str | float]:
    """What differs where sites add the noise in shares."""
    return {
        "protects_against": "the coordinator, other sites, and whoever sees the models or the sums of all sites",
        "assumes": f"of the {threshold_of(config.sites)} or more of {config.sites} sites that stay to the end of a "
        f"round, at most {config.secagg_colluders} collude with the coordinator",
    }


@lru_cache(maxsize=8)
def _least_noise(target: float, delta: float, sample_rate: float, steps: int) -> float:
    return noise_multiplier_for(target, delta, sample_rate, steps)
