"""The coordinator's own model and images: it measures each global model, and where the settings ask for it, judges
each step on images of its own or trains a model itself.

FLTrust (Cao et al., NDSS 2021, section IV): the coordinator holds a small clean *root* data set, trains on it for a
round like a site, and trusts updates by their direction against its own. Root images are taken out of the test set
before anything is measured (`root-samples`): an image that helped to make or to choose a model never grades it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from secure_fl.adversity import needs_root
from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation, load_root, load_test
from secure_fl.models import ModelSpec, VectorSpec, flatten, initial_model, unflatten
from secure_fl.training.device import configure_torch, torch_threads, usable_device
from secure_fl.training.evaluation import Evaluation, evaluate
from secure_fl.training.examples import Examples, Pictures, staged
from secure_fl.training.local import TrainSettings, train_locally
from secure_fl.training.seeds import derive_seed

__all__ = ["Bench"]

Vector = np.ndarray[Any, Any]


@dataclass
class Bench:
    """A model, test images, and root images where the defense or the validation gate needs them."""

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
        return self._measured(vector, self.test)

    def measure_root(self, vector: Vector) -> Evaluation:
        """The same on the root images; raises ValueError where there are none."""
        if self.root is None:
            raise ValueError("there are no root images")
        return self._measured(vector, self.root)

    def reference(self, vector: Vector, *, round: int) -> Vector | None:
        """The update (d,) that training on the root images makes of `vector`; None where no rule compares with one."""
        if self.root is None or self.config.defense == FEDAVG or not needs_root(self.config.defense):
            return None
        unflatten(vector, self.model)
        seed = derive_seed(self.config.seed, "root", round)
        with torch_threads(self.config.threads):
            train_locally(*self._staged(self.root), TrainSettings.of(self.config, round=round), seed=seed)
        return flatten(self.model) - vector

    def _measured(self, vector: Vector, images: ImageSet) -> Evaluation:
        unflatten(vector, self.model)
        with torch_threads(self.config.threads):
            return evaluate(*self._staged(images), device=self.config.device)

    def _staged(self, images: ImageSet) -> tuple[nn.Module, Examples]:
        """What is trained or measured, and on what."""
        pictures = Pictures(images, self.normalisation)
        return staged(self.model, pictures, self.spec.trained, usable_device(self.config.device))
