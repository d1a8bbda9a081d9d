"""The process that trains: threads, deterministic kernels, and a device that exists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from secure_fl.errors import ConfigError
from secure_fl.training.device import configure_torch, torch_threads, usable_device


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_threads_and_determinism_are_set() -> None:
    assert configure_torch(1, "cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("ask", [lambda: usable_device("cuda"), lambda: configure_torch(1, "cuda")])
def test_cuda_is_refused_where_there_is_none(ask: object) -> None:
    with pytest.raises(ConfigError, match="`device` is cuda but there is no usable CUDA device") as caught:
        ask()  # type: ignore[operator]
    assert "--device cpu" in caught.value.fix


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_found_where_there_is_one() -> None:
    assert usable_device("cuda").type == "cuda"


def test_threads_are_as_many_as_asked_inside_the_block_and_as_before_after_it() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
