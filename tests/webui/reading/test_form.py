"""The form is the schema: same fields, same refusals, and a command that means the same."""

from __future__ import annotations

import shlex

import pytest

from secure_fl.cli.config_flags import RUN_FLAGS
from secure_fl.config import RunConfig, key_of, setting_fields
from secure_fl.config_sources import resolve
from webui.orders import NOT_HERE
from webui.reading.form import command_of, groups_of, judged, preset_values, presets, values_of


def test_every_setting_has_one_field_unless_it_is_not_for_browsers() -> None:
    keys = [each.key for group in groups_of() for each in group.inputs]
    assert len(keys) == len(set(keys))
    assert set(keys) | NOT_HERE == {key_of(each.name) for each in setting_fields()}


@pytest.mark.parametrize("preset", presets())
def test_a_preset_fills_the_form_with_a_run_that_can_start(preset: str) -> None:
    found = judged(preset_values(preset))
    assert found.errors == {}
    assert found.config == resolve(flags={}, environ={}, preset=preset).config


@pytest.mark.parametrize("preset", presets())
def test_the_command_means_what_the_form_means(preset: str) -> None:
    config = judged(preset_values(preset)).config
    assert config is not None
    words = shlex.split(command_of(config))
    assert words[:2] == ["secure-fl", "run"]
    flags: dict[str, object] = {}
    rest = iter(words[2:])
    for word in rest:
        if word == "-c":
            key, _, value = next(rest).partition("=")
        else:
            key = word.removeprefix("--")
            assert key in RUN_FLAGS
            value = "true" if isinstance(getattr(config, key.replace("-", "_")), bool) else next(rest)
        flags[key] = value
    assert resolve(flags=flags, environ={}).config == config


def test_the_form_of_an_earlier_run_is_that_run() -> None:
    config = RunConfig(audit=True, rounds=7, lr=1e-5, skip_bad_images=True)
    assert judged(values_of(config)).config == config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rounds", "0", "Give a value between 1 and 100,000"),
        ("lr", "fast", "Give a number"),
        ("partition", "fair", "Choose one of: iid, dirichlet, shards, quantity"),
        ("rounds", "2.5", "Give a whole number"),
        ("lr", "nan", "Give a number"),
    ],
)
def test_a_wrong_value_is_refused_beside_its_field(key: str, value: str, words: str) -> None:
    found = judged({**preset_values("smoke"), key: value})
    assert found.config is None
    assert found.errors == {key: words}
    assert found.values[key] == value


def test_values_that_contradict_each_other_are_told_at_the_one_to_change() -> None:
    found = judged({**preset_values("smoke"), "audit": "on", "grid": "local"})
    assert found.config is None
    assert list(found.errors) == ["audit"]
    assert "nothing crosses a wire there" in found.errors["audit"]


def test_a_field_that_the_form_does_not_have_changes_nothing() -> None:
    assert judged({**preset_values("smoke"), "host": "0.0.0.0", "download": "on"}).config == (  # noqa: S104
        judged(preset_values("smoke")).config
    )
