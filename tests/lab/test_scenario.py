"""A scenario says everything that decides its numbers, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import ConfigError, NotFoundError
from secure_fl.lab.scenario import ENGINE, Scenario


def test_the_manifest_holds_every_setting_but_names_and_folders(small: Scenario) -> None:
    protected = small.changed(secagg="full").manifest()
    assert set(protected) == {"engine", *small.to_mapping()} - {"name", "teaches", "data-dir"}
    assert protected["engine"] == ENGINE


def test_settings_of_secure_aggregation_are_no_part_of_a_manifest_without_it(small: Scenario) -> None:
    assert set(small.changed(secagg="full").manifest()) - set(small.manifest()) == {
        "secagg", "secagg-group-size", "secagg-clip",
    }  # fmt: skip
    assert small.changed(secagg_clip=3.0).digest() == small.digest()


def test_a_manifest_is_a_scenario_again_with_the_same_digest(small: Scenario) -> None:
    assert Scenario.from_mapping(small.manifest()).digest() == small.digest()


def test_the_digest_is_pinned_so_that_results_on_disk_keep_their_names() -> None:
    assert Scenario().digest() == "72a53c5e307ca7a54507cfaf6ad6ac92e04e3d5335e2578ffb5833c6d2b3dba1"


def test_names_and_folders_do_not_change_the_digest(small: Scenario) -> None:
    assert small.changed(name="other", teaches="much", data_dir="elsewhere").digest() == small.digest()


@pytest.mark.parametrize("change", [{"seed": 1}, {"attack": "zero"}, {"defense": "median"}, {"alpha": 0.4}])
def test_every_other_change_changes_the_digest(small: Scenario, change: dict[str, Any]) -> None:
    assert small.changed(**change).digest() != small.digest()


def test_one_meaning_has_one_digest(small: Scenario) -> None:
    spaced = small.changed(defense=" clipping( c = 2.0 ) + median ", attack="alie(z=1.50)")
    assert spaced.digest() == small.changed(defense="clipping(c=2)+median", attack="alie(z=1.5)").digest()


def test_as_many_attack_as_are_assumed_unless_it_is_said() -> None:
    assert Scenario(byzantine=3).attackers == 3
    assert Scenario(byzantine=3, attackers=1).changed(byzantine=2).attackers == 1
    assert Scenario(byzantine=3).changed(byzantine=2).attackers == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"clients": 0}, "`clients` is 0"),
        ({"rounds": 1.5}, "`rounds` is 1.5"),
        ({"rounds": "many"}, "a whole number"),
        ({"lr": float("nan")}, "`lr` is nan"),
        ({"momentum": True}, "a number"),
        ({"partition": "fair"}, "iid, dirichlet"),
        ({"defense": "Krum"}, "column 1"),
        ({"byzantine": 10}, "more clients than Byzantine"),
        ({"byzantine": 1, "attackers": 10}, "nobody would be left"),
        ({"image-size": 4}, "at least 8 px"),
        ({"engine": ENGINE + 1}, "of engine"),
        ({"defence": "krum"}, "did you mean `defense`"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_do(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Scenario.from_mapping(values)
    assert words in f"{caught.value} {caught.value.fix}"


def test_text_from_the_command_line_becomes_numbers() -> None:
    assert Scenario.from_mapping({"rounds": "3", "lr": "0.5"}) == Scenario(rounds=3, lr=0.5)


def test_a_file_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("rounds = 0")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        Scenario.load(file)
    file.write_text("rounds = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        Scenario.load(file)
    with pytest.raises(NotFoundError):
        Scenario.load(tmp_path / "none.toml")


def test_a_file_gives_a_scenario_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('local-epochs = 2\nattack = "zero"\nbyzantine = 1')
    loaded = Scenario.load(tmp_path / "mine.toml")
    assert (loaded.name, loaded.local_epochs, loaded.attackers) == ("mine", 2, 1)
