"""One layer's backward pass with per-sample weight gradients: exact, and each map size by its fastest kernel.

Opacus computes the full (out × in·k·k) product of a grouped convolution and keeps its diagonal blocks, which for
depthwise layers wastes a factor of C. The kernels here do only the work that is used. Measured on CPUs:

* on CPUs everything runs channels-last, which oneDNN's convolutions are fastest at;
* on maps up to 4×4, 1×1 convolutions are one matrix product, and depthwise ones are shifted products over the valid
  overlaps alone; PyTorch's own depthwise weight gradient is pathologically slow there;
* on larger maps the summed weight gradient of one sample after the other costs hardly more than that of all, and
  so does GroupNorm's;
* elsewhere (not on CPUs) larger maps run channels-first, with the batch folded into the groups: per-sample gradients
  at the price of the summed one;
* anything else is unfolded and multiplied group by group.

Shapes: x (n, ci, H, W), g (n, co, Ho, Wo): the layer's input and the gradient of its output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "conv_input_gradient",
    "conv_weight_gradients",
    "depthwise_by_sample",
    "depthwise_folded",
    "depthwise_taps",
    "group_norm_gradients",
    "is_depthwise",
    "is_pointwise",
    "unfolded",
]

_CONV = torch.ops.aten.convolution_backward
_GROUP_NORM = torch.ops.aten.native_group_norm_backward
# Up to this many places of a map, formulas over the batch beat the native GroupNorm backward.
_SMALL_NORM_MAP = {"folded": 4, "by-sample": 64}


def is_pointwise(layer: nn.Conv2d) -> bool:
    """A 1×1 convolution over all channels: a matrix product at each place."""
    unit = layer.kernel_size == (1, 1) and layer.stride == (1, 1)
    return unit and layer.groups == 1 and layer.padding in ((0, 0), "same", "valid")


def is_depthwise(layer: nn.Conv2d) -> bool:
    """One filter a channel."""
    return layer.groups == layer.in_channels == layer.out_channels


def conv_input_gradient(layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor) -> Tensor:
    """The gradient that flows on, shaped like `x`."""
    made: Tensor = _backward(layer, padding, x, weight, g, layer.groups, [True, False, False])[0]
    return made


def conv_weight_gradients(
    layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor, *, depthwise: str
) -> Tensor:
    """Each sample's gradient of the weight, (n, *weight.shape); `depthwise`: taps, by-sample, folded or unfolded."""
    if is_depthwise(layer):
        if depthwise == "taps":
            return depthwise_taps(layer, padding, x, g)
        if depthwise == "by-sample":
            return depthwise_by_sample(layer, padding, x, weight, g)
        if depthwise == "folded":
            return depthwise_folded(layer, padding, x, weight, g)
    return unfolded(layer, padding, x, g)


def depthwise_taps(layer: nn.Conv2d, padding: list[int], x: Tensor, g: Tensor) -> Tensor:
    """(n, c, 1, kh, kw): for each tap, the sum over the places where filter and map overlap."""
    inputs, outputs = x.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1)
    n, height, width, c = inputs.shape
    rows, columns = outputs.shape[1:3]
    kh, kw = layer.kernel_size
    taps = inputs.new_zeros(n, kh * kw, c)
    for i in range(kh):
        top, bottom, down = _overlap(i * layer.dilation[0] - padding[0], layer.stride[0], height, rows)
        for j in range(kw):
            left, right, across = _overlap(j * layer.dilation[1] - padding[1], layer.stride[1], width, columns)
            if top >= bottom or left >= right:
                continue
            seen = inputs[:, down : down + (bottom - top - 1) * layer.stride[0] + 1 : layer.stride[0]]
            seen = seen[:, :, across : across + (right - left - 1) * layer.stride[1] + 1 : layer.stride[1]]
            given = outputs[:, top:bottom, left:right]
            if (bottom - top) * (right - left) == 1:
                torch.mul(seen[:, 0, 0], given[:, 0, 0], out=taps[:, i * kw + j])
            else:
                torch.sum(seen * given, (1, 2), out=taps[:, i * kw + j])
    return taps.transpose(1, 2).reshape(n, c, 1, kh, kw)


def depthwise_by_sample(layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor) -> Tensor:
    """The same by one summed gradient a sample; the fastest where x and g are channels-last."""
    found = weight.new_empty(len(x), *weight.shape)
    for i in range(len(x)):
        wanted = [False, True, False]
        found[i] = _backward(layer, padding, x[i : i + 1], weight, g[i : i + 1], layer.groups, wanted)[1]
    return found


def depthwise_folded(layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor) -> Tensor:
    """The same by one summed gradient of n·c groups: the batch of one image has n·c channels."""
    n, c = x.shape[:2]
    folded = x.reshape(1, n * c, *x.shape[2:]), weight.repeat(n, 1, 1, 1), g.reshape(1, n * c, *g.shape[2:])
    made: Tensor = _backward(layer, padding, *folded, n * c, [False, True, False])[1]
    return made.view(n, *weight.shape)


def unfolded(layer: nn.Conv2d, padding: list[int], x: Tensor, g: Tensor) -> Tensor:
    """Any convolution: patches times output gradients, by sample and group."""
    n, groups = x.shape[0], layer.groups
    patches = F.unfold(x, layer.kernel_size, layer.dilation, tuple(padding), layer.stride)
    patches = patches.view(n * groups, -1, patches.shape[-1])
    given = g.reshape(n * groups, layer.out_channels // groups, -1)
    return torch.bmm(given, patches.transpose(1, 2)).view(n, *layer.weight.shape)


def group_norm_gradients(
    layer: nn.GroupNorm, x: Tensor, mean: Tensor, rstd: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the input, and each sample's of weight and bias, (n, c) both. mean, rstd: (n, groups)."""
    n, c, height, width = x.shape
    places = height * width
    if x.is_contiguous() and places > _SMALL_NORM_MAP["folded"]:
        # One sample of n·c channels: the summed gradient is then each sample's own.
        flow, weight, bias = _GROUP_NORM(
            g.contiguous().view(1, n * c, height, width),
            x.view(1, n * c, height, width),
            mean.view(1, -1),
            rstd.view(1, -1),
            layer.weight.detach().repeat(n),
            1,
            n * c,
            places,
            n * layer.num_groups,
            [True, True, True],
        )
        return flow.view_as(x), weight.view(n, c), bias.view(n, c)
    if places > _SMALL_NORM_MAP["by-sample"]:
        return _group_norm_gradients_by_sample(layer, x, mean, rstd, g)
    return _small_group_norm_gradients(layer, x, mean, rstd, g)


def _group_norm_gradients_by_sample(
    layer: nn.GroupNorm, x: Tensor, mean: Tensor, rstd: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n, c, height, width = x.shape
    g = g.contiguous(memory_format=torch.channels_last)
    flow, weight, bias = torch.empty_like(x), x.new_empty(n, c), x.new_empty(n, c)
    scale = layer.weight.detach()
    for i in range(n):
        one = slice(i, i + 1)
        flow[one], weight[i], bias[i] = _GROUP_NORM(
            g[one], x[one], mean[one], rstd[one], scale, 1, c, height * width, layer.num_groups, [True, True, True]
        )
    return flow, weight, bias


def _small_group_norm_gradients(
    layer: nn.GroupNorm, x: Tensor, mean: Tensor, rstd: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The textbook formula, channels last: a dozen operations whose cost does not grow with the number of groups."""
    n, c, height, width = x.shape
    groups, size = layer.num_groups, c // layer.num_groups
    inputs, given = x.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1)
    bias, products = given.sum((1, 2)), (inputs * given).sum((1, 2))
    mean, rstd = mean.view(n, groups), rstd.view(n, groups)
    grouped = products.view(n, groups, size), bias.view(n, groups, size)
    weight = ((grouped[0] - mean.unsqueeze(2) * grouped[1]) * rstd.unsqueeze(2)).reshape(n, c)
    scale = layer.weight.detach().view(1, groups, size)
    share = 1.0 / (size * height * width)
    of_products, of_bias = (grouped[0] * scale).sum(2), (grouped[1] * scale).sum(2)
    slope = (of_bias * mean - of_products) * rstd**3 * share
    offset = -slope * mean - of_bias * rstd * share

    def by_channel(values: Tensor) -> Tensor:
        return values.unsqueeze(2).expand(n, groups, size).reshape(n, 1, 1, c)

    flow = torch.addcmul(by_channel(offset), inputs, by_channel(slope))
    flow = flow.addcmul_(given, (rstd.unsqueeze(2) * scale).reshape(n, 1, 1, c))
    return flow.permute(0, 3, 1, 2), weight, bias


def _overlap(offset: int, stride: int, size: int, outputs: int) -> tuple[int, int, int]:
    """Output places first .. last - 1 at which a tap lies on the map, and the input place of the first."""
    first = max(0, -(offset // stride))
    last = min(outputs, (size - 1 - offset) // stride + 1)
    return first, last, first * stride + offset


def _backward(
    layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor, groups: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    made: tuple[Tensor, Tensor, Tensor] = _CONV(
        g, x, weight, None, list(layer.stride), padding, list(layer.dilation), False, [0, 0], groups, wanted
    )
    return made
