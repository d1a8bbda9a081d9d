"""Gradient inversion: exact where it can be, near the picture without protection, nowhere near it with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from audit.leakage.inversion import (
    Scaling,
    analytic_input,
    audit_inversion,
    clipped_and_noised,
    gradients,
    infer_label,
    invert,
    summed_with,
)
from audit.leakage.pictures import psnr_db, ssim
from secure_fl.config import RunConfig
from secure_fl.data import load_site
from secure_fl.models import ModelSpec, build_model

SCALING = Scaling((0.3, 0.3, 0.3), (0.32, 0.32, 0.32))


def network(seed: int = 0) -> nn.Module:
    return build_model(ModelSpec("tanh_cnn", 10, 16, "group", 16, "small-images", 1.0, 0.0), seed=seed).eval()


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images = load_site(RunConfig(), 0).train
    return images.images, images.labels


def test_a_linear_first_layer_gives_its_picture_away_exactly(digits):
    picture, torch_seed = digits[0][0], torch.Generator().manual_seed(0)
    first = nn.Linear(picture.size, 32)
    nn.init.normal_(first.weight, std=0.02, generator=torch_seed)
    model = nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(32, 10)).eval()
    weight, bias, *_ = gradients(model, SCALING.inputs(picture), torch.tensor([3]))
    found = analytic_input(weight, bias).view(1, 3, *picture.shape[:2])
    np.testing.assert_array_equal(SCALING.picture(found), picture)
    with pytest.raises(ValueError, match="no unit"):
        analytic_input(weight * 0, bias * 0)


def test_gradients_are_those_of_the_summed_loss(digits):
    model, inputs = network(), torch.cat([SCALING.inputs(each) for each in digits[0][:2]])
    labels = torch.from_numpy(digits[1][:2])
    F.cross_entropy(model(inputs), labels, reduction="sum").backward()
    for ours, parameter in zip(gradients(model, inputs, labels), model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


@pytest.mark.parametrize("seed", range(3))
def test_the_label_of_every_picture_is_in_its_update(digits, seed):
    model = network(seed)
    for picture, label in zip(digits[0][:40], digits[1][:40], strict=True):
        observed = gradients(model, SCALING.inputs(picture), torch.tensor([label]))
        assert infer_label(model, observed) == label


def test_the_bare_update_shows_the_picture_and_the_protected_one_does_not(digits):
    model, picture, label = network(), digits[0][0], int(digits[1][0])
    others = [
        gradients(model, SCALING.inputs(each), torch.tensor([int(said)]))
        for each, said in zip(digits[0][1:5], digits[1][1:5], strict=True)
    ]
    found = audit_inversion(
        model, picture, label, SCALING, seed=1,
        protections={"noise": clipped_and_noised(1.0, 1.0, seed=2), "sum of 5": summed_with(others)},
    )  # fmt: skip
    assert found.plain.psnr_db > 25 and found.plain.ssim > 0.9 and found.plain.label == label
    for name in ("noise", "sum of 5"):
        hidden = found.protected[name]
        assert hidden.psnr_db < 15 and hidden.ssim < 0.5 and hidden.distance > found.plain.distance
    assert found.plain.picture.shape == picture.shape and found.plain.picture.dtype == np.uint8


def test_equal_seeds_find_equal_pictures_and_others_do_not(digits):
    model = network()
    observed = gradients(model, SCALING.inputs(digits[0][0]), torch.tensor([0]))
    one, again, other = (
        invert(model, observed, 0, digits[0][0].shape, SCALING, steps=5, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_protection_clips_to_its_norm_and_adds_the_noise_it_says():
    given = (torch.full((100,), 3.0), torch.full((10, 10), 4.0))
    bare = clipped_and_noised(2.0, 1e-12, seed=0)(given)
    assert torch.cat([each.flatten() for each in bare]).norm() == pytest.approx(2.0, rel=1e-6)
    short = clipped_and_noised(1e6, 1e-18, seed=0)(given)
    torch.testing.assert_close(short, given)
    (noise,) = clipped_and_noised(2.0, 1.5, seed=0)((torch.full((50_000,), 1e-9),))
    assert noise.std() == pytest.approx(3.0, rel=0.02)


def test_secure_aggregation_shows_the_sum():
    given, other = (torch.ones(3),), (torch.arange(3.0),)
    torch.testing.assert_close(summed_with([other, other])(given), (torch.tensor([1.0, 3.0, 5.0]),))


def test_a_picture_comes_back_from_its_inputs_as_it_was(digits):
    np.testing.assert_array_equal(SCALING.picture(SCALING.inputs(digits[0][3])), digits[0][3])


def test_a_model_that_still_trains_or_has_no_bias_is_refused():
    model = network().train()
    with pytest.raises(ValueError, match="training mode"):
        gradients(model, torch.zeros(1, 3, 16, 16), torch.tensor([0]))
    bare = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False)).eval()
    with pytest.raises(ValueError, match="no last linear layer"):
        infer_label(bare, gradients(bare, torch.zeros(1, 3, 2, 2), torch.tensor([0])))


def naive_ssim(x: np.ndarray, y: np.ndarray) -> float:
    c1, c2, found = 6.5025, 58.5225, []
    for channel in range(x.shape[2]):
        for i in range(x.shape[0] - 6):
            for j in range(x.shape[1] - 6):
                a, b = (each[i : i + 7, j : j + 7, channel].astype(float) for each in (x, y))
                covariance = ((a - a.mean()) * (b - b.mean())).mean()
                top = (2 * a.mean() * b.mean() + c1) * (2 * covariance + c2)
                found.append(top / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (a.var() + b.var() + c2)))
    return float(np.mean(found))


def test_similarity_is_its_definition(digits):
    x = digits[0][0]
    y = np.clip(x.astype(int) + np.random.default_rng(0).integers(-30, 30, x.shape), 0, 255).astype(np.uint8)
    assert ssim(x, y) == pytest.approx(naive_ssim(x, y), rel=1e-9) and ssim(x, x) == pytest.approx(1.0)
    shifted = np.full((8, 8, 3), 10, np.uint8)
    assert psnr_db(shifted, shifted + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr_db(x, x) == 99.0


def test_what_are_not_two_pictures_is_refused():
    small = np.zeros((6, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="no window"):
        ssim(small, small)
    with pytest.raises(ValueError, match="not two pictures"):
        psnr_db(small, small.astype(np.float32))  # type: ignore[arg-type]
