"""Command lines in this process, with stdout and stderr apart and a fresh home each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from secure_fl.cli.main import app
from secure_fl.cli.output import Output, begin
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.runs import RunRecord


class CommandLine:
    """`cli("config", "show")` runs `secure-fl config show` in an empty home."""

    def __call__(self, *arguments: str, **extra: Any) -> Result:
        return CliRunner().invoke(app, list(arguments), **extra)

    def data(self, *arguments: str) -> Any:
        """The data of a command that succeeds with --format json."""
        result = self("--format", "json", *arguments)
        envelope = json.loads(result.stdout)
        assert (result.exit_code, envelope["status"], envelope["schema_version"]) == (0, "ok", "1"), envelope
        return envelope["data"]

    def error(self, *arguments: str) -> Any:
        """The envelope of a command that fails with --format json; its exit code is the one that it states."""
        result = self("--format", "json", *arguments)
        envelope = json.loads(result.stdout)
        assert (envelope["status"], envelope["exit_code"]) == ("error", result.exit_code), envelope
        return envelope


@pytest.fixture(autouse=True)
def _nothing_chosen() -> Iterator[None]:
    """How an earlier test's command spoke must not colour the next one's."""
    begin(Output())
    yield
    begin(Output())


@pytest.fixture
def cli(home: Path) -> CommandLine:
    return CommandLine()


@pytest.fixture
def new_record(home: Path) -> Callable[..., RunRecord]:
    """`new_record(rounds=3)` is a new record in the empty home; nothing has run yet."""

    def create(**settings: Any) -> RunRecord:
        config = RunConfig(**{"sites": 3, "rounds": 3, "grid": "local", **settings})
        return RunRecord.create(home, ResolvedConfig(config, {}), environment={})

    return create
