"""Sums over classes of the last layer: no picture moves them, noise does, and momentum spreads it as stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audit.leakage.class_sums import class_sums, momentum_gain
from secure_fl.models import ModelSpec, build_model


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "light_cnn", "tanh_cnn"])
def test_no_picture_moves_the_sums(architecture):
    model = build_model(ModelSpec(architecture, 7, 16, "group", 16, "small-images", 1.0, 0.1), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 3, 16, 16, generator=generator, dtype=torch.float64)
    F.cross_entropy(model(inputs), torch.arange(6)).backward()
    weight, bias = (each.grad.numpy() for each in list(model.parameters())[-2:])
    assert np.abs(weight).max() > 1e-3
    assert np.abs(class_sums(weight, bias)).max() < 1e-12 * np.abs(weight).max()


def test_noise_keeps_its_width_in_the_sums():
    rng = np.random.default_rng(0)
    found = class_sums(rng.standard_normal((10, 50_000)) * 3, rng.standard_normal(10) * 3)
    assert found.shape == (50_001,) and found.std() == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_momentum_spreads_noise_as_torchs_sgd_does(momentum, steps):
    # The step is linear in the gradients: its gain is read off by sending one gradient at a time.
    counts = []
    for sent in range(steps):
        w = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=1.0, momentum=momentum)
        for step in range(steps):
            w.grad = torch.tensor([1.0 if step == sent else 0.0])
            optimizer.step()
        counts.append(w.item())
    assert momentum_gain(momentum, steps) == pytest.approx(np.linalg.norm(counts), rel=1e-6)


@pytest.mark.parametrize(("weight", "bias"), [((3,), (3,)), ((3, 4), (4,)), ((3, 4), (3, 1))])
def test_what_is_no_last_layer_is_refused(weight, bias):
    with pytest.raises(ValueError, match="not weight and bias"):
        class_sums(np.zeros(weight), np.zeros(bias))
