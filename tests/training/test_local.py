"""Local training learns, repeats to the bit, and stops where it cannot go on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation
from secure_fl.errors import ConfigError, DataError, FederationError
from secure_fl.models import ModelCard, ModelSpec, build_model, flatten, load_model, save_model, unflatten
from secure_fl.training.evaluation import evaluate
from secure_fl.training.local import TrainResult, TrainSettings, train_locally

SCALE = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SETTINGS = TrainSettings(
    epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.0, augment="flip-crop", device="cpu", grad_clip=0.0
)
LIGHT = ModelSpec(
    architecture="light_cnn",
    classes=3,
    image_size_px=16,
    norm="group",
    group_size=16,
    stem="small-images",
    width=1.0,
    dropout=0.2,
)
MOBILE = replace(LIGHT, architecture="mobilenet_v2", width=0.1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def images(n: int = 41, side: int = 16, seed: int = 0) -> ImageSet:
    """Three classes that differ in which channel is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    pixels = rng.integers(0, 128, (n, side, side, 3), dtype=np.uint8)
    pixels[np.arange(n), :, :, labels] += 100
    return ImageSet(pixels, labels, ("red", "green", "blue"))


def trained(model: nn.Module, seed: int = 0, settings: TrainSettings = SETTINGS) -> tuple[bytes, TrainResult]:
    result = train_locally(model, images(), SCALE, settings, seed=seed)
    return flatten(model).tobytes(), result


def test_the_light_cnn_learns_what_holds_for_other_images_too() -> None:
    model = build_model(LIGHT, seed=0)
    result = train_locally(model, images(), SCALE, replace(SETTINGS, epochs=8, augment="none"), seed=0)
    assert evaluate(model, images(seed=1), SCALE).accuracy > 0.9
    assert result.loss < 0.5
    assert (result.samples, result.steps) == (41, 8 * 5)


def test_mobilenet_can_learn_nine_images_by_heart() -> None:
    model, data = build_model(replace(MOBILE, width=0.25, dropout=0.0), seed=0), images(n=9)
    settings = replace(SETTINGS, epochs=20, batch_size=9, lr=0.01, momentum=0.5, augment="none")
    train_locally(model, data, SCALE, settings, seed=0)
    assert evaluate(model, data, SCALE).loss < 0.5


def disturbed(model: nn.Module) -> nn.Module:
    torch.manual_seed(99)
    torch.rand(1000)
    np.random.default_rng().random(10)
    return model


def after_other_training(model: nn.Module) -> nn.Module:
    vector = flatten(model)
    train_locally(model, images(n=13, seed=5), SCALE, SETTINGS, seed=77)
    unflatten(vector, model)
    return model


def in_another_layout(model: nn.Module) -> nn.Module:
    evaluate(model, images(n=3), SCALE)  # leaves channels-last weights behind
    return model.train()


@pytest.mark.parametrize("before", [deepcopy, disturbed, after_other_training, in_another_layout])
@pytest.mark.parametrize("spec", [LIGHT, MOBILE, replace(MOBILE, norm="frozen-batch", width=0.2)])
def test_the_result_is_the_same_to_the_bit_whatever_ran_before(
    spec: ModelSpec, before: Callable[[nn.Module], nn.Module]
) -> None:
    expected = trained(build_model(spec, seed=3))
    assert trained(before(build_model(spec, seed=3))) == expected


def test_batchnorm_repeats_to_the_bit_too_although_its_counters_differ() -> None:
    spec = replace(MOBILE, norm="batch")
    assert trained(after_other_training(build_model(spec, seed=3))) == trained(build_model(spec, seed=3))


def test_a_model_from_a_file_trains_to_the_same_bits(tmp_path: Path) -> None:
    card = ModelCard(MOBILE, ("a", "b", "c"), SCALE.mean, SCALE.std, "run", 0)
    save_model(tmp_path / "m.safetensors", build_model(MOBILE, seed=3), card)
    loaded, _ = load_model(tmp_path / "m.safetensors")
    assert trained(loaded) == trained(build_model(MOBILE, seed=3))


def test_another_seed_gives_another_result() -> None:
    assert trained(build_model(LIGHT, seed=3), seed=1)[0] != trained(build_model(LIGHT, seed=3), seed=2)[0]


@pytest.mark.parametrize(
    ("spec", "augment"), [(replace(LIGHT, dropout=0.9), "none"), (replace(LIGHT, dropout=0.0), "flip")]
)
def test_dropout_and_augmentation_follow_the_seed_when_the_order_cannot_matter(spec: ModelSpec, augment: str) -> None:
    # One batch of all images: its order moves sums by rounding only, while masks and flips move them far.
    settings = replace(SETTINGS, batch_size=41, epochs=1, augment=augment)
    one, two = (np.frombuffer(trained(build_model(spec, seed=3), seed, settings)[0], np.float32) for seed in (1, 2))
    plain = replace(settings, augment="none")
    still = [
        np.frombuffer(trained(build_model(replace(spec, dropout=0.0), seed=3), seed, plain)[0], np.float32)
        for seed in (1, 2)
    ]
    assert np.abs(one - two).max() > 100 * np.abs(still[0] - still[1]).max()


def test_torchs_generator_and_the_models_mode_come_back() -> None:
    model = build_model(LIGHT, seed=0).eval()
    before = torch.get_rng_state()
    trained(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training


def test_one_step_is_plain_sgd() -> None:
    """Against the formula: w - lr (g + decay w), at the first step, where momentum has no past."""
    spec, data = replace(LIGHT, dropout=0.0), images(n=6)
    model, reference = build_model(spec, seed=0), build_model(spec, seed=0)
    settings = replace(SETTINGS, epochs=1, batch_size=6, augment="none", weight_decay=0.1)
    result = train_locally(model, data, SCALE, settings, seed=0)
    inputs = torch.from_numpy((data.images / 255 - 0.5) / 0.25).float().permute(0, 3, 1, 2)
    loss = F.cross_entropy(reference(inputs), torch.from_numpy(data.labels))
    loss.backward()
    for parameter, stepped in zip(reference.parameters(), model.parameters(), strict=True):
        expected = parameter - 0.05 * (parameter.grad + 0.1 * parameter)
        torch.testing.assert_close(stepped, expected, rtol=1e-4, atol=1e-6)
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    assert (result.samples, result.steps) == (6, 1)


def test_momentum_starts_anew_in_each_call() -> None:
    model = build_model(LIGHT, seed=0)
    vector = flatten(model)
    first = trained(model)
    unflatten(vector, model)
    assert trained(model) == first


def test_a_clipped_step_is_as_long_as_the_limit_allows() -> None:
    model = build_model(LIGHT, seed=0)
    before = flatten(model)
    train_locally(model, images(n=8), SCALE, replace(SETTINGS, epochs=1, momentum=0.0, lr=0.5, grad_clip=1e-3), seed=0)
    assert np.linalg.norm(flatten(model) - before) == pytest.approx(0.5 * 1e-3, rel=1e-3)


def test_a_limit_that_is_never_reached_changes_nothing() -> None:
    generous = replace(SETTINGS, grad_clip=1e9)
    assert trained(build_model(LIGHT, seed=3), settings=generous) == trained(build_model(LIGHT, seed=3))


def test_the_loss_is_the_mean_over_the_images_of_the_last_epoch() -> None:
    model = build_model(replace(LIGHT, dropout=0.0), seed=0)
    still = replace(SETTINGS, lr=1e-8, momentum=0.0, augment="none", epochs=2)
    result = train_locally(model, images(), SCALE, still, seed=0)
    assert result.loss == pytest.approx(evaluate(model, images(), SCALE).loss, rel=1e-4)


def test_a_lone_last_image_trains_under_batchnorm() -> None:
    model = build_model(replace(MOBILE, norm="batch", image_size_px=8), seed=0)
    result = train_locally(model, images(n=17, side=8), SCALE, SETTINGS, seed=0)
    assert result.steps == 2 * 2


def test_without_images_there_is_nothing_to_train() -> None:
    with pytest.raises(DataError, match="no images to train on"):
        train_locally(build_model(LIGHT, seed=0), images(n=0), SCALE, SETTINGS, seed=0)


@pytest.mark.parametrize(("n", "batch_size", "culprit"), [(1, 8, "only one image"), (9, 1, "`batch-size` is 1")])
def test_batchnorm_on_single_images_is_refused(n: int, batch_size: int, culprit: str) -> None:
    settings = replace(SETTINGS, batch_size=batch_size)
    with pytest.raises(DataError, match=culprit):
        train_locally(build_model(replace(MOBILE, norm="batch"), seed=0), images(n=n), SCALE, settings, seed=0)


@pytest.mark.parametrize(("n", "batch_size"), [(1, 8), (3, 1)])
def test_group_norm_trains_on_single_images(n: int, batch_size: int) -> None:
    settings = replace(SETTINGS, batch_size=batch_size)
    result = train_locally(build_model(MOBILE, seed=0), images(n=n), SCALE, settings, seed=0)
    assert result.samples == n


def test_a_loss_that_is_not_finite_stops_the_training_by_name() -> None:
    model = build_model(LIGHT, seed=0)
    with torch.no_grad():
        model.get_parameter("classifier.1.weight").fill_(float("inf"))
    before = torch.get_rng_state()
    with pytest.raises(FederationError, match="diverged: the loss was nan in epoch 1, step 1") as caught:
        train_locally(model, images(), SCALE, SETTINGS, seed=0)
    assert "lr" in caught.value.fix
    assert torch.equal(torch.get_rng_state(), before)


def test_a_last_step_that_destroys_the_weights_is_noticed() -> None:
    model = build_model(replace(LIGHT, dropout=0.0), seed=0)
    with torch.no_grad():
        model.get_parameter("classifier.1.bias").fill_(1e38)
    settings = replace(SETTINGS, epochs=1, batch_size=41, lr=3.4e38, weight_decay=10.0)
    with pytest.raises(FederationError, match="diverged: a weight was no longer finite"):
        train_locally(model, images(), SCALE, settings, seed=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match="CUDA"):
        train_locally(build_model(LIGHT, seed=0), images(), SCALE, replace(SETTINGS, device="cuda"), seed=0)


def test_settings_are_those_of_the_run() -> None:
    config = RunConfig(
        local_epochs=3, batch_size=7, lr=0.3, momentum=0.1, weight_decay=0.01, augment="flip", grad_clip=2.0
    )
    expected = TrainSettings(3, 7, 0.3, 0.1, 0.01, "flip", "cpu", 2.0)
    assert TrainSettings.of(config) == expected


def test_an_adjustment_sees_each_gradient_before_it_is_applied() -> None:
    model, seen = build_model(LIGHT, seed=0), []
    before = flatten(model)

    def nothing_is_left(changed: nn.Module) -> None:
        seen.append(sum(float(each.grad.abs().sum()) for each in changed.parameters() if each.grad is not None))
        for each in changed.parameters():
            if each.grad is not None:
                each.grad.zero_()

    result = train_locally(model, images(), SCALE, SETTINGS, seed=0, adjust=nothing_is_left)
    assert len(seen) == result.steps and min(seen) > 0
    np.testing.assert_array_equal(flatten(model), before)
