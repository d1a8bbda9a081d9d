"""The merge of all sources of settings: who wins, where a value came from, and whose mistake it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.config import RunConfig
from secure_fl.config_sources import parse_assignments, preset_names, resolve
from secure_fl.errors import ConfigError


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def test_without_any_source_everything_is_default() -> None:
    resolved = resolve(flags={}, environ={})
    assert resolved.config == RunConfig()
    assert set(resolved.origins.values()) == {"default"}


def test_flag_beats_assignment_beats_environment_beats_file_beats_preset(toml: Path) -> None:
    toml.write_text("rounds = 20\nlr = 0.2\nsites = 20\nalpha = 2.0\n")
    resolved = resolve(
        flags={"rounds": 50},
        assignments=["rounds=40", "lr=0.4"],
        environ={"SFL_ROUNDS": "30", "SFL_LR": "0.3", "SFL_SITES": "30", "HOME": "/"},
        file=toml,
        preset="demo",
    )
    config, origins = resolved.config, resolved.origins
    assert (config.rounds, config.lr, config.sites, config.alpha, config.local_epochs) == (50, 0.4, 30, 2.0, 2)
    assert origins["rounds"] == "flag"
    assert origins["lr"] == "-c"
    assert origins["sites"] == "SFL_SITES"
    assert origins["alpha"] == str(toml)
    assert origins["local-epochs"] == "preset demo"
    assert origins["momentum"] == "default"


def test_a_file_may_hold_its_settings_in_a_table_of_ours(toml: Path) -> None:
    toml.write_text("[secure-fl]\nlocal-epochs = 9\n[other]\nx = 1\n")
    assert resolve(flags={}, environ={}, file=toml).config.local_epochs == 9


def test_home_is_no_setting() -> None:
    assert resolve(flags={}, environ={"SFL_HOME": "/somewhere"}).config == RunConfig()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_usable(name: str) -> None:
    resolved = resolve(flags={}, environ={}, preset=name)
    assert f"preset {name}" in resolved.origins.values()


def test_the_presets_that_the_documentation_names_are_there() -> None:
    assert {"demo", "paper", "private", "smoke"} <= set(preset_names())


@pytest.mark.parametrize(
    ("sources", "what", "origin"),
    [
        ({"environ": {"SFL_ROUNDZ": "3"}}, "unknown setting `roundz`", "SFL_ROUNDZ"),
        ({"environ": {"SFL_ROUNDS": "0"}}, "`rounds` is 0", "SFL_ROUNDS"),
        ({"assignments": ["rouns=3"]}, "unknown setting `rouns`", "-c"),
        ({"assignments": ["rounds=x"]}, "`rounds` is 'x'", "-c"),
        ({"assignments": ["grid=cloud"]}, "`grid` is 'cloud'", "-c"),
        ({"assignments": ["image-size=4"]}, "`image-size` is 4", "-c"),
        ({"flags": {"lr": -1.0}}, "`lr` is -1.0", "flag"),
    ],
)
def test_a_refusal_names_the_source_of_the_culprit(sources: dict, what: str, origin: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(**{"flags": {}, "environ": {}, **sources})
    assert refused.value.what == f"{what} (from {origin})"
    assert refused.value.fix


def test_a_refused_value_in_a_file_names_the_file(toml: Path) -> None:
    toml.write_text("rounds = inf\n")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        resolve(flags={}, environ={}, file=toml)


def test_a_value_that_a_stronger_source_replaces_is_not_judged(toml: Path) -> None:
    toml.write_text("rounds = 0\n")
    assert resolve(flags={"rounds": 3}, environ={}, file=toml).config.rounds == 3


def test_a_contradiction_between_two_sources_is_refused() -> None:
    with pytest.raises(ConfigError, match="light_cnn"):
        resolve(flags={"norm": "batch"}, environ={}, preset="smoke")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, toml: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        resolve(flags={}, environ={}, file=tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        resolve(flags={}, environ={}, file=tmp_path)
    toml.write_text("rounds = = 3\n")
    with pytest.raises(ConfigError, match="not valid TOML") as refused:
        resolve(flags={}, environ={}, file=toml)
    assert "line 1" in refused.value.why
    toml.write_bytes(b"rounds = 3 # \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolve(flags={}, environ={}, file=toml)
    toml.write_text("secure-fl = 3\n")
    with pytest.raises(ConfigError, match="not a table"):
        resolve(flags={}, environ={}, file=toml)


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="no preset `smok`") as refused:
        resolve(flags={}, environ={}, preset="smok")
    assert "smoke" in refused.value.fix


def test_assignments_are_split_at_the_first_sign_and_trimmed() -> None:
    assert parse_assignments(["dataset=/a=b", " local_epochs = 3 "]) == {"dataset": "/a=b", "local-epochs": "3"}


@pytest.mark.parametrize("text", ["lr", "=3", " =3", ""])
def test_an_assignment_without_key_or_sign_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not key=value"):
        parse_assignments([text])
