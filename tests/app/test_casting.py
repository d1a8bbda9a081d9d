"""Who plays an attacker: the launcher's choice alone, and everybody can see it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.app.casting import board_folder, card_mark, parts, simulation
from secure_fl.app.identity import open_roster
from secure_fl.config import RunConfig
from secure_fl.config_sources import resolve
from secure_fl.runs import RunRecord

ROSTER = open_roster([10] * 4)


def cast(attack: str, attackers: int) -> list[set[str]]:
    config = RunConfig(sites=4, attack=attack, attackers=attackers, grid="local")
    return [set(each) for each in parts(config, Path("board"), wait_s=0.0)]


BOARD, ATTACKER = {"board", "board-wait-s"}, {"board", "board-wait-s", "attack", "attackers"}


@pytest.mark.parametrize(
    ("attack", "honest"), [("sign_flip", set()), ("label_flip", set()), ("nan", set()), ("alie", BOARD), ("rop", BOARD)]
)
def test_honest_sites_lay_their_updates_open_only_to_an_attack_that_looks_at_them(
    attack: str, honest: set[str]
) -> None:
    assert cast(attack, 2) == [honest, honest, ATTACKER, ATTACKER]


def test_a_run_without_an_attack_gives_no_site_a_part_and_bears_no_mark() -> None:
    assert cast("", 0) == [set()] * 4
    assert simulation(RunConfig(sites=4), ROSTER) is None and card_mark(RunConfig(sites=4)) == {}


def test_the_mark_names_the_attack_and_who_carries_it_out() -> None:
    config = RunConfig(sites=4, attack="alie", attackers=2)
    assert simulation(config, ROSTER) == {"attack": "alie", "attackers": ["site-2", "site-3"]}
    assert card_mark(config) == {"simulated-attack": "alie by 2 of 4 sites"}


def test_the_board_is_closed_to_others_and_outlives_a_run_that_was_cut_off(home: Path) -> None:
    assignments = ("sites=4", "attack=alie", "attackers=1", "grid=local")
    record = RunRecord.create(home, resolve(flags={}, assignments=assignments, environ={}, preset="smoke"))
    with pytest.raises(KeyboardInterrupt), board_folder(record) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "kept").touch()
        raise KeyboardInterrupt
    with board_folder(record) as folder:
        assert (folder / "kept").exists()
        record.append("run-started", pid=1, resumed_from_round=0)
        record.append("run-finished", status="succeeded")
    assert not folder.exists()
