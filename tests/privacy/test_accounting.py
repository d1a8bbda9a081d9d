"""ε by three accountants: they agree where they must, and none may say less than the truth."""

from __future__ import annotations

import json
import math

import pytest

from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import ACCOUNTANTS, PrivacyEvent, epsilon, epsilons, noise_multiplier_for

DELTA = 1e-5
# (q, σ, steps) and what Opacus's RDP and PRV said of it when the project was planned.
GRID = [
    (0.0512, 1.0, 200, 5.498, 4.896),
    (0.0512, 2.0, 1000, 4.134, 3.811),
    (0.0128, 0.8, 1000, 4.636, 4.043),
    (0.0819, 3.0, 1000, 4.212, 3.893),
    (0.5, 4.0, 100, 6.350, 5.879),
    (1.0, 10.0, 50, 3.189, 2.953),
]


def steps(number: int = 100, *, noise: float = 1.0, rate: float = 0.05) -> PrivacyEvent:
    return PrivacyEvent("poisson-gaussian", noise, rate, number)


@pytest.mark.parametrize(("rate", "noise", "number", "rdp", "prv"), GRID)
def test_accountants_written_apart_agree(rate: float, noise: float, number: int, rdp: float, prv: float) -> None:
    found = epsilons([steps(number, noise=noise, rate=rate)], DELTA)
    assert found.keys() == {"prv", "rdp", "pld"}
    assert all(each.accountant == name and not each.note for name, each in found.items())
    assert abs(found["prv"].value - found["pld"].value) < 0.02
    assert found["prv"].value == pytest.approx(prv, abs=2e-3)
    assert found["rdp"].value == pytest.approx(rdp, abs=2e-3)


def exact_gaussian_epsilon(noise: float, number: int, delta: float) -> float:
    """The truth for the plain Gaussian mechanism, by bisection (Balle and Wang 2018, arXiv:1805.06530, theorem 8)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    mu = math.sqrt(number) / noise
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        spent = phi(mu / 2 - middle / mu) - math.exp(middle) * phi(-mu / 2 - middle / mu)
        low, high = (middle, high) if spent > delta else (low, middle)
    return high


@pytest.mark.parametrize(("noise", "number"), [(10.0, 50), (4.0, 1), (3.0, 9)])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_nobody_says_less_than_the_truth_where_it_is_known(noise: float, number: int, delta: float) -> None:
    truth = exact_gaussian_epsilon(noise, number, delta)
    found = epsilons([PrivacyEvent("gaussian", noise, 1.0, number)], delta)
    assert all(each.value >= truth for each in found.values())
    assert found["prv"].value < truth + 0.02


@pytest.mark.parametrize("accountant", ["prv", "rdp", "pld"])
def test_rounds_compose_to_what_one_long_run_costs(accountant: str) -> None:
    assert epsilon([steps(20)] * 10, DELTA, accountant) == epsilon([steps(200)], DELTA, accountant)
    mixed = [steps(50), steps(50, noise=2.0), steps(50)]
    assert epsilon(mixed, DELTA, accountant) == epsilon([mixed[1], steps(100)], DELTA, accountant)
    assert epsilon(mixed, DELTA, accountant).value > epsilon([steps(100)], DELTA, accountant).value


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_more_steps_never_cost_less(accountant: str) -> None:
    costs = [epsilon([steps(number)], DELTA, accountant).value for number in (1, 2, 3, 10, 100, 101, 1000)]
    assert costs == sorted(costs)
    assert costs[0] > 0


@pytest.mark.parametrize("accountant", ["prv", "rdp", "pld"])
def test_nothing_done_costs_nothing(accountant: str) -> None:
    assert epsilon([], DELTA, accountant).value == 0.0


def test_numbers_are_python_floats_that_json_takes() -> None:
    for each in epsilons([steps()], DELTA).values():
        assert type(each.value) is float
        json.dumps(each.value, allow_nan=False)


@pytest.mark.parametrize(
    ("event", "delta", "why"),
    [
        (steps(10, noise=0.01), DELTA, "PRV failed"),
        (steps(100_000, noise=0.5, rate=1.0), DELTA, "PRV failed"),
        # PRV alone gives 13.3951 here, less than PLD's 13.3975.
        (steps(500), 1e-12, "PRV failed"),
    ],
)
def test_rdp_stands_in_where_prv_fails_and_it_is_said(event: PrivacyEvent, delta: float, why: str) -> None:
    found = epsilon([event], delta)
    assert found.accountant == "rdp"
    assert why in found.note and "RDP stands in" in found.note
    assert found.value == epsilon([event], delta, "rdp").value
    assert math.isfinite(found.value)


def test_the_accountant_that_under_reports_is_not_offered() -> None:
    assert "gdp" not in ACCOUNTANTS
    with pytest.raises(ConfigError, match="gdp"):
        epsilon([steps()], DELTA, "gdp")
    with pytest.raises(ConfigError, match="gdp"):
        noise_multiplier_for(8.0, DELTA, 0.05, 100, accountant="gdp")


@pytest.mark.parametrize(
    "wrong",
    [
        ("laplace", 1.0, 0.1, 1),
        ("poisson-gaussian", 0.0, 0.1, 1),
        ("poisson-gaussian", -1.0, 0.1, 1),
        ("poisson-gaussian", math.nan, 0.1, 1),
        ("poisson-gaussian", math.inf, 0.1, 1),
        ("poisson-gaussian", 1.0, 0.0, 1),
        ("poisson-gaussian", 1.0, 1.1, 1),
        ("poisson-gaussian", 1.0, math.nan, 1),
        ("poisson-gaussian", 1.0, 0.1, 0),
        ("poisson-gaussian", 1.0, 0.1, 1.5),
        ("poisson-gaussian", 1.0, 0.1, True),
        ("gaussian", 1.0, 0.1, 1),
    ],
)
def test_an_event_without_meaning_is_refused(wrong: tuple[str, float, float, int]) -> None:
    with pytest.raises(ConfigError):
        PrivacyEvent(*wrong)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_without_meaning_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError, match="δ"):
        epsilon([steps()], delta)
    with pytest.raises(ConfigError, match="δ"):
        epsilon([], delta)


def test_planned_noise_keeps_the_target_and_wastes_little() -> None:
    noise = noise_multiplier_for(4.0, DELTA, 0.05, 200)
    assert 3.95 < epsilon([steps(200, noise=noise)], DELTA).value <= 4.0
    assert epsilon([steps(200, noise=noise * 0.998)], DELTA).value > 4.0
    # What the better accountant saves: Rényi would ask for about 5 % more noise.
    assert 1.02 < noise_multiplier_for(4.0, DELTA, 0.05, 200, accountant="rdp") / noise < 1.2


def test_a_target_below_what_renyi_can_certify_is_planned_by_prv() -> None:
    with pytest.raises(ConfigError, match="no noise"):
        noise_multiplier_for(0.05, DELTA, 0.05, 10, accountant="rdp")
    noise = noise_multiplier_for(0.05, DELTA, 0.05, 10)
    assert epsilon([steps(10, noise=noise)], DELTA).value <= 0.05


def test_noise_on_top_of_what_is_spent() -> None:
    before = [steps(100, noise=2.0)]
    noise = noise_multiplier_for(4.0, DELTA, 0.05, 100, spent=iter(before))
    assert 3.9 < epsilon([*before, steps(100, noise=noise)], DELTA).value <= 4.0
    with pytest.raises(ConfigError, match="nothing is left") as refused:
        noise_multiplier_for(1.0, DELTA, 0.05, 100, spent=before)
    assert "is spent already" in refused.value.why


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_a_target_without_meaning_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match="target"):
        noise_multiplier_for(target, DELTA, 0.05, 100)


def test_a_target_that_no_noise_reaches_is_refused() -> None:
    with pytest.raises(ConfigError, match="no noise"):
        noise_multiplier_for(0.009, DELTA, 0.05, 100)
