"""The coordinator's own model and images: it measures each global model, and under FLTrust trains one itself.

FLTrust (Cao et al., NDSS 2021, section IV): the coordinator holds a small clean *root* data set, trains on it for a
round like a site, and trusts updates by their direction against its own. Root images are taken out of the test set
before anything is measured (`root-samples`): an image that helped to make a model never grades it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation, load_root, load_test
from secure_fl.models import ModelSpec, VectorSpec, flatten, initial_model, unflatten
from secure_fl.training.device import configure_torch, torch_threads
from secure_fl.training.evaluation import Evaluation, evaluate
from secure_fl.training.local import TrainSettings, train_locally
from secure_fl.training.seeds import derive_seed

__all__ = ["Bench"]

Vector = np.ndarray[Any, Any]


@dataclass
class Bench:
    """A model, test images, and root images where the defense needs them."""

    model: nn.Module
    spec: ModelSpec
    vector_spec: VectorSpec
    test: ImageSet
    root: ImageSet | None
    normalisation: Normalisation
    config: RunConfig

    @classmethod
    def of(cls, config: RunConfig) -> Bench:
        """Everything that the run's settings ask for, decoded and built."""
        configure_torch(config.threads, config.device)
        test, normalisation = load_test(config)
        root = load_root(config) if config.root_samples else None
        spec = ModelSpec.of(config, classes=len(test.classes), image_size_px=test.images.shape[1])
        model = initial_model(config, spec)
        return cls(model, spec, VectorSpec.of(model), test, root, normalisation, config)

    def measure(self, vector: Vector) -> Evaluation:
        """How good the model of these numbers is on the test images."""
        unflatten(vector, self.model)
        with torch_threads(self.config.threads):
            return evaluate(self.model, self.test, self.normalisation, device=self.config.device)

    def reference(self, vector: Vector, *, round: int) -> Vector | None:
        """The update (d,) that training on the root images makes of `vector`; None without root images."""
        if self.root is None:
            return None
        unflatten(vector, self.model)
        seed = derive_seed(self.config.seed, "root", round)
        with torch_threads(self.config.threads):
            train_locally(self.model, self.root, self.normalisation, TrainSettings.of(self.config), seed=seed)
        return flatten(self.model) - vector
