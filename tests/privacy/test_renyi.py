"""The Rényi accountant against Opacus's, which is written apart, and against what is known in closed form."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from opacus.accountants import RDPAccountant

from secure_fl.privacy.renyi import ORDERS, renyi_epsilon


def of_opacus(steps: list[tuple[float, float, int]], delta: float) -> float:
    accountant = RDPAccountant()
    accountant.history = list(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def test_the_orders_are_those_of_opacus() -> None:
    assert list(ORDERS) == RDPAccountant.DEFAULT_ALPHAS


@pytest.mark.parametrize(
    ("noise", "rate"),
    [*itertools.product((0.3, 0.7, 1.0, 2.5, 20.0), (1e-4, 0.05, 0.5, 0.9)), (0.01, 0.05), (1000.0, 0.1)],
)
def test_it_says_what_opacus_says(noise: float, rate: float) -> None:
    for number, delta in ((1000, 1e-5), (1, 1e-14)):
        ours, theirs = renyi_epsilon([(noise, rate, number)], delta), of_opacus([(noise, rate, number)], delta)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_different_steps_add_up() -> None:
    mixed = [(1.0, 0.05, 20), (2.0, 0.3, 7), (5.0, 1.0, 3)]
    assert renyi_epsilon(mixed, 1e-5) == pytest.approx(of_opacus(mixed, 1e-5), rel=1e-12)


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_without_sampling_it_is_the_formula(noise: float) -> None:
    orders = np.array(ORDERS)
    bounds = orders / (2 * noise**2) - (math.log(1e-5) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    assert renyi_epsilon([(noise, 1.0, 1)], 1e-5) == pytest.approx(float(bounds.min()), rel=1e-12)


def test_what_is_kept_of_a_step_is_not_changed_by_who_asked() -> None:
    first = renyi_epsilon([(1.5, 0.1, 10)], 1e-5)
    renyi_epsilon([(1.5, 0.1, 10), (1.5, 0.2, 10)], 1e-5)
    assert renyi_epsilon([(1.5, 0.1, 10)], 1e-5) == first
