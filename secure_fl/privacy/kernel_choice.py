"""Which of the exact kernels to use where: by rule on CPUs, where they were measured; elsewhere by a first trial.

All kernels give the same numbers (to rounding), so a choice moves time and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from secure_fl.privacy import kernels

__all__ = ["depthwise_kernel", "is_small", "runs_channels_last"]

# Places of a map up to which matrix products and shifted products win (4 × 4).
_SMALL_MAP = 16
# Values of one sample's output up to which shifted products beat a summed gradient for each sample.
_SMALL_OUTPUT = 1 << 16
_TRIALS = 3

_chosen: dict[tuple[object, ...], str] = {}


def is_small(x: Tensor) -> bool:
    """Whether the maps of `x`, (n, c, H, W), are so small that plain matrix products beat convolutions."""
    return x.shape[2] * x.shape[3] <= _SMALL_MAP


def runs_channels_last(x: Tensor) -> bool:
    """Whether a convolution of `x` runs channels-last: on CPUs always, elsewhere where maps are small."""
    return x.device.type == "cpu" or is_small(x)


def depthwise_kernel(
    layer: nn.Conv2d, padding: list[int], x: Tensor, weight: Tensor, g: Tensor, *, measure: bool | None = None
) -> str:
    """A name for `kernels.conv_weight_gradients`. measure: try all and remember; by default on anything but a CPU."""
    if not (x.device.type != "cpu" if measure is None else measure):
        return "taps" if g[:1].numel() <= _SMALL_OUTPUT else "by-sample"
    key = (x.device.type, x.dtype, tuple(x.shape), layer.kernel_size, layer.stride, tuple(padding), layer.dilation)
    if key not in _chosen:
        tried: dict[str, Callable[[], Tensor]] = {
            "taps": lambda: kernels.depthwise_taps(layer, padding, x, g),
            "by-sample": lambda: kernels.depthwise_by_sample(layer, padding, x, weight, g),
            "folded": lambda: kernels.depthwise_folded(layer, padding, x, weight, g),
            "unfolded": lambda: kernels.unfolded(layer, padding, x, g),
        }
        _chosen[key] = min(tried, key=lambda name: _seconds(tried[name], x.device))
    return _chosen[key]


def _seconds(kernel: Callable[[], Tensor], device: torch.device) -> float:
    """The best of a few runs; the first one of all warms up."""
    times = []
    for _ in range(_TRIALS + 1):
        began = time.perf_counter()
        kernel()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])
