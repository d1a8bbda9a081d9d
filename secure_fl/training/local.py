"""A site's share of a round: some epochs of SGD on its own images, starting from the global model.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS
2017, algorithm 1 (ClientUpdate). Momentum starts at zero in each call: a site keeps no state between
rounds. Equal model, images, settings, seed and thread count give equal bits, whatever ran before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from secure_fl.config import RunConfig
from secure_fl.errors import DataError, FederationError
from secure_fl.models.rng import seeded_torch
from secure_fl.training.batches import augmented, normalised, shuffled_batches
from secure_fl.training.device import usable_device
from secure_fl.training.seeds import derive_seed

if TYPE_CHECKING:
    from secure_fl.data import ImageSet, Normalisation

__all__ = ["Adjust", "TrainResult", "TrainSettings", "train_locally"]

Adjust = Callable[[nn.Module], None]


@dataclass(frozen=True)
class TrainSettings:
    """How a site trains in one round; see `RunConfig` for the meaning of each.

    grad_clip: a batch's gradient whose L2 norm is larger is scaled down to it; 0: no limit. Pretrained
    weights need it: their first gradients are 20 to 50 long, and without a limit SGD destroys the
    network before the new classifier has learned anything (measured with CIFAR-10 at 64 px).
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    augment: str
    device: str
    grad_clip: float

    @classmethod
    def of(cls, config: RunConfig) -> TrainSettings:
        """The training settings of a run."""
        return cls(
            epochs=config.local_epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            augment=config.augment,
            grad_clip=config.grad_clip,
            device=config.device,
        )


@dataclass(frozen=True)
class TrainResult:
    """`loss`: mean over the images of the last epoch, each measured just before its own step."""

    loss: float
    samples: int
    steps: int


def train_locally(
    model: nn.Module,
    images: ImageSet,
    normalisation: Normalisation,
    settings: TrainSettings,
    *,
    seed: int,
    adjust: Adjust | None = None,
) -> TrainResult:
    """Train `model` in place; order of images, augmentation and dropout all come from `seed`.

    `adjust`: changes each batch's gradients in place before they are clipped and applied (simulated attackers).
    torch's generators and the model's training mode are afterwards as they were before.

    Raises:
        DataError: there are no images, or BatchNorm would have to train on single images.
        FederationError: loss or weights are no longer finite. The model is then of no use.
    """
    samples = len(images.labels)
    _refuse_untrainable(model, samples, settings)
    device = usable_device(settings.device)
    was_training = model.training
    model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    shuffling = torch.Generator().manual_seed(derive_seed(seed, "shuffle"))
    augmenting = torch.Generator().manual_seed(derive_seed(seed, "augment"))
    steps, total = 0, 0.0
    try:
        with seeded_torch(derive_seed(seed, "dropout"), device):
            for epoch in range(1, settings.epochs + 1):
                total = 0.0
                for batch in shuffled_batches(samples, settings.batch_size, shuffling):
                    pixels = augmented(images.images[batch], settings.augment, augmenting)
                    inputs = normalised(pixels, normalisation.mean, normalisation.std, device)
                    labels = torch.from_numpy(images.labels[batch]).to(device)
                    loss = _step(model, optimizer, inputs, labels, settings.grad_clip, adjust)
                    steps += 1
                    if not math.isfinite(loss):
                        raise _diverged(f"the loss was {loss} in epoch {epoch}, step {steps}", settings)
                    total += loss * len(batch)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
            raise _diverged(f"a weight was no longer finite after step {steps}", settings)
    finally:
        model.train(was_training)
    return TrainResult(loss=total / samples, samples=samples, steps=steps)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    grad_clip: float,
    adjust: Adjust | None,
) -> float:
    """One step of SGD; returns the mean loss before it."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if adjust is not None:
        adjust(model)
    if grad_clip > 0:
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    return loss.item()


def _refuse_untrainable(model: nn.Module, samples: int, settings: TrainSettings) -> None:
    if samples == 0:
        raise DataError("there are no images to train on")
    mixes_batch = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules())
    if mixes_batch and min(samples, settings.batch_size) == 1:
        culprit = "`batch-size` is 1" if settings.batch_size == 1 else "there is only one image to train on"
        raise DataError(
            f"{culprit} but `norm` is batch",
            why="BatchNorm normalises an image by the others of its batch",
            fix="choose norm=group, or give more images a batch",
        )


def _diverged(what: str, settings: TrainSettings) -> FederationError:
    return FederationError(
        f"local training diverged: {what}",
        why=f"lr={settings.lr:g} and momentum={settings.momentum:g} are too large for this model and these images",
        fix="lower `lr`; with norm=batch, use norm=group",
    )
