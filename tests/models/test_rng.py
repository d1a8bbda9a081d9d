"""Lending torch's generator leaves no trace."""

from __future__ import annotations

import pytest
import torch

from secure_fl.models.rng import seeded_torch


def test_the_block_draws_what_the_seed_determines() -> None:
    torch.manual_seed(1)
    with seeded_torch(7):
        first = torch.rand(3)
    torch.manual_seed(2)
    with seeded_torch(7):
        second = torch.rand(3)
    assert torch.equal(first, second)
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_the_callers_draws_go_on_as_if_the_block_had_not_been() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with seeded_torch(7):
        torch.rand(100)
    assert torch.equal(torch.rand(4), expected)


def test_the_state_comes_back_also_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded_torch(7):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
