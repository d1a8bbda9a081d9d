"""Stand-ins for the layers that have kernels of ours: same output, and gradients by sample for a book-keeper.

Each is a function of a layer and a keeper that gives the layer's new forward. Its backward returns the gradient of
the input alone; that of the weights goes to the keeper by sample, so that autograd never computes the unclipped sum.
With a keeper that is not private it is the summed gradient, by the same kernels: a benchmark's fair baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secure_fl.privacy import kernels
from secure_fl.privacy.kernel_choice import depthwise_kernel, is_small, runs_channels_last

if TYPE_CHECKING:
    from secure_fl.privacy.book_keeping import BookKeeper

__all__ = ["convolution", "normalisation", "product"]

Forward = Callable[[nn.Module, Tensor], Tensor]


def convolution(layer: nn.Conv2d, keeper: BookKeeper) -> Forward:
    """Any padding, stride, dilation and groups."""
    padding, extra = _padding(layer)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = F.pad(x, extra, mode) if extra else x
        made: Tensor = _Convolution.apply(x, self.weight, self.bias, self, padding, keeper)
        return made

    return forward


def normalisation(layer: nn.GroupNorm, keeper: BookKeeper) -> Forward:
    """GroupNorm over (n, c, anything)."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        made: Tensor = _Normalisation.apply(x, self.weight, self.bias, self, keeper)
        return made

    return forward


def product(layer: nn.Linear, keeper: BookKeeper) -> Forward:
    """Linear over (n, anything, in)."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        made: Tensor = _Product.apply(x, self.weight, self.bias, self, keeper)
        return made

    return forward


def _padding(layer: nn.Conv2d) -> tuple[list[int], list[int]]:
    """Symmetric padding for the kernels; and what is padded before, (left, right, top, bottom), if they cannot."""
    if layer.padding_mode != "zeros":
        return [0, 0], list(layer._reversed_padding_repeated_twice)
    if not isinstance(layer.padding, str):
        return list(layer.padding), []
    if layer.padding == "valid":
        return [0, 0], []
    total = [dilation * (kernel - 1) for dilation, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
    if not any(each % 2 for each in total):
        return [each // 2 for each in total], []
    (top, bottom), (left, right) = ((each // 2, each - each // 2) for each in total)
    return [0, 0], [left, right, top, bottom]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: nn.Conv2d,
        padding: list[int],
        keeper: BookKeeper,
    ) -> Tensor:
        ctx.last, ctx.small = runs_channels_last(x), is_small(x)
        x = x.contiguous(memory_format=torch.channels_last if ctx.last else torch.contiguous_format)
        ctx.layer, ctx.padding, ctx.keeper = layer, padding, keeper
        keeper.row_bytes = max(keeper.row_bytes, x[:1].nbytes)
        ctx.save_for_backward(x, weight)
        if not kernels.is_pointwise(layer) or (ctx.last and not ctx.small):
            return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)
        n, channels, height, width = x.shape
        matrix = weight.view(weight.shape[0], channels)
        if ctx.small:
            rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
            y = rows @ matrix.t() if bias is None else torch.addmm(bias, rows, matrix.t())
            return y.view(n, height, width, -1).permute(0, 3, 1, 2)
        # Not matmul: it would fold the batch into the rows, and copy x to do so.
        y = torch.bmm(matrix.unsqueeze(0).expand(n, -1, -1), x.view(n, channels, -1)).view(n, -1, height, width)
        return y if bias is None else y + bias.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        layer, padding, keeper = ctx.layer, ctx.padding, ctx.keeper
        g = gradients[0].contiguous(memory_format=torch.channels_last if ctx.last else torch.contiguous_format)
        flow = of_weight = of_bias = None
        if ctx.needs_input_grad[2]:
            if keeper.private:
                keeper.note_gradients(layer.bias, g.sum((2, 3)))
            else:
                of_bias = g.sum((0, 2, 3))
        if kernels.is_pointwise(layer):
            flow, of_weight = _pointwise_backward(ctx, x, weight, g)
            return flow, of_weight, of_bias, None, None, None
        if ctx.needs_input_grad[0]:
            flow = kernels.conv_input_gradient(layer, padding, x, weight, g)
        if ctx.needs_input_grad[1]:
            kernel = depthwise_kernel(layer, padding, x, weight, g) if kernels.is_depthwise(layer) else "unfolded"
            if keeper.private:
                made = kernels.conv_weight_gradients(layer, padding, x, weight, g, depthwise=kernel)
                keeper.note_gradients(layer.weight, made)
            elif kernel == "taps":
                of_weight = kernels.depthwise_taps(layer, padding, x, g).sum(0)
            else:
                of_weight = torch.ops.aten.convolution_backward(
                    g, x, weight, None, list(layer.stride), padding, list(layer.dilation), False, [0, 0],
                    layer.groups, [False, True, False],
                )[1]  # fmt: skip
        return flow, of_weight, of_bias, None, None, None


def _pointwise_backward(ctx: Any, x: Tensor, weight: Tensor, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradient of the input, and of the weight where the keeper is not private."""
    n, channels, height, width = x.shape
    outputs, places, keeper = g.shape[1], height * width, ctx.keeper
    matrix = weight.view(outputs, channels)
    flow = of_weight = None
    if ctx.last:
        inputs = x.permute(0, 2, 3, 1).reshape(n, places, channels)
        given = g.permute(0, 2, 3, 1).reshape(n, places, outputs)
        if ctx.needs_input_grad[0] and not ctx.small:
            flow = kernels.conv_input_gradient(ctx.layer, [0, 0], x, weight, g)
        elif ctx.needs_input_grad[0]:
            flow = (given.view(-1, outputs) @ matrix).view(n, height, width, channels).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            if keeper.private:
                keeper.note_pair(ctx.layer.weight, inputs, given)
            else:
                of_weight = (given.view(-1, outputs).t() @ inputs.view(-1, channels)).view_as(weight)
        return flow, of_weight
    inputs, given = x.view(n, channels, places), g.view(n, outputs, places)
    if ctx.needs_input_grad[0]:
        flow = torch.bmm(matrix.t().unsqueeze(0).expand(n, -1, -1), given).view_as(x)
    if ctx.needs_input_grad[1]:
        if keeper.private:
            keeper.note_pair(ctx.layer.weight, inputs.transpose(1, 2), given.transpose(1, 2))
        else:
            of_weight = torch.bmm(given, inputs.transpose(1, 2)).sum(0).view_as(weight)
    return flow, of_weight


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.GroupNorm, keeper: BookKeeper) -> Tensor:
        n, channels = x.shape[:2]
        places = x[0, 0].numel()
        y, mean, rstd = torch.native_group_norm(x, weight, bias, n, channels, places, layer.num_groups, layer.eps)
        ctx.layer, ctx.keeper = layer, keeper
        ctx.save_for_backward(x, mean, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, mean, rstd = ctx.saved_tensors
        layer, keeper, g = ctx.layer, ctx.keeper, gradients[0]
        shape = x.shape
        if x.dim() != 4:  # (n, c, anything): the kernels think in maps
            x, g = x.reshape(*shape[:2], -1, 1), g.reshape(*shape[:2], -1, 1)
        flow, of_weight, of_bias = kernels.group_norm_gradients(layer, x, mean, rstd, g)
        flow = flow.reshape(shape)
        if not keeper.private:
            return flow, of_weight.sum(0), of_bias.sum(0), None, None
        if ctx.needs_input_grad[1]:
            keeper.note_gradients(layer.weight, of_weight)
        if ctx.needs_input_grad[2]:
            keeper.note_gradients(layer.bias, of_bias)
        return flow, None, None, None, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Linear, keeper: BookKeeper
    ) -> Tensor:
        ctx.layer, ctx.keeper = layer, keeper
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        layer, keeper, g = ctx.layer, ctx.keeper, gradients[0]
        flow = g @ weight if ctx.needs_input_grad[0] else None
        inputs, given = x.reshape(len(x), -1, x.shape[-1]), g.reshape(len(g), -1, g.shape[-1])
        if not keeper.private:
            of_weight = given.flatten(0, 1).t() @ inputs.flatten(0, 1)
            return flow, of_weight, None if layer.bias is None else given.sum((0, 1)), None, None
        if ctx.needs_input_grad[1]:
            keeper.note_pair(layer.weight, inputs, given)
        if ctx.needs_input_grad[2]:
            keeper.note_gradients(layer.bias, given.sum(1))
        return flow, None, None, None, None
