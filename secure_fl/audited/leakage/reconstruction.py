"""What one update shows of its picture, with and without protection: a demonstration that a reader can see.

The attacked network is a small one of three convolutions with tanh, after those of Zhu et al. 2019, "Deep Leakage from
Gradients": GroupNorm, ReLU6 and depth make MobileNetV2 hard to invert in seconds, which is no protection, as
published attacks that take hours show. The picture is one of the coordinator's test images, never one of a site's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from audit.leakage.inversion import (
    InversionAudit,
    Protection,
    Scaling,
    audit_inversion,
    clipped_and_noised,
    gradients,
    summed_with,
)
from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation, load_test
from secure_fl.models.rng import seeded_torch
from secure_fl.privacy.regime import client_event, planned
from secure_fl.training.seeds import derive_seed

__all__ = ["LARGEST_PX", "reconstruct", "small_network"]

LARGEST_PX = 32
_CHANNELS, _STEPS = 16, 300
_EXAMPLE = 1.0  # σ and C of the protection that is shown for a run without


def reconstruct(config: RunConfig, *, seed: int) -> InversionAudit:
    """Attack the update of one test picture: bare, noised as the run does (or would), and summed, as by secure
    aggregation, with those that the run's other sites make of a batch each. Larger pictures are thinned out to 32 px
    or less."""
    config = planned(config)
    images, normalisation = load_test(config)
    network = small_network(len(images.classes), _thinned(images.images[0]).shape[0], seed=derive_seed(seed, "network"))
    order = np.random.default_rng(derive_seed(seed, "pictures")).permutation(len(images))
    scaling = Scaling(normalisation.mean, normalisation.std)
    protections = _protections(config, network, images, order, normalisation, seed)
    picture, label = _thinned(images.images[order[0]]), int(images.labels[order[0]])
    return audit_inversion(network, picture, label, scaling, protections=protections, seed=seed, steps=_STEPS)


def small_network(classes: int, side_px: int, *, seed: int) -> nn.Module:
    """Three convolutions 5×5 and a linear layer, initial weights of `seed`, in evaluation mode."""
    with seeded_torch(seed):
        layers: list[nn.Module] = []
        for channels, stride in ((3, 2), (_CHANNELS, 2), (_CHANNELS, 1)):
            layers += [nn.Conv2d(channels, _CHANNELS, 5, stride, padding=2), nn.Tanh()]
        cells = math.ceil(side_px / 4)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_CHANNELS * cells**2, classes)).eval()


def _protections(
    config: RunConfig,
    network: nn.Module,
    images: ImageSet,
    order: np.ndarray[Any, Any],
    normalisation: Normalisation,
    seed: int,
) -> Mapping[str, Protection]:
    noise_seed, scaling = derive_seed(seed, "noise"), Scaling(normalisation.mean, normalisation.std)
    if config.dp_at_sites:
        clip, noise, name = config.dp_clip, config.dp_noise_multiplier, "DP-SGD as in this run"
    elif config.dp_of_sites:
        clip, noise, name = (
            config.dp_client_clip,
            client_event(config).noise_multiplier,
            "client-level DP as in this run",
        )
    else:
        clip, noise, name = _EXAMPLE, _EXAMPLE, "DP-SGD, which this run does not use"
    members = config.secagg_group_size if config.secagg == "grouped" else config.sites
    others = order[1:][: max(1, members - 1) * config.batch_size]
    used = "" if config.secagg == "none" else ", as in this run"
    inputs = torch.cat([scaling.inputs(_thinned(images.images[each])) for each in others])
    rest = gradients(network, inputs, torch.from_numpy(images.labels[others]))
    return {
        f"{name} (C = {clip:g}, σ = {noise:.3g})": clipped_and_noised(clip, noise, seed=noise_seed),
        f"secure aggregation: the sum with {len(others)} pictures of other sites{used}": summed_with([rest]),
    }


def _thinned(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    every = -(-picture.shape[0] // LARGEST_PX)
    return np.ascontiguousarray(picture[::every, ::every])
