"""Each kernel against the definition, on its own: gradients of one sample after the other by autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secure_fl.privacy import kernels

N, CHANNELS = 3, 8


def expected(layer: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The input's gradient, and each parameter's by sample."""
    leaf = x.detach().clone().requires_grad_()
    flow = torch.autograd.grad((layer(leaf) * g).sum(), leaf)[0]
    rows = [torch.autograd.grad((layer(x[i : i + 1]) * g[i : i + 1]).sum(), list(layer.parameters())) for i in range(N)]
    return flow, [torch.stack(each) for each in zip(*rows, strict=True)]


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "channels-last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":  # neither of the two layouts that kernels are written for
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x.contiguous()


@pytest.mark.parametrize("layout", ["channels-first", "channels-last", "transposed"])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 8, 9])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_is_exact_in_every_layout_and_size(groups, size, layout):
    torch.manual_seed(0)
    layer = nn.GroupNorm(groups, CHANNELS).double()
    nn.init.normal_(layer.weight)
    x, g = (laid_out(torch.randn(N, CHANNELS, size, size, dtype=torch.float64), layout) for _ in range(2))
    _, mean, rstd = torch.native_group_norm(
        x.contiguous(), layer.weight, layer.bias, N, CHANNELS, size * size, groups, layer.eps
    )
    found = kernels.group_norm_gradients(layer, x, mean, rstd, g)
    flow, (weight, bias) = expected(layer, x, g)
    for each, truth in zip(found, (flow, weight, bias), strict=True):
        torch.testing.assert_close(each, truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", ["channels-first", "channels-last"])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(1, 1, 1), (4, 1, 1), (5, 2, 1), (9, 2, 2)])
def test_the_depthwise_kernels_are_each_exact_in_both_layouts(size, stride, dilation, layout):
    torch.manual_seed(0)
    padding = [dilation, dilation]
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, dilation, dilation, groups=CHANNELS, bias=False).double()
    x = laid_out(torch.randn(N, CHANNELS, size, size, dtype=torch.float64), layout)
    g = laid_out(torch.randn(layer(x).shape, dtype=torch.float64), layout)
    flow, (truth,) = expected(layer, x, g)
    weight = layer.weight.detach()
    torch.testing.assert_close(kernels.conv_input_gradient(layer, padding, x, weight, g), flow, rtol=1e-10, atol=1e-10)
    for name in ("taps", "by-sample", "folded", "unfolded"):
        found = kernels.conv_weight_gradients(layer, padding, x, weight, g, depthwise=name)
        torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-10)


def test_what_counts_as_pointwise_and_depthwise():
    assert kernels.is_pointwise(nn.Conv2d(4, 6, 1)) and kernels.is_pointwise(nn.Conv2d(4, 6, 1, padding="same"))
    for other in (nn.Conv2d(4, 6, 1, 2), nn.Conv2d(4, 6, 1, padding=1), nn.Conv2d(4, 6, 1, groups=2)):
        assert not kernels.is_pointwise(other)
    assert kernels.is_depthwise(nn.Conv2d(4, 4, 3, groups=4))
    assert not kernels.is_depthwise(nn.Conv2d(4, 8, 3, groups=4))  # two filters a channel: unfolded
