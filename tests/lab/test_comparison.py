"""The grid of a comparison: what is in it, in which order, under which names, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.comparison import CLEAN, UNDEFENDED, Comparison, Setting
from secure_fl.lab.scenario import Scenario

BASE = Scenario(name="tiny", model="softmax", clients=5, partition="dirichlet")


def grid(**changes: Any) -> Comparison:
    axes = {"attacks": ("sign_flip",), "defenses": ("median",), "byzantine": (1,), "alphas": (0.5,), "seeds": (0, 1)}
    return Comparison(BASE, **{**axes, **changes})


def test_no_attack_and_no_defense_are_always_there_and_first() -> None:
    found = grid()
    assert found.attacks == (CLEAN, "sign_flip")
    assert found.defenses == (UNDEFENDED, "median")
    assert grid(defenses=("median", UNDEFENDED)).defenses == (UNDEFENDED, "median")


def test_a_whole_seed_comes_before_the_next_and_begins_with_the_baseline() -> None:
    cells = list(grid().cells())
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4
    assert cells[0].setting == Setting(1, 0.5, UNDEFENDED, CLEAN)
    assert len({cell.digest for cell in cells}) == len(cells) == 8


def test_cells_of_one_seed_differ_in_attack_and_defense_alone() -> None:
    varied = {"attack", "defense", "attackers"}
    first, *rest = [cell.scenario.manifest() for cell in grid().cells() if cell.seed == 0]
    for each in rest:
        assert {key for key in first if each[key] != first[key]} <= varied


def test_where_nobody_attacks_the_rule_still_allows_for_f() -> None:
    clean = next(cell.scenario for cell in grid().cells() if cell.setting.attack == CLEAN)
    assert (clean.byzantine, clean.attackers, clean.attack) == (1, 0, "")
    hostile = next(cell.scenario for cell in grid().cells() if cell.setting.attack)
    assert (hostile.byzantine, hostile.attackers) == (1, 1)


def test_equal_comparisons_have_equal_digests_however_they_are_written() -> None:
    assert grid(attacks=("scaled( factor = -10.0 )",)).digest() == grid(attacks=("scaled(factor=-10)",)).digest()
    assert grid(seeds=(1, 0)).digest() == grid().digest()
    assert grid(seeds=(0, 2)).digest() != grid().digest()
    assert grid().manifest()["base"].keys() & {"attack", "defense", "alpha", "seed", "byzantine"} == set()


def test_the_name_of_the_scenario_changes_no_cell() -> None:
    other = Comparison(BASE.changed(name="other"), ("sign_flip",), ("median",), (1,), (0.5,), (0, 1))
    assert [cell.digest for cell in other.cells()] == [cell.digest for cell in grid().cells()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attacks": ()}, "no attack"),
        ({"attacks": ("",)}, "no attack"),
        ({"attacks": ("sign_flip", "sign_flip()")}, "twice"),
        ({"defenses": ("median", "median")}, "twice"),
        ({"defenses": ("median+",)}, "no composition"),
        ({"byzantine": (0,)}, "cannot attack"),
        ({"byzantine": (5,)}, "`clients` is 5"),
        ({"byzantine": ()}, "nothing is given"),
        ({"alphas": (0.0,)}, "alpha"),
        ({"seeds": (1, 1)}, "twice"),
        ({"seeds": (-1,)}, "seed"),
    ],
    ids=str,
)
def test_a_grid_without_meaning_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        grid(**changes)
