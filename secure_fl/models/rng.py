"""Randomness that leaves no trace.

PyTorch draws initial weights and dropout masks from one generator for the whole process. A site must
get the same result whatever ran before it in the process, and must not change what runs after it, so
we lend it that generator: seed it, use it, put the caller's state back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded_torch"]


@contextmanager
def seeded_torch(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Within the block, torch's default generators of the CPU and of `device` start from `seed`.

    The states before the block are restored after it, also when it raises. Generators of other
    devices are neither read nor seeded (`torch.manual_seed` would seed all of them).
    """
    device = torch.device(device)
    on_cuda = device.type == "cuda"
    index = (device.index if device.index is not None else torch.cuda.current_device()) if on_cuda else None
    with torch.random.fork_rng(devices=[] if index is None else [index]):
        torch.default_generator.manual_seed(seed)
        if index is not None:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
