"""The Gaussian mechanism: as much noise as is accounted, and a little more for what rounding moves."""

from __future__ import annotations

import math

import pytest
import torch

from secure_fl.privacy.mechanism import gaussian_mechanism
from secure_fl.privacy.randomness import Randomness

D = 2_000_000


@pytest.mark.parametrize(("sensitivity", "noise_multiplier"), [(1.0, 0.7), (1e-4, 5.0), (300.0, 1.2)])
def test_the_noise_has_the_standard_deviation_that_is_accounted(sensitivity, noise_multiplier):
    made = gaussian_mechanism(
        torch.zeros(D, dtype=torch.float64),
        sensitivity=sensitivity,
        noise_multiplier=noise_multiplier,
        randomness=Randomness.from_system(),
    )
    assert float(made.std()) == pytest.approx(noise_multiplier * sensitivity, rel=6 / math.sqrt(2 * D))


def test_rounding_moves_the_values_by_less_than_the_noise_that_covers_it():
    values = torch.rand(D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = gaussian_mechanism(values, sensitivity=1.0, noise_multiplier=1e-30, randomness=Randomness.from_system())
    moved = float((made - values).norm())
    assert 0 < moved < 1e-5 / 100
    assert moved == pytest.approx(math.sqrt(D / 12) * 2.0**-36, rel=0.01)
