"""A site's share of a round under differential privacy: some steps of DP-SGD on its own images.

Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1. Each step draws every image
independently with probability q (Poisson sampling: exactly what the accountant assumes), clips each image's
gradient, adds noise, and divides by the expected batch q·N, not by the batch that was drawn. A step that
draws nothing is a step: noised and counted. With several views, an image's views are averaged before its
gradient is clipped (De et al. 2022, section 3.2), so an image still counts once.

The number of steps is fixed beforehand, and nothing else that depends on the images leaves this function:
neither a loss nor a batch size.

Under noise in shares (`privacy.distributed`) a site takes no steps: `gradient_sum` is what its own draw contributes
to one step that all sites take together. It is not private before all shares of noise are in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from secure_fl.config import RunConfig
from secure_fl.errors import DataError, FederationError
from secure_fl.models.rng import seeded_torch
from secure_fl.privacy.engine import PrivateTraining, clipped_gradient_sum
from secure_fl.privacy.randomness import Randomness
from secure_fl.training.device import usable_device
from secure_fl.training.examples import Examples
from secure_fl.training.seeds import derive_seed

__all__ = ["PrivateSettings", "gradient_sum", "train_privately"]


@dataclass(frozen=True)
class PrivateSettings:
    """How a site trains by DP-SGD in one round; see `RunConfig` for the meaning of each."""

    steps: int
    sample_rate: float
    noise_multiplier: float
    clip: float
    views: int
    lr: float
    momentum: float
    augment: str
    device: str

    @classmethod
    def of(cls, config: RunConfig, *, round: int) -> PrivateSettings:
        """The settings of a round, 1 .. rounds, of a run whose noise has been planned."""
        return cls(
            steps=config.dp_steps,
            sample_rate=config.dp_sample_rate,
            noise_multiplier=config.dp_noise_multiplier,
            clip=config.dp_clip,
            views=config.dp_views,
            lr=config.lr_in(round),
            momentum=config.momentum,
            augment=config.augment,
            device=config.device,
        )


def train_privately(
    model: nn.Module,
    examples: Examples,
    settings: PrivateSettings,
    *,
    seed: int,
    randomness: Randomness,
) -> None:
    """Train `model` in place, for `settings.steps` steps.

    `seed` moves dropout and augmentation, which no guarantee rests on; sampling and noise come from `randomness`.
    The caller has entered the steps into the ledger before.

    Raises:
        DataError: there are no images.
        ConfigError: the model has layers that cannot be trained privately, or CUDA cannot be used.
        FederationError: a weight is no longer finite.
    """
    samples = len(examples)
    if samples == 0:
        raise DataError("there are no images to train on")
    device = usable_device(settings.device)
    was_training = model.training
    model.to(device=device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr, momentum=settings.momentum)
    augmenting = torch.Generator().manual_seed(derive_seed(seed, "augment"))
    try:
        with (
            PrivateTraining(
                model,
                optimizer,
                noise_multiplier=settings.noise_multiplier,
                max_grad_norm=settings.clip,
                expected_batch_size=settings.sample_rate * samples,
                randomness=randomness,
            ) as training,
            seeded_torch(derive_seed(seed, "dropout"), device),
        ):
            for _ in range(settings.steps):
                chosen = randomness.poisson(samples, settings.sample_rate)
                rows = np.repeat(chosen, settings.views)
                inputs = examples.augmented_inputs(rows, device, settings.augment, augmenting)
                labels = torch.from_numpy(examples.labels[rows]).to(device)
                training.step(inputs, labels, views=settings.views)
    finally:
        model.train(was_training)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise FederationError(
            "local training diverged: a weight is no longer finite",
            why=f"lr={settings.lr:g} is too large for noise {settings.noise_multiplier:g}",
            fix="lower `lr`",
        )


def gradient_sum(
    model: nn.Module,
    examples: Examples,
    settings: PrivateSettings,
    *,
    seed: int,
    randomness: Randomness,
) -> dict[nn.Parameter, torch.Tensor]:
    """The sum of the clipped gradients of one Poisson draw, by parameter, float64; the model is left as it was.

    seed, randomness: as for `train_privately`. Not noised: for this site's eyes only.

    Raises:
        DataError: there are no images.
        ConfigError: the model has layers that cannot be trained privately, or CUDA cannot be used.
    """
    samples = len(examples)
    if samples == 0:
        raise DataError("there are no images to train on")
    device = usable_device(settings.device)
    was_training = model.training
    model.to(device=device).train()
    augmenting = torch.Generator().manual_seed(derive_seed(seed, "augment"))
    try:
        with seeded_torch(derive_seed(seed, "dropout"), device):
            rows = np.repeat(randomness.poisson(samples, settings.sample_rate), settings.views)
            inputs = examples.augmented_inputs(rows, device, settings.augment, augmenting)
            labels = torch.from_numpy(examples.labels[rows]).to(device)
            return clipped_gradient_sum(model, inputs, labels, max_grad_norm=settings.clip, views=settings.views)
    finally:
        model.train(was_training)
