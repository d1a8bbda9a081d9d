"""Flags derived from the schema: only what was typed counts, and help says what the schema says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from secure_fl.cli.config_flags import DATA_FLAGS, RUN_FLAGS, with_settings
from secure_fl.cli.main import load_command
from secure_fl.config import key_of, setting_fields
from secure_fl.config_sources import ResolvedConfig, preset_names
from secure_fl.errors import ConfigError

DECLARED = {key_of(each.name): each for each in setting_fields()}
# Texts that are not free: a rule has to exist, and an attack alone has nobody to carry it out.
TEXTS = {"defense": "median", "attack": ""}
# The flags that the issue asks `run` to have.
ASKED = (
    *("preset", "config", "dataset", "data-dir", "partition", "alpha", "sites", "rounds"),
    *("local-epochs", "batch-size", "lr", "model", "grid", "seed"),
)


def resolved_by(*arguments: str, keys: tuple[str, ...] = RUN_FLAGS) -> ResolvedConfig:
    """What a command that is decorated with `keys` is given for this command line."""
    seen: list[ResolvedConfig] = []
    app = typer.Typer()

    @app.command()
    @with_settings(*keys)
    def probe(resolved: ResolvedConfig, top: Annotated[int, typer.Option("--top")] = 5) -> None:
        seen.append(resolved)
        assert top == 5

    CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return seen[0]


@pytest.fixture(autouse=True)
def _empty_environment(home: Path) -> None:
    """No SFL_* variable of the machine may decide here."""


def test_without_flags_every_setting_is_default() -> None:
    assert set(resolved_by().origins.values()) == {"default"}


@pytest.mark.parametrize("key", sorted({*RUN_FLAGS, *DATA_FLAGS}))
def test_every_flag_sets_its_setting_and_no_other(key: str) -> None:
    declared = DECLARED[key]
    if isinstance(declared.default, bool):
        arguments, wanted = [f"--{key}"], True
    else:
        choices = [each for each in declared.metadata["choices"] if each not in (declared.default, "frozen-batch")]
        number = {int: declared.default, float: declared.default}.get(type(declared.default), TEXTS.get(key, "text"))
        wanted = choices[0] if choices else number
        arguments = [f"--{key}", str(wanted)]
    resolved = resolved_by(*arguments, keys=(key,))
    assert resolved.config.to_mapping()[key] == wanted
    assert {name for name, origin in resolved.origins.items() if origin == "flag"} == {key}


def test_sources_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.toml").write_text("momentum = 0.1\nlr = 0.3\n")
    monkeypatch.setenv("SFL_ALPHA", "7")
    file = str(tmp_path / "my.toml")
    resolved = resolved_by("--preset", "smoke", "--config", file, "-c", "lr=0.4", "-c", "norm=group", "--rounds", "9")
    assert (resolved.config.model, resolved.config.momentum, resolved.config.alpha) == ("light_cnn", 0.1, 7.0)
    assert [resolved.origins[key] for key in ("rounds", "lr", "norm", "alpha", "momentum", "model")] == [
        *("flag", "-c", "-c", "SFL_ALPHA", file, "preset smoke"),
    ]


def test_a_refusal_of_the_schema_reaches_the_caller() -> None:
    with pytest.raises(ConfigError, match="rounds"):
        resolved_by("--rounds", "0")


def test_a_flag_for_something_that_is_no_setting_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="colour"):
        with_settings("colour")


def test_run_has_the_flags_that_were_asked_for() -> None:
    flags = {flag for param in load_command("run").params for flag in param.opts}
    assert {f"--{name}" for name in ASKED} | {"-c"} <= flags


def test_help_says_choices_defaults_and_presets(cli: Any) -> None:
    page = " ".join(cli("run", "--help").stdout.split())
    for key in RUN_FLAGS:
        declared = DECLARED[key]
        assert f"--{key}" in page
        assert " ".join(declared.metadata["help"].split()) in page
        assert all(choice in page for choice in declared.metadata["choices"])
        if declared.default and not isinstance(declared.default, bool):
            assert f"(default: {declared.default}" in page
    assert all(name in page for name in preset_names())
    assert "secure-fl config show" in page
