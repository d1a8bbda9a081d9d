"""DP-SGD's step: what moves the parameters is the clipped sum, noise of the stated size, over the expected batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secure_fl.errors import ConfigError
from secure_fl.privacy.engine import PrivateTraining
from secure_fl.privacy.randomness import Randomness
from tests.privacy.test_book_keeping import clipped, naive

LR = 1.0


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    ).double()


def data(n: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(2)
    return torch.randn(n, 3, 8, 8, generator=made, dtype=torch.float64), torch.randint(0, 10, (n,), generator=made)


def training(
    net: nn.Module, *, noise: float = 1e-12, randomness: Randomness | None = None, **changes
) -> PrivateTraining:
    options = {"noise_multiplier": noise, "max_grad_norm": 0.5, "expected_batch_size": 7.5, **changes}
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    return PrivateTraining(net, optimizer, randomness=randomness or Randomness.from_system(), **options)


def moved(net: nn.Module, step) -> torch.Tensor:
    before = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    step()
    return before - nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize("microbatch", [1, 3, 4, 10, 64])
def test_the_step_is_the_clipped_sum_over_the_expected_batch_however_it_is_cut(microbatch):
    net, (x, labels) = model(), data()
    expected = clipped(naive(net, x, labels), 0.5) / 7.5
    with training(net, microbatch=microbatch) as private:
        found = moved(net, lambda: private.step(x, labels))
    assert float((found - expected).norm() / expected.norm()) < 1e-6  # the noise is 1e-12, drawn in float32


def test_views_stay_together_however_small_the_microbatch():
    net, (x, labels) = model(), data(9)
    labels = labels[::3].repeat_interleave(3)
    rows = naive(net, x, labels)
    expected = clipped([torch.stack(rows[at : at + 3]).mean(0) for at in (0, 3, 6)], 0.5) / 7.5
    with training(net, microbatch=4) as private:
        found = moved(net, lambda: private.step(x, labels, views=3))
    assert float((found - expected).norm() / expected.norm()) < 1e-6


class Wide(nn.Module):
    """A million parameters whose gradient is zero where the input is: the noise stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1000, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[:, :10]


def test_the_noise_of_a_step_has_the_stated_size_and_five_percent_less_would_be_seen():
    net = Wide()
    with training(net, noise=1.3, max_grad_norm=0.8, expected_batch_size=4.0) as private:
        noise = moved(net, lambda: private.step(torch.zeros(0, 1000), torch.zeros(0, dtype=torch.int64))).double()
    stated = 1.3 * 0.8 / 4.0
    n = len(noise)
    # chi-square: the sum of squares of n standard normals has mean n and standard deviation sqrt(2n)
    deviations = (float((noise / stated).square().sum()) - n) / math.sqrt(2 * n)
    assert abs(deviations) < 5
    assert abs(float(noise.std()) / stated - 1) < 0.01
    weaker = (float((0.95 * noise / stated).square().sum()) - n) / math.sqrt(2 * n)
    assert weaker < -50
    # Gaussian: shares within 1, 2 and 3 standard deviations
    for deviation, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert float((noise.abs() < deviation * stated).double().mean()) == pytest.approx(share, abs=0.003)


def test_an_empty_batch_is_a_step_with_noise_and_is_counted():
    net, counted = model(), []
    with training(net, noise=1.0, after_step=lambda optimizer: counted.append(optimizer.noise_multiplier)) as private:
        found = moved(net, lambda: private.step(torch.zeros(0, 3, 8, 8).double(), torch.zeros(0, dtype=torch.int64)))
        private.step(*data(130))  # three microbatches are one step
    assert float(found.abs().min()) > 0 and counted == [1.0, 1.0]


def test_the_noise_is_of_no_seed_and_a_test_that_needs_one_says_so():
    def noise_of(randomness: Randomness) -> torch.Tensor:
        torch.manual_seed(7)
        np.random.seed(7)
        net = model()
        with training(net, noise=1.0, randomness=randomness) as private:
            return moved(net, lambda: private.step(torch.zeros(0, 3, 8, 8).double(), torch.zeros(0, dtype=torch.int64)))

    a, b = noise_of(Randomness.from_system()), noise_of(Randomness.from_system())
    assert abs(float(F.cosine_similarity(a, b, dim=0))) < 0.2
    assert torch.equal(noise_of(Randomness.insecure_for_tests(3)), noise_of(Randomness.insecure_for_tests(3)))
    assert Randomness.insecure_for_tests(3).insecure and not Randomness.from_system().insecure


def test_closing_leaves_nothing_behind():
    net = model()
    private = training(net)
    private.step(*data())
    private.close()
    assert all(
        each.grad is None and not {"summed_grad", "grad_sample"} & set(each.__dict__) for each in net.parameters()
    )


@pytest.mark.parametrize("change", ["noise_multiplier", "max_grad_norm", "expected_batch_size", "microbatch"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_without_a_meaning_are_refused(change, value):
    with pytest.raises(ConfigError, match=change):
        training(model(), **{change: value})


def test_an_optimizer_of_other_parameters_or_with_weight_decay_is_refused():
    net = model()
    options = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "expected_batch_size": 1.0}
    for optimizer, reason in (
        (torch.optim.SGD(net[0].parameters(), lr=LR), "does not hold exactly"),
        (torch.optim.SGD(net.parameters(), lr=LR, weight_decay=0.1), "weight decay"),
    ):
        with pytest.raises(ConfigError, match=reason):
            PrivateTraining(net, optimizer, randomness=Randomness.from_system(), **options)


def test_rows_that_are_not_whole_records_and_batch_norm_switched_on_later_are_refused():
    net = nn.Sequential(nn.BatchNorm2d(3).eval().requires_grad_(False), *model()).double()
    with training(net) as private:
        with pytest.raises(ConfigError, match="not 3 views"):
            private.step(*data(), views=3)
        with pytest.raises(ConfigError, match="not 0 views"):
            private.step(*data(), views=0)
        net.train()
        with pytest.raises(ConfigError, match="is in training mode"):
            private.step(*data())
