"""Networks of the lab: those of real runs, and the small ones that published tables were made with.

A peer's table can only be checked on the peer's network, which reads grey images and knows nothing of stems or
GroupNorm. Those live here and not among `secure_fl.models`, because nobody should put them into service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.models import ModelSpec, build_model
from secure_fl.models.rng import seeded_torch

__all__ = ["NETWORKS", "ConvPair", "Network", "network_named"]


@dataclass(frozen=True)
class Network:
    """channels: 1 reads grey images, 3 RGB; image_size_px: the side it insists on, 0: any."""

    channels: int
    image_size_px: int
    build: Callable[[int, int, int], nn.Module]  # (classes, image_size_px, seed)


class ConvPair(nn.Module):
    """Two 5x5 convolutions with max-pooling and two dense layers, for grey 28x28 images (LeNet's form).

    (16, 32, 128) has 80,202 parameters: the network of the published Fashion-MNIST tables. (20, 50, 500) has
    431,080: ByzFL's `cnn_mnist` up to its last log-softmax, which cross-entropy contains.
    """

    def __init__(self, first: int, second: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(second * 16, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to logits (B, C)."""
        x = _pooled(self.conv1(x))
        x = _pooled(self.conv2(x))
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


def _pooled(maps: Tensor) -> Tensor:
    """ReLU and 2x2 max-pooling, in the order and layout that cost least: pooling a quarter of the ReLUs away, and
    channels-last, for which torch has vector code (a step of (16, 32, 128) is 1.2 times as fast, measured)."""
    return F.relu(F.max_pool2d(maps.contiguous(memory_format=torch.channels_last), 2))


Layers = Callable[[int, int], nn.Module]  # (classes, image_size_px)


def _grey(layers: Layers, *, image_size_px: int = 0) -> Network:
    def build(classes: int, side: int, seed: int) -> nn.Module:
        with seeded_torch(seed):
            return layers(classes, side)

    return Network(1, image_size_px, build)


def _of_runs(architecture: str) -> Network:
    def build(classes: int, side: int, seed: int) -> nn.Module:
        spec = ModelSpec.of(RunConfig(model=architecture), classes=classes, image_size_px=side)
        return build_model(spec, seed=seed)

    return Network(3, 0, build)


def _softmax(classes: int, side: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes))


def _mlp(classes: int, side: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, 64), nn.ReLU(), nn.Linear(64, classes))


def _batch_norm(classes: int, side: int) -> nn.Module:
    """A small network whose BatchNorm layers count their batches, as Flower's Krum finds out to its cost."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (side // 4) ** 2, classes),
    )  # fmt: skip


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "light_cnn": _of_runs("light_cnn"),
        "mobilenet_v2": _of_runs("mobilenet_v2"),
        "softmax": _grey(_softmax),
        "mlp": _grey(_mlp),
        "batch_norm_cnn": _grey(_batch_norm),
        "conv_pair": _grey(lambda classes, _: ConvPair(16, 32, 128, classes), image_size_px=28),
        "byzfl_cnn": _grey(lambda classes, _: ConvPair(20, 50, 500, classes), image_size_px=28),
    }
)


def network_named(name: str) -> Network:
    """The network of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in NETWORKS:
        raise ConfigError(f"`model` is {name!r}", fix=f"choose one of: {', '.join(NETWORKS)}")
    return NETWORKS[name]
