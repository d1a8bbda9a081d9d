"""Per-sample gradients for Opacus's hooks without its waste: the middle rung, for convolutions that we do not replace.

Opacus multiplies every output channel with the patches of every input channel and then keeps the diagonal blocks of
the groups; for a depthwise layer of C channels that is C times the work. Here each group is multiplied by itself.
The book-keeper asks these first for layers that its own kernels do not cover (Conv1d, Conv3d); `fast_samplers`
lends them to Opacus's own `GradSampleModule`, whose users then have them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from opacus.utils.tensor_utils import unfold3d
from torch import Tensor, nn

__all__ = ["FAST_SAMPLERS", "fast_samplers"]

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Sampler = Callable[[Any, list[Tensor], Tensor], Mapping[Any, Tensor]]


def _convolution(layer: Convolution, activations: list[Tensor], output_gradients: Tensor) -> dict[Tensor, Tensor]:
    """Opacus's signature: by parameter, (n, *parameter.shape)."""
    x, g = activations[0].to(output_gradients.dtype), output_gradients
    n, groups = len(g), layer.groups
    found: dict[Tensor, Tensor] = {}
    if layer.weight.requires_grad:
        patches = _patches(layer, x).reshape(n * groups, -1, g[0, 0].numel())
        by_group = torch.bmm(g.reshape(n * groups, layer.out_channels // groups, -1), patches.transpose(1, 2))
        found[layer.weight] = by_group.view(n, *layer.weight.shape)
    if layer.bias is not None and layer.bias.requires_grad:
        found[layer.bias] = g.flatten(2).sum(2)
    return found


def _patches(layer: Convolution, x: Tensor) -> Tensor:
    """(n, in·k, places): what each output place sees."""
    if isinstance(layer.padding, str):
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice), (0,) * len(layer.kernel_size)
    else:
        padding = layer.padding
    if isinstance(layer, nn.Conv3d):
        unfolded: Tensor = unfold3d(
            x, kernel_size=layer.kernel_size, padding=padding, stride=layer.stride, dilation=layer.dilation
        )
        return unfolded
    ones, nothing = (1,) * (2 - len(padding)), (0,) * (2 - len(padding))  # a line is an image of one row
    x = x.unsqueeze(2) if ones else x
    return F.unfold(x, ones + layer.kernel_size, ones + layer.dilation, nothing + padding, ones + layer.stride)


FAST_SAMPLERS: dict[type[nn.Module], Sampler] = dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution)


@contextmanager
def fast_samplers() -> Iterator[None]:
    """Inside the block, models that Opacus wraps use these samplers; its own are put back afterwards."""
    before = {layer: GradSampleModule.GRAD_SAMPLERS[layer] for layer in FAST_SAMPLERS}
    GradSampleModule.GRAD_SAMPLERS.update(FAST_SAMPLERS)
    try:
        yield
    finally:
        GradSampleModule.GRAD_SAMPLERS.update(before)
