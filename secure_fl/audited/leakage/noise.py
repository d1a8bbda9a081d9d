"""The noise inside a real run: in the sums over classes of the last layer, which no image moves (`class_sums`).

Under DP-SGD a site's update is −lr/(qN) times the noised sums of its steps, gathered by momentum; plain averaging
weights the sites. Under client-level DP the coordinator's step is the noised mean. In both cases settings and record
say what standard deviation each sum must have. Nothing of the run is repeated: the models are those of its record.

Where sites add noise in shares, as many shares as there were survivors are in a step; from steps with momentum the
noised gradients are worked out first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from audit.leakage.class_sums import class_sums, momentum_gain
from audit.leakage.noise import LEAST_COORDINATES, NoiseTest, judge_noise
from secure_fl.app.distributed_privacy import shared_noise
from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.data import site_sizes
from secure_fl.errors import IntegrityError
from secure_fl.models import VectorSpec
from secure_fl.privacy.regime import client_event, planned
from secure_fl.protection import threshold_of
from secure_fl.runs import RunRecord
from secure_fl.runs.rows import RoundRow

__all__ = ["Updates", "noise_in_models", "noise_in_updates"]

Vector = np.ndarray[Any, Any]
Updates = Mapping[tuple[int, str], Vector]
"""What each site sent, (d,) float32, by round and site: as an auditor reads it off the wire."""


def noise_in_models(record: RunRecord, spec: VectorSpec) -> NoiseTest | str:
    """The noise in the differences of the run's successive models, held against its settings; or why there is none.

    spec: of the run's network.
    """
    config = planned(record.config)
    reason = _untestable(config)
    if reason:
        return reason
    models = {each.round: record.load_checkpoint(each) for each in record.checkpoints()}
    rows = {row.round: row for row in record.rounds()}
    steps = {
        after: models[after].astype(np.float64) - models[before]
        for before, after in pairwise(sorted(models))
        if after == before + 1
    }
    if config.dp_distributed:
        return _judged(_in_shares(config, spec, steps, rows))
    return _judged([_last_layer_sums(step, spec) / _model_std(config, rows[round]) for round, step in steps.items()])


def noise_in_updates(record: RunRecord, spec: VectorSpec, updates: Updates) -> NoiseTest | str:
    """The same for the updates as the sites sent them: more coordinates, and before any averaging or robust rule."""
    config = planned(record.config)
    if not config.dp_at_sites:
        return "the sites do not train by DP-SGD"
    if config.attack:
        return "simulated attackers do not follow the mechanism"
    samples = {(row.round, site.site): site.samples for row in record.rounds() for site in row.sites}
    sums = []
    for (round, site), update in updates.items():
        count = samples.get((round, site))
        if count:
            sums.append(_last_layer_sums(update.astype(np.float64), spec) / _site_std(config, round, count))
    return _judged(sums)


def _untestable(config: RunConfig) -> str:
    """Why the differences of models do not show the noise; empty if they do."""
    if config.dp_at_sites == config.dp_of_sites:
        return "both sites and coordinator add noise" if config.dp_at_sites else "the run has no differential privacy"
    if config.attack:
        return "simulated attackers do not follow the mechanism"
    if config.dp_at_sites and config.defense != FEDAVG:
        return f"{config.defense} is not a weighted mean, so the noise of a model is not known from its settings"
    if config.weight_decay:
        return "weight decay moves the sums over classes"
    if config.secagg != "none" and config.remote_sites:
        return "the record does not say how many images remote sites have"
    return ""


def _last_layer_sums(update: Vector, spec: VectorSpec) -> Vector:
    (_, weight), (_, bias) = spec.entries[-2:]  # the classifier is last in every network of ours
    if len(weight) != 2 or len(update) != spec.size:
        raise IntegrityError(f"an update of {len(update)} numbers does not end in the classifier of {spec.size}")
    start = spec.size - bias[0]
    return class_sums(update[start - math.prod(weight) : start].reshape(weight), update[start:])


def _model_std(config: RunConfig, row: RoundRow) -> float:
    if config.dp_of_sites:
        return client_event(config).noise_multiplier * config.dp_client_clip / config.sites
    counted = [(float(site.weight or 0), site.samples or 0) for site in row.sites]
    if config.secagg != "none":  # no reply of a site's is seen, and images are its weight
        counted = [(count, count) for count in _images(config, row)]
    total = sum(weight for weight, _ in counted)
    parts = (weight / total * _site_std(config, row.round, samples) for weight, samples in counted)
    return math.sqrt(sum(part**2 for part in parts))


def _in_shares(
    config: RunConfig, spec: VectorSpec, steps: Mapping[int, Vector], rows: Mapping[int, RoundRow]
) -> list[Vector]:
    """The sums of each step in units of the noise that the survivors' shares make."""
    noise = shared_noise(config, quorum=threshold_of(config.sites), parameters=spec.size)
    clip = config.dp_client_clip if config.dp_of_sites else config.dp_clip
    share = math.sqrt(noise.share) * clip / noise.levels
    sums = []
    for round, step in steps.items():
        survivors = len(rows[round].accepted)
        if not _stepped(rows[round]):
            continue
        std = share * math.sqrt(survivors)
        if config.dp_of_sites:
            sums.append(_last_layer_sums(step, spec) / (std / survivors))
        elif round == 1 or (round - 1 in steps and _stepped(rows[round - 1])):  # else its momentum is not known
            velocity = -step / config.lr_in(round)
            if round > 1:
                velocity += config.momentum * steps[round - 1] / config.lr_in(round - 1)
            drawn = config.dp_sample_rate * sum(_images(config, rows[round]))
            sums.append(_last_layer_sums(velocity, spec) / (std / drawn))
    return sums


def _stepped(row: RoundRow) -> bool:
    """Whether the model moved by what the round brought."""
    return bool(row.accepted) and row.rolled_back is None


def _images(config: RunConfig, row: RoundRow) -> list[int]:
    """How many images each accepted site has."""
    return [count for index, count in enumerate(site_sizes(config)) if f"site-{index}" in row.accepted]


def _site_std(config: RunConfig, round: int, samples: int) -> float:
    """Of each coordinate of the noise in one site's update."""
    step = config.dp_noise_multiplier * config.dp_clip / (config.dp_sample_rate * samples)
    return config.lr_in(round) * step * momentum_gain(config.momentum, config.dp_steps)


def _judged(sums: list[Vector]) -> NoiseTest | str:
    found = np.concatenate(sums) if sums else np.zeros(0)
    if len(found) < LEAST_COORDINATES:
        return f"only {len(found)} coordinates hold noise alone"
    return judge_noise(found, 1.0)
