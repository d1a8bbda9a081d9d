"""How good a model is on given images, and what it says about single ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secure_fl.errors import DataError
from secure_fl.training.batches import normalised
from secure_fl.training.device import usable_device
from secure_fl.training.examples import Examples

if TYPE_CHECKING:
    from secure_fl.models import ModelCard

__all__ = ["Evaluation", "Prediction", "classify", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats), share of images classified right, and the same by true class.

    `per_class_accuracy` is None for a class of which there were no images. If the model holds values
    so large that its logits overflow, `loss` is not finite.
    """

    loss: float
    accuracy: float
    per_class_accuracy: tuple[float | None, ...]
    per_class_count: tuple[int, ...]
    samples: int


@dataclass(frozen=True)
class Prediction:
    """One class and its probability in 0..1 by the model's softmax (not calibrated)."""

    label: str
    probability: float


def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    batch_size: int = 256,
    device: str = "cpu",
) -> Evaluation:
    """Evaluate `model` (in evaluation mode; its mode is restored) on all examples.

    Raises:
        DataError: there are none.
    """
    samples = len(examples)
    if samples == 0:
        raise DataError("there are no images to evaluate on")
    classes, place = len(examples.classes), usable_device(device)
    right = np.zeros(classes, dtype=np.int64)
    loss = 0.0
    with _evaluating(model, place):
        for start in range(0, samples, batch_size):
            part = np.arange(start, min(start + batch_size, samples))
            labels = examples.labels[part]
            logits = model(examples.inputs(part, place)).cpu()
            # In float64, so that the sum does not depend on how many batches it was made of.
            loss += F.cross_entropy(logits.double(), torch.from_numpy(labels), reduction="sum").item()
            hits = labels[logits.argmax(dim=1).numpy() == labels]
            right += np.bincount(hits, minlength=classes)
    count = np.bincount(examples.labels, minlength=classes)
    return Evaluation(
        loss=loss / samples,
        accuracy=float(right.sum() / samples),
        per_class_accuracy=tuple(float(r / c) if c else None for r, c in zip(right, count, strict=True)),
        per_class_count=tuple(int(c) for c in count),
        samples=samples,
    )


def classify(
    model: nn.Module, card: ModelCard, pixels: npt.NDArray[np.uint8], *, top_k: int = 5
) -> list[tuple[Prediction, ...]]:
    """The `top_k` most probable classes of each of `pixels` (n, s, s, 3) uint8 RGB, best first.

    Raises:
        DataError: the images are not of the size that the model was trained for.
    """
    side = card.spec.image_size_px
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
        raise DataError(
            f"images of shape {pixels.shape[1:]} and type {pixels.dtype} cannot be classified",
            why=f"this model reads RGB images of {side}x{side} px as uint8",
        )
    place = torch.device("cpu")
    with _evaluating(model, place):
        batches = [
            model(normalised(pixels[start : start + 64], card.mean, card.std, place))
            for start in range(0, len(pixels), 64)
        ]
    if not batches:
        return []
    best = torch.cat(batches).double().softmax(dim=1).topk(min(top_k, len(card.classes)))
    return [_predictions(card.classes, *row) for row in zip(best.values, best.indices, strict=True)]


def _predictions(classes: tuple[str, ...], values: Tensor, indices: Tensor) -> tuple[Prediction, ...]:
    return tuple(Prediction(classes[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True))


@contextmanager
def _evaluating(model: nn.Module, device: torch.device) -> Iterator[None]:
    was_training = model.training
    model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
