"""Pictures and features: one way to hand a network its batches, and the two stages of transfer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from secure_fl.data import ImageSet, Normalisation
from secure_fl.errors import ConfigError
from secure_fl.models import ModelSpec, VectorSpec, build_model, flatten, unflatten
from secure_fl.privacy.randomness import Randomness
from secure_fl.training.evaluation import evaluate
from secure_fl.training.examples import Pictures, features_of, staged
from secure_fl.training.local import TrainSettings, train_locally
from secure_fl.training.private import PrivateSettings, train_privately

CPU = torch.device("cpu")
SCALE = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
LIGHT = ModelSpec("light_cnn", 3, 16, "group", 8, "small-images", 1.0, 0.0, "head")
MOBILE = ModelSpec("mobilenet_v2", 3, 32, "group", 16, "small-images", 0.25, 0.0, "head")
SETTINGS = TrainSettings(2, 8, 0.1, 0.9, 0.0, "none", "cpu", 0.0)


def pictures(n: int = 40, side: int = 16) -> Pictures:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    pixels = rng.integers(0, 128, (n, side, side, 3), dtype=np.uint8)
    pixels[np.arange(n), :, :, labels] += 100
    return Pictures(ImageSet(pixels, labels, ("red", "green", "blue")), SCALE)


@pytest.mark.parametrize(("spec", "side"), [(LIGHT, 16), (MOBILE, 32)])
def test_the_classifier_on_features_says_what_the_whole_model_says_of_the_pictures(spec, side):
    model, shown = build_model(spec, seed=0).eval(), pictures(200, side)
    head, features = staged(model, shown, "head", CPU)
    everything = np.arange(200)
    with torch.no_grad():
        torch.testing.assert_close(
            head(features.inputs(everything, CPU)), model(shown.inputs(everything, CPU)), rtol=1e-4, atol=1e-5
        )
    assert evaluate(head, features).accuracy == evaluate(model, shown).accuracy
    assert staged(model, shown, "all", CPU) == (model, shown)


def test_features_are_computed_once_for_the_same_model_and_images():
    model, shown = build_model(LIGHT, seed=0), pictures()
    first = features_of(model, shown, CPU)
    assert features_of(model, Pictures(shown.images, SCALE), CPU).values is first.values
    assert features_of(build_model(LIGHT, seed=0), shown, CPU).values is not first.values
    assert not first.values.requires_grad


def test_training_the_head_moves_the_head_alone_and_the_vector_has_nothing_else():
    model = build_model(LIGHT, seed=0)
    body = {name: each.clone() for name, each in model.state_dict().items() if name.startswith("features")}
    before, spec = flatten(model), VectorSpec.of(model)
    assert [name for name, _ in spec.entries] == ["classifier.1.weight", "classifier.1.bias"]
    assert spec.size == len(before) == 96 * 3 + 3
    result = train_locally(*staged(model, pictures(), "head", CPU), replace(SETTINGS, epochs=20), seed=0)
    assert result.samples == 40 and evaluate(model, pictures()).accuracy > 0.8
    assert not np.array_equal(flatten(model), before)
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in body.items())
    unflatten(before, model)
    assert np.array_equal(flatten(model), before)


def test_another_body_is_another_spec_so_that_sites_with_other_weights_are_found_out():
    assert VectorSpec.of(build_model(LIGHT, seed=0)).digest != VectorSpec.of(build_model(LIGHT, seed=1)).digest
    whole = replace(LIGHT, trained="all")
    assert VectorSpec.of(build_model(whole, seed=0)).digest == VectorSpec.of(build_model(whole, seed=1)).digest
    batch = VectorSpec.of(build_model(replace(MOBILE, norm="batch"), seed=0))
    assert len(batch.entries) == 2  # the running statistics of a frozen layer are constants too


def test_the_head_trains_privately_and_its_first_step_is_that_of_the_head_inside_the_whole_model():
    settings = PrivateSettings(1, 1.0, 1e-9, 0.5, 1, 1.0, 0.0, "none", "cpu")
    model, whole = build_model(LIGHT, seed=0), build_model(LIGHT, seed=0)
    train_privately(*staged(model, pictures(), "head", CPU), settings, seed=0, randomness=Randomness.from_system())
    train_privately(whole, pictures(), settings, seed=0, randomness=Randomness.from_system())
    np.testing.assert_allclose(flatten(model), flatten(whole), rtol=1e-4, atol=1e-6)


def test_augmentation_of_features_is_refused():
    features = features_of(build_model(LIGHT, seed=0), pictures(), CPU)
    with pytest.raises(ConfigError, match="augment"):
        features.augmented_inputs(np.arange(2), CPU, "flip", torch.Generator())
