"""Plans keep their budget, say what they assume, and refuse numbers without meaning."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from secure_fl.errors import ConfigError
from secure_fl.privacy.accounting import PrivacyEvent, epsilon
from secure_fl.privacy.planning import plan, shares_of

GOOD: dict[str, Any] = {"epsilon": 8.0, "delta": 1e-5, "samples": 5000, "batch_size": 64, "steps": 500}


def test_a_plan_keeps_its_budget_by_the_reported_accountant() -> None:
    found = plan(**GOOD)
    assert (found.sample_rate, found.steps, found.delta, found.target_epsilon) == (0.0128, 500, 1e-5, 8.0)
    event = PrivacyEvent("poisson-gaussian", found.noise_multiplier, found.sample_rate, found.steps)
    assert found.epsilon["prv"] == epsilon([event], 1e-5)
    assert 7.9 < found.epsilon["prv"].value <= 8.0 < found.epsilon["rdp"].value
    assert abs(found.epsilon["prv"].value - found.epsilon["pld"].value) < 0.02


def test_a_plan_for_programs() -> None:
    document = json.loads(json.dumps(plan(**GOOD).to_mapping(), allow_nan=False))
    assert document["epsilon"].keys() == {"prv", "rdp", "pld"}
    assert document["notes"] == {}
    assert {name: document[name] for name in ("unit", "adjacency", "sampling")} == {
        "unit": "image",
        "adjacency": "add-remove",
        "sampling": "poisson",
    }


def test_a_stand_in_is_noted() -> None:
    document = plan(epsilon=8.0, delta=1e-12, samples=100, batch_size=10, steps=10).to_mapping()
    assert "RDP stands in" in document["notes"]["prv"]
    assert document["epsilon"]["prv"] == document["epsilon"]["rdp"] <= 8.0


def test_what_is_spent_is_counted() -> None:
    spent = [PrivacyEvent("poisson-gaussian", 1.0, 0.0128, 500)]
    found = plan(**GOOD, spent=iter(spent))
    assert found.noise_multiplier > plan(**GOOD).noise_multiplier
    assert 7.9 < found.epsilon["prv"].value <= 8.0


def test_every_image_in_every_step_is_a_plan_too() -> None:
    assert plan(epsilon=8.0, delta=1e-5, samples=64, batch_size=64, steps=5).sample_rate == 1.0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epsilon": 0.0}, "target"),
        ({"epsilon": -1.0}, "target"),
        ({"epsilon": math.nan}, "target"),
        ({"epsilon": math.inf}, "target"),
        ({"epsilon": 0.001}, "no noise"),
        ({"delta": 0.0}, "δ"),
        ({"delta": -1e-5}, "δ"),
        ({"delta": math.nan}, "δ"),
        ({"delta": 1 / 5000}, "δ"),
        ({"delta": 0.5}, "δ"),
        ({"samples": 0}, "samples"),
        ({"samples": -5}, "samples"),
        ({"batch_size": 5001}, "batch size"),
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": -64}, "batch size"),
        ({"batch_size": math.nan}, "batch size"),
        ({"steps": 0}, "steps"),
        ({"steps": -1}, "steps"),
    ],
    ids=str,
)
def test_numbers_without_meaning_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(**{**GOOD, **wrong})
    assert words in refused.value.what
    assert refused.value.fix


def test_shares_of_noise_add_up_to_the_plan_and_to_more_if_nobody_drops_out() -> None:
    shares = shares_of(2.0, sites=10)
    assert shares.honest == 7
    assert shares.each * math.sqrt(7) == pytest.approx(2.0)
    assert shares.all_alive / 2.0 == pytest.approx(math.sqrt(10 / 7))
    assert shares_of(2.0, sites=10, colluders=3).each == pytest.approx(1.0)
    assert shares.to_mapping() == {"honest": 7, "each": shares.each, "all_alive": shares.all_alive}


@pytest.mark.parametrize(("sites", "colluders", "message"), [(4, 0, "4 sites"), (5, 4, "may collude"), (5, -1, "may")])
def test_shares_that_nobody_can_rely_on_are_refused(sites: int, colluders: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shares_of(1.0, sites=sites, colluders=colluders)
