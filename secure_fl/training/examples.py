"""What a network learns from: pictures, or the features that a frozen body has made of them.

Two stages. Where only the classifier is trained (`train-part=head`), the layers below it never change, so what they
say of a picture never changes either: it is computed once (Tramèr & Boneh 2021, "Differentially Private Learning
Needs Better Features", section 2, the linear model on public features). A round then costs milliseconds, an update
has some thousand numbers instead of two million, and under differential privacy the noise hides that many fewer.
Features stay where the pictures are. They are a function of one picture each, so a picture's gradient stays its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secure_fl.errors import ConfigError
from secure_fl.models import embed
from secure_fl.training.batches import augmented, normalised

if TYPE_CHECKING:
    from secure_fl.data import ImageSet, Normalisation

__all__ = ["Examples", "Features", "Pictures", "features_of", "staged"]

Indices = npt.NDArray[np.int64]

_BATCH = 128


@dataclass(frozen=True, eq=False)
class Examples(ABC):
    """(N,) labelled examples, in memory, made of `images`."""

    images: ImageSet

    @property
    def labels(self) -> Indices:
        """(N,): positions in `classes`."""
        return self.images.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the network's outputs."""
        return self.images.classes

    @abstractmethod
    def inputs(self, chosen: Indices, device: torch.device) -> Tensor:
        """What the network reads for the examples of these indices, one row each."""

    @abstractmethod
    def augmented_inputs(
        self, chosen: Indices, device: torch.device, augment: str, generator: torch.Generator
    ) -> Tensor:
        """The same after random changes, drawn anew for each row."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Pictures(Examples):
    """Images, normalised when their batch is needed."""

    normalisation: Normalisation

    def inputs(self, chosen: Indices, device: torch.device) -> Tensor:
        """(n, 3, s, s) float32."""
        return self._normalised(self.images.images[chosen], device)

    def augmented_inputs(
        self, chosen: Indices, device: torch.device, augment: str, generator: torch.Generator
    ) -> Tensor:
        """(n, 3, s, s) float32."""
        return self._normalised(augmented(self.images.images[chosen], augment, generator), device)

    def _normalised(self, pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        return normalised(pixels, self.normalisation.mean, self.normalisation.std, device)


@dataclass(frozen=True, eq=False)
class Features(Examples):
    """values: (N, k) float32, what the classifier reads of each of the images."""

    values: Tensor

    def inputs(self, chosen: Indices, device: torch.device) -> Tensor:
        """(n, k) float32."""
        return self.values[torch.from_numpy(chosen)].to(device)

    def augmented_inputs(
        self, chosen: Indices, device: torch.device, augment: str, generator: torch.Generator
    ) -> Tensor:
        """(n, k) float32.

        Raises:
            ConfigError: changes are asked for, but the features are those of the unchanged pictures.
        """
        if augment != "none":
            raise ConfigError(f"`augment` is {augment} but features are computed once", fix="choose augment=none")
        return self.inputs(chosen, device)


def staged(model: nn.Module, pictures: Pictures, trained: str, device: torch.device) -> tuple[nn.Module, Examples]:
    """What is trained or measured, and on what: the whole model on pictures, or its classifier on their features.

    trained: "all" or "head" (`ModelSpec.trained`). The classifier is part of `model`: training it trains the model.
    """
    if trained == "all":
        return model, pictures
    return model.get_submodule("classifier"), features_of(model, pictures, device)


def features_of(model: nn.Module, pictures: Pictures, device: torch.device) -> Features:
    """What the body of `model` says of the pictures; remembered by the objects, so the body must never change."""
    return Features(pictures.images, _values(model, pictures.images, pictures.normalisation, device))


@lru_cache(maxsize=64)
def _values(model: nn.Module, images: ImageSet, normalisation: Normalisation, device: torch.device) -> Tensor:
    pictures, was_training = Pictures(images, normalisation), model.training
    model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    try:
        with torch.no_grad():
            parts = np.array_split(np.arange(len(images)), max(1, -(-len(images) // _BATCH)))
            return torch.cat([embed(model, pictures.inputs(part, device)).cpu() for part in parts])
    finally:
        model.train(was_training)
