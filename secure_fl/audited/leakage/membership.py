"""Membership inference on a run's final model: its members are the sites' training images, the others the test images.

Loss threshold, and RMIA with two reference models that we train ourselves: the images are dealt into two halves,
members and others alike, and each image is judged by the model of the half that it is not in. They are `light_cnn`s
whatever the run's network is, because they have to be cheap; references of the run's own kind would be sharper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from audit.leakage.membership import LEAST_PICTURES, MembershipAudit, audit_membership, loss_scores, reference_scores
from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation, load_site, load_test
from secure_fl.models import ModelSpec, build_model
from secure_fl.training.examples import Pictures
from secure_fl.training.local import TrainSettings, train_locally
from secure_fl.training.seeds import derive_seed

__all__ = ["Candidates", "audit_model", "candidates"]

_BATCH = 128
_EPOCHS = 12

Vector = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Candidates:
    """images: of members and others, in random order; member: (n,) bool."""

    images: ImageSet
    member: Vector
    normalisation: Normalisation


def candidates(config: RunConfig, most: int, rng: np.random.Generator) -> Candidates | str:
    """At most `most` images of each kind, equally many where there are; or why there are too few."""
    sites = [load_site(config, site) for site in range(config.sites)]
    members = _joined([site.train for site in sites])
    others, normalisation = load_test(config)
    count = min(most, len(members)), min(most, len(others))
    if min(count) < LEAST_PICTURES:
        return f"{count[0]} members and {count[1]} others are too few, or too large to be measured in time"
    chosen = _joined([_picked(members, count[0], rng), _picked(others, count[1], rng)])
    order = rng.permutation(sum(count))
    shuffled = ImageSet(chosen.images[order], chosen.labels[order], chosen.classes)
    return Candidates(shuffled, (np.arange(sum(count)) < count[0])[order], normalisation)


def audit_model(
    model: nn.Module, given: Candidates, *, delta: float, confidence: float, seed: int
) -> tuple[MembershipAudit, ...]:
    """Both attacks on `model`."""
    losses = _losses(model, given, np.arange(len(given.images)))
    # Losses by the reference model that has not seen the image.
    others, halves = np.empty(len(losses)), np.array_split(np.arange(len(losses)), 2)
    for number, (seen, unseen) in enumerate(zip(halves, reversed(halves), strict=True)):
        others[unseen] = _losses(_reference(given, seen, derive_seed(seed, "reference", number)), given, unseen)
    by_reference = reference_scores(
        np.exp(-losses), np.exp(-others), np.exp(-losses[~given.member]), np.exp(-others[~given.member])
    )
    found = []
    for name, scores in (("loss threshold", loss_scores(losses)), ("RMIA, 2 reference models", by_reference)):
        rng = np.random.default_rng(derive_seed(seed, "halves"))
        inside, outside = scores[given.member], scores[~given.member]
        found.append(audit_membership(name, inside, outside, delta=delta, confidence=confidence, rng=rng))
    return tuple(found)


def _reference(given: Candidates, seen: Vector, seed: int) -> nn.Module:
    images = ImageSet(given.images.images[seen], given.images.labels[seen], given.images.classes)
    spec = ModelSpec(
        architecture="light_cnn", classes=len(images.classes), image_size_px=images.images.shape[1], norm="group",
        group_size=16, stem="small-images", width=1.0, dropout=0.0,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=_EPOCHS, batch_size=32, lr=0.05, momentum=0.9, weight_decay=0.0, augment="none", device="cpu",
        grad_clip=1.0,
    )  # fmt: skip
    model = build_model(spec, seed=seed)
    train_locally(model, Pictures(images, given.normalisation), settings, seed=seed)
    return model.eval()


def _losses(model: nn.Module, given: Candidates, chosen: Vector) -> Vector:
    """(n,) float64: cross-entropy of each chosen image."""
    pictures, found = Pictures(given.images, given.normalisation), []
    with torch.inference_mode():
        for part in np.array_split(chosen, max(1, math.ceil(len(chosen) / _BATCH))):
            logits = model(pictures.inputs(part, torch.device("cpu"))).double()
            found.append(F.cross_entropy(logits, torch.from_numpy(pictures.labels[part]), reduction="none").numpy())
    return np.concatenate(found)


def _picked(images: ImageSet, count: int, rng: np.random.Generator) -> ImageSet:
    chosen = rng.choice(len(images), count, replace=False)
    return ImageSet(images.images[chosen], images.labels[chosen], images.classes)


def _joined(parts: list[ImageSet]) -> ImageSet:
    images, labels = [each.images for each in parts], [each.labels for each in parts]
    return ImageSet(np.concatenate(images), np.concatenate(labels), parts[0].classes)
