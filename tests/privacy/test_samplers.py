"""The samplers that Opacus's hooks may use: equal to its own, without the waste."""

from __future__ import annotations

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from secure_fl.privacy.book_keeping import BookKeeper
from secure_fl.privacy.samplers import FAST_SAMPLERS, fast_samplers

SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
OWN = {layer: GradSampleModule.GRAD_SAMPLERS[layer] for layer in FAST_SAMPLERS}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2), (1, "same", 2)])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_every_convolution_gives_opacuss_gradients(dimensions, stride, padding, dilation, groups, bias):
    torch.manual_seed(0)
    layer = LAYERS[dimensions](4, 8, 3, stride, padding, dilation, groups=groups, bias=bias).double()
    x = torch.randn(3, 4, *SIZES[dimensions], dtype=torch.float64)
    g = torch.randn(layer(x).shape, dtype=torch.float64)
    found, truth = FAST_SAMPLERS[type(layer)](layer, [x], g), OWN[type(layer)](layer, [x], g)
    assert set(found) == set(truth) == set(layer.parameters())
    for parameter, rows in truth.items():
        torch.testing.assert_close(found[parameter], rows, rtol=1e-10, atol=1e-10)


def test_opacus_has_them_inside_the_block_and_its_own_again_outside():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4 * 9, 2)).double()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)

    def sampled() -> list[torch.Tensor]:
        wrapped = GradSampleModule(model)
        wrapped(x).sum().backward()
        rows = [each.grad_sample for each in model.parameters()]
        wrapped.to_standard_module()
        return rows

    before = sampled()
    with fast_samplers():
        assert GradSampleModule.GRAD_SAMPLERS[nn.Conv2d] is FAST_SAMPLERS[nn.Conv2d]
        inside = sampled()
    assert GradSampleModule.GRAD_SAMPLERS[nn.Conv2d] is OWN[nn.Conv2d]
    for one, other in zip(before, inside, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_book_keeper_takes_them_for_layers_without_a_kernel_of_its_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 8, 3, groups=4), nn.Flatten(), nn.Linear(8 * 5, 3)).double()
    x = torch.randn(6, 4, 7, dtype=torch.float64)
    norms = []
    for i in range(6):
        model.zero_grad()
        model(x[i : i + 1]).square().sum().backward()
        norms.append(torch.cat([each.grad.flatten() for each in model.parameters()]).norm())
    with BookKeeper(model) as keeper:
        keeper.backward(model(x).square().sum(), rows=6)
        found = keeper.clipped_sums(1.0)
    torch.testing.assert_close(found.norms, torch.stack(norms), rtol=1e-10, atol=1e-10)
