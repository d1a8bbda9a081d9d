"""Defense and attack settings: what is built, and each combination that is refused, with its arithmetic."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from attacks.registry import DATA_ATTACKS, UPDATE_ATTACKS, WIRE_ATTACKS
from defenses.base import Surroundings
from defenses.registry import RULES
from secure_fl.adversity import (
    Space,
    build_attack,
    build_defense,
    fewest_replies,
    remembers,
    space_of,
    without_parameters,
)
from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError


def spelled(rule: str) -> str:
    missing = {key: 1.0 for key, default in RULES[rule].parameters.items() if default is None}
    return f"{rule}({','.join(f'{key}={value:g}' for key, value in missing.items())})" if missing else rule


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"defense": "krun", "byzantine": 1}, ["there is no defense `krun`", "did you mean `krum`?"]),
        ({"defense": "nnm+krum(", "byzantine": 1}, ["column 10"]),
        ({"defense": "krum(x=1)", "byzantine": 1}, ["krum(x=…)"]),
        ({"defense": "krum", "byzantine": 2}, ["`defense` is krum", "5"]),
        ({"byzantine": 1}, ["`byzantine` is 1 but `defense` is fedavg", "one hostile site"]),
        (
            {"defense": "trimmed_mean", "byzantine": 2, "quorum": 0.6},
            ["`quorum` is 0.6", "0.6 of 5 sites are 3 replies", "byzantine=2", "needs 5", "quorum=1"],
        ),
        ({"defense": "median", "dp-epsilon": 8.0, "dp-unit": "client"}, ["`dp-unit`", "sensitivity"]),
        ({"defense": "fltrust", "byzantine": 1}, ["`root-samples` is 0", "give both or neither"]),
        ({"defense": "median", "root-samples": 50}, ["`root-samples` is 50", "nothing else"]),
        ({"root-samples": 50}, ["`root-samples` is set but `defense` is fedavg"]),
        ({"attack": "alie"}, ["`attack` is 'alie' but `attackers` is 0"]),
        ({"attackers": 1}, ["`attack` is '' but `attackers` is 1"]),
        ({"attack": "alie", "attackers": 5}, ["`attackers` is 5 but `sites` is 5"]),
        ({"attack": "alee", "attackers": 1}, ["there is no attack `alee`", "did you mean `alie`?"]),
        ({"attack": "alie(q=1)", "attackers": 1}, ["alie(q=…)"]),
        ({"attack": "alie", "attackers": 1, "remote-sites": 1}, ["`remote-sites` is 1", "no coordinator makes"]),
        ({"attack": "alie", "attackers": 1, "grid": "ray"}, ["`grid` is ray"]),
        ({"attack": "alie", "attackers": 1, "dp-epsilon": 8.0}, ["`dp-epsilon` is set", "no privacy ledger"]),
        ({"attack": "alie+ipm", "attackers": 2}, ["only attacks on the wire can be mixed"]),
        ({"attack": "nan+alie", "attackers": 2}, ["only attacks on the wire can be mixed"]),
        *(
            ({"attack": f"nan+{name}", "attackers": 2, "grid": "local"}, [f"`attack` is {name}", "--grid deployment"])
            for name in ("late", "duplicate", "sybil")
        ),
    ],
)
def test_settings_that_cannot_keep_their_promise_are_refused_with_the_reason(
    settings: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_mapping({"sites": 5, **settings})
    text = " ".join((refused.value.what, refused.value.why, refused.value.fix))
    assert all(words in text for words in said), text


def test_where_no_quorum_is_set_it_is_what_the_defense_needs() -> None:
    assert RunConfig(sites=10).quorum_sites == 6
    assert RunConfig(sites=10, defense="trimmed_mean", byzantine=2).quorum_sites == 6
    assert RunConfig(sites=10, defense="trimmed_mean", byzantine=4).quorum_sites == 9
    assert RunConfig(sites=5, defense="nnm+trimmed_mean", byzantine=2).quorum_sites == 5
    assert RunConfig(sites=10, defense="krum", byzantine=2, quorum=0.8).quorum_sites == 8


@pytest.mark.parametrize(("defense", "f", "least"), [("trimmed_mean", 2, 5), ("krum", 2, 7), ("median", 3, 7)])
def test_the_fewest_replies_are_the_least_that_can_be_built(defense: str, f: int, least: int) -> None:
    assert fewest_replies(defense, sites=12, byzantine=f) == least
    build_defense(defense, sites=least, byzantine=f)
    with pytest.raises(ConfigError):
        build_defense(defense, sites=least - 1, byzantine=f)


def test_kinds_on_the_wire_are_taken_in_turn_by_the_attackers() -> None:
    names = [build_attack("nan+inf+stale", sites=9, attackers=5, place=place).name for place in range(5)]
    assert names == ["nan", "inf", "stale", "nan", "inf"]


def test_every_attack_has_its_space() -> None:
    assert {space_of(name) for name in UPDATE_ATTACKS} == {Space.UPDATE}
    assert {space_of(name) for name in DATA_ATTACKS} == {Space.DATA}
    assert {space_of(name) for name in WIRE_ATTACKS} == {Space.WIRE}


def test_an_attacker_that_knows_the_rule_but_not_its_parameters_guesses_what_has_a_default() -> None:
    assert without_parameters("clipping(c=7)+bucketing(s=3)+krum") == "clipping(c=7)+bucketing+krum"
    assert without_parameters("fedavg") == "fedavg"


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_that_remember_are_known_by_name(rule: str) -> None:
    draw = np.random.default_rng(3)
    first, second = (draw.normal(1, 1, (9, 40)).astype(np.float32) for _ in range(2))
    fresh = build_defense(spelled(rule), sites=9, byzantine=1)
    used = copy.copy(fresh)

    def step(defense: Any, updates: np.ndarray) -> np.ndarray:
        around = Surroundings(tuple(range(9)), updates.mean(axis=0), np.random.default_rng(5))
        return defense.aggregate(updates, around).step

    step(used, first)
    assert remembers(rule) == (not np.array_equal(step(used, second), step(fresh, second)))
