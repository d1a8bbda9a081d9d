"""Local training at the speed of the network itself: one model object, all of its numbers in one flat buffer.

Parameters are views into the buffer, so taking over the global model is one copy, a step of SGD is two operations on
whole vectors, and an update is one subtraction: no optimiser object, no state_dict, no tensor by tensor. Gradients come
from `torch.autograd.grad`. The order of numbers is: parameters, then float buffers (BatchNorm's statistics); the
weights of a convolution lie channels-last, for which CPUs have the faster kernels (1.2 to 1.3 times a step, measured).

McMahan et al. 2017, algorithm 1; momentum starts at zero in each round, as in `secure_fl.training.local`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secure_fl.data.source import Labels, Pixels
from secure_fl.lab.data import Shard, augment_batch, to_input
from secure_fl.lab.submissions import Vector
from secure_fl.models.rng import seeded_torch
from secure_fl.training.batches import shuffled_batches
from secure_fl.training.seeds import derive_seed

__all__ = ["Learner", "Tested", "TrainingPlan"]

_TEST_BATCH = 500


@dataclass(frozen=True)
class TrainingPlan:
    """How a client trains in one round; the words are those of `Scenario`. mean, std: of the pixels, by channel."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    grad_clip: float
    augment: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Tested:
    """Share of images classified right, mean cross-entropy (nats), and the former by true class."""

    accuracy: float
    loss: float
    per_class_accuracy: tuple[float | None, ...]


class Learner:
    """One network that trains for every client in turn. d: `size`, of which the first `trained` are parameters."""

    def __init__(self, module: nn.Module, plan: TrainingPlan) -> None:
        self._module, self._plan = module, plan
        self._parameters = list(module.parameters())
        floats = [each for each in module.buffers() if each.is_floating_point()]
        self.trained = sum(each.numel() for each in self._parameters)
        self.size = self.trained + sum(each.numel() for each in floats)
        self.counters = sum(name.endswith("num_batches_tracked") for name, _ in module.named_buffers())
        self._flat = torch.empty(self.size)
        start = 0
        for tensor in (*self._parameters, *floats):
            view = _as(tensor, self._flat[start : start + tensor.numel()])
            view.copy_(tensor.detach())
            tensor.data = view
            start += tensor.numel()
        self._gradient = torch.empty(self.trained)
        self._velocity = torch.empty(self.trained)

    def weights(self) -> Vector:
        """A copy of the numbers: (d,) float32."""
        copy: Vector = self._flat.numpy().copy()
        return copy

    def load(self, weights: Vector) -> None:
        """Take over all numbers from `weights` (d,)."""
        self._flat.copy_(torch.from_numpy(weights))

    def train(
        self,
        weights: Vector,
        shard: Shard,
        *,
        seed: int,
        poison: Callable[[Pixels, Labels], tuple[Pixels, Labels]] | None = None,
        mask: Callable[[Vector], Vector] | None = None,
    ) -> tuple[Vector, int]:
        """Train from `weights` (d,) on the shard; returns the update (d,) and the number of steps.

        Order of images, augmentation and dropout come from `seed`. `poison` changes each batch after augmentation,
        `mask` each gradient (d',) before the step, d' parameters: what an attacker does inside its own training.
        """
        plan = self._plan
        self.load(weights)
        self._velocity.zero_()
        shuffling = torch.Generator().manual_seed(derive_seed(seed, "shuffle"))
        augmenting = torch.Generator().manual_seed(derive_seed(seed, "augment"))
        steps = 0
        self._module.train()
        with seeded_torch(derive_seed(seed, "dropout")):
            for _ in range(plan.epochs):
                for batch in shuffled_batches(len(shard), plan.batch_size, shuffling):
                    images = augment_batch(shard.images[batch], plan.augment, augmenting)
                    labels = shard.labels[batch]
                    if poison is not None:
                        images, labels = poison(images, labels)
                    self._step(to_input(images, plan.mean, plan.std), torch.from_numpy(labels), mask)
                    steps += 1
        return self._flat.numpy() - weights, steps

    def test(self, weights: Vector, shard: Shard, classes: int) -> Tested:
        """How good the model with these numbers is on all images of the shard."""
        logits, labels = self._logits(weights, shard.images), torch.from_numpy(shard.labels)
        right = shard.labels[(logits.argmax(1) == labels).numpy()]
        count = np.bincount(shard.labels, minlength=classes)
        hits = np.bincount(right, minlength=classes)
        return Tested(
            accuracy=float(len(right) / len(shard)),
            loss=float(F.cross_entropy(logits.double(), labels)),
            per_class_accuracy=tuple(float(h / c) if c else None for h, c in zip(hits, count, strict=True)),
        )

    def share_taken_for(self, target: int, weights: Vector, images: Pixels) -> float:
        """Share of the images that the model with these numbers takes for class `target`."""
        return float((self._logits(weights, images).argmax(1) == target).double().mean())

    def _step(self, inputs: Tensor, labels: Tensor, mask: Callable[[Vector], Vector] | None) -> None:
        plan, gradient, parameters = self._plan, self._gradient, self._flat[: self.trained]
        loss = F.cross_entropy(self._module(inputs), labels)
        torch.cat([_in_order(each) for each in torch.autograd.grad(loss, self._parameters)], out=gradient)
        if plan.grad_clip > 0:
            gradient.mul_((plan.grad_clip / (gradient.norm() + 1e-6)).clamp(max=1.0))
        if mask is not None:
            gradient.copy_(torch.from_numpy(mask(gradient.numpy())))
        if plan.weight_decay > 0:
            gradient.add_(parameters, alpha=plan.weight_decay)
        self._velocity.mul_(plan.momentum).add_(gradient)
        parameters.sub_(self._velocity, alpha=plan.lr)

    def _logits(self, weights: Vector, images: Pixels) -> Tensor:
        self.load(weights)
        self._module.eval()
        with torch.inference_mode():
            parts = [
                self._module(to_input(images[at : at + _TEST_BATCH], self._plan.mean, self._plan.std))
                for at in range(0, len(images), _TEST_BATCH)
            ]
        return torch.cat(parts)


def _as(tensor: Tensor, part: Tensor) -> Tensor:
    """`part` (k,) of the flat buffer with the shape of `tensor`; four dimensions lie channels-last in it."""
    if tensor.dim() != 4:
        return part.view(tensor.shape)
    out, channels, height, width = tensor.shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)


def _in_order(tensor: Tensor) -> Tensor:
    """The numbers of a tensor (k,) in the order of the flat buffer."""
    return (tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor).reshape(-1)
