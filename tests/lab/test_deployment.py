"""A scenario becomes a run with the same words, or is refused with the setting that no run has."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.deployment import run_config
from secure_fl.lab.scenario import Scenario

SCENARIO = Scenario(clients=5, byzantine=1, attack="sign_flip", defense="multi_krum", rounds=2, lr=0.03, seed=4)


def test_settings_that_both_have_are_taken_over() -> None:
    config = run_config(SCENARIO)
    assert (config.grid, config.sites, config.byzantine, config.attackers) == ("deployment", 5, 1, 1)
    assert (config.attack, config.defense, config.rounds, config.lr, config.seed) == (
        "sign_flip", "multi_krum", 2, 0.03, 4
    )  # fmt: skip


def test_without_a_defense_or_an_attack_nothing_is_said_of_them() -> None:
    config = run_config(SCENARIO.changed(defense="fedavg", attack=""))
    assert (config.defense, config.byzantine, config.attack, config.attackers) == ("fedavg", 0, "", 0)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "mlp"},
        {"defense": "flower_multi_krum"},
        {"weighting": "samples"},
        {"poisoning": "each-batch"},
        {"augment": "flip-pad"},
        {"pixel_std": 0.3},
    ],
)
def test_what_only_the_lab_has_is_refused_by_name(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ConfigError, match=name.replace("_", "-")) as caught:
        run_config(SCENARIO.changed(**change))
    assert "--grid local" in caught.value.fix
