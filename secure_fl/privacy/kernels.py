"""One layer's backward pass with per-sample weight gradients: exact, and each map size by its fastest kernel.

Opacus computes the full (out × in·k·k) product of a grouped convolution and keeps its diagonal blocks, which for
depthwise layers wastes a factor of C. The kernels here do only the work that is used. Measured on CPUs:

* on CPUs everything runs channels-last, which oneDNN's convolutions are fastest at;
* on maps up to 4×4, 1×1 convolutions are one matrix product; PyTorch's own depthwise weight gradient is
  pathologically slow there;
* depthwise weight gradients are shifted products over the valid overlaps, a cache-full of samples at a time; only
  where a single sample fills the cache, the summed gradient of one sample after the other is faster;
* GroupNorm's flow is the native one, and its per-sample sums are two reductions; large samples go one by one;
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
# Values of a sample up to which GroupNorm's reductions over the batch beat its native backward sample by sample.
_SMALL_SAMPLE = 1 << 15
# Values of a block of samples whose shifted products stay in the cache (1 MiB of float32).
_CACHED = 1 << 18


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
    n, c = x.shape[:2]
    taps = x.new_zeros(n, layer.kernel_size[0] * layer.kernel_size[1], c)
    rows = max(1, _CACHED // max(1, outputs[0].numel())) if n else 1
    for start in range(0, n, rows):
        block = slice(start, start + rows)
        _fill_taps(layer, padding, inputs[block], outputs[block], taps[block])
    return taps.transpose(1, 2).reshape(n, *layer.weight.shape)


def _fill_taps(layer: nn.Conv2d, padding: list[int], inputs: Tensor, outputs: Tensor, taps: Tensor) -> None:
    """inputs (n, H, W, c) and outputs (n, Ho, Wo, c) into taps (n, kh·kw, c), which are zero."""
    height, width = inputs.shape[1:3]
    rows, columns = outputs.shape[1:3]
    kh, kw = layer.kernel_size
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
    if x.device.type == "cpu" and x[:1].numel() <= _SMALL_SAMPLE:
        return _group_norm_gradients_by_reduction(layer, x, mean, rstd, g)
    if x.device.type == "cpu" and not x.is_contiguous():
        return _group_norm_gradients_by_sample(layer, x, mean, rstd, g)
    # One sample of n·c channels: the summed gradient is then each sample's own.
    flow, weight, bias = _GROUP_NORM(
        g.contiguous().view(1, n * c, height, width),
        x.contiguous().view(1, n * c, height, width),
        mean.view(1, -1),
        rstd.view(1, -1),
        layer.weight.detach().repeat(n),
        1,
        n * c,
        height * width,
        n * layer.num_groups,
        [True, True, True],
    )
    return flow.view(x.shape), weight.view(n, c), bias.view(n, c)


def _group_norm_gradients_by_reduction(
    layer: nn.GroupNorm, x: Tensor, mean: Tensor, rstd: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The native flow; for weight and bias, Σ g·(x - mean)·rstd and Σ g over the places of each sample."""
    n, c, height, width = x.shape
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    x, g = x.contiguous(memory_format=layout), g.contiguous(memory_format=layout)
    scale, groups = layer.weight.detach(), layer.num_groups
    flow: Tensor = _GROUP_NORM(g, x, mean, rstd, scale, n, c, height * width, groups, [True, False, False])[0]
    bias, products = g.sum((2, 3)), (x * g).sum((2, 3))
    by_group = (products.view(n, groups, -1) - mean.view(n, groups, 1) * bias.view(n, groups, -1)) * rstd.view(
        n, groups, 1
    )
    return flow, by_group.reshape(n, c), bias


def _group_norm_gradients_by_sample(
    layer: nn.GroupNorm, x: Tensor, mean: Tensor, rstd: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n, c, height, width = x.shape
    x, g = (each.contiguous(memory_format=torch.channels_last) for each in (x, g))
    flow, weight, bias = torch.empty_like(x), x.new_empty(n, c), x.new_empty(n, c)
    scale = layer.weight.detach()
    for i in range(n):
        one = slice(i, i + 1)
        flow[one], weight[i], bias[i] = _GROUP_NORM(
            g[one], x[one], mean[one], rstd[one], scale, 1, c, height * width, layer.num_groups, [True, True, True]
        )
    return flow, weight, bias


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
