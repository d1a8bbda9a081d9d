"""Threads, determinism and device of a process that trains. Call `configure_torch` once, at its start.

Equal inputs give equal bits only with an equal number of threads on the same kind of processor: sums
are split by thread, and kernels are chosen by instruction set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from secure_fl.errors import ConfigError

__all__ = ["configure_torch", "torch_threads", "usable_device"]


def configure_torch(threads: int, device: str) -> torch.device:
    """Set the thread count of this process, have torch use deterministic kernels, and find the device.

    On the CPU this costs nothing (the filling of uninitialised memory, a debugging aid that comes
    with it, is turned off); on CUDA some kernels are slower.

    Raises:
        ConfigError: `device` is cuda, and this process cannot use CUDA.
    """
    # cuBLAS reads this when it is first used; without it, deterministic mode refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    return usable_device(device)


def usable_device(device: str) -> torch.device:
    """`device` as torch names it.

    Raises:
        ConfigError: it is cuda, and this process cannot use CUDA.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        raise ConfigError(
            f"`device` is {device} but there is no usable CUDA device",
            why="no GPU or no working driver was found" if built else "this build of PyTorch has no CUDA support",
            fix="give --device cpu, or install a CUDA build of PyTorch and a driver",
        )
    return torch.device(device)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
