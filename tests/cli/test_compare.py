"""`secure-fl compare` as a person and as a program meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab import sweep as sweeping
from secure_fl.lab.cells import CellStore
from secure_fl.lab.comparison import Cell
from secure_fl.lab.worker import run_cell

ROOT = Path(__file__).parents[2]
TINY = 'name = "Tiny & small"\nmodel = "softmax"\nclients = 5\nsamples = 200\ntest-samples = 60\nrounds = 1\n'
GRID = ("--attack", "sign_flip", "--defense", "median", "--byzantine", "1", "--seeds", "2")


@pytest.fixture
def scenario(home: Path) -> str:
    (home / "tiny.toml").write_text(TINY)
    return "tiny.toml"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells are simulated here, one after the other, without the seconds that a process needs to start."""
    simulated: list[str] = []

    def sweep(
        cells: Sequence[Cell],
        store: CellStore,
        *,
        workers: int,
        on_event: Callable[[dict[str, Any]], None],
        stopping: Callable[[], bool],
    ) -> None:
        for cell in cells:
            if stopping():
                return
            about = {"cell": cell, "worker": 0}
            on_event({"event": "started", "pid": os.getpid(), **about})
            job = {"scenario": cell.scenario.to_mapping(), "cells": str(store.folder)}
            run_cell(job, lambda message, about=about: on_event({**message, **about}))  # type: ignore[misc]
            simulated.append(cell.digest)

    monkeypatch.setattr(sweeping, "sweep", sweep)
    return simulated


def test_a_comparison_for_programs(cli: Any, scenario: str, in_process: list[str], home: Path) -> None:
    found = cli.data("compare", "--scenario", scenario, *GRID)
    assert found["cells"] == {"done": 8, "failed": 0, "refused": 0, "missing": 0}
    assert (found["simulated"], len(in_process)) == (8, 8)
    assert found["folder"] == str(home / "comparisons" / "Tiny-small")
    assert [Path(each).name for each in found["files"]] == ["report.html", "report.json", "cells.csv", "tables.tex"]
    assert all(Path(each).is_file() for each in found["files"])
    assert {(row["defense"], row["attack"]) for row in found["worst"]} == {
        ("mean", "sign_flip"), ("median", "sign_flip"),
    }  # fmt: skip


def test_what_is_there_is_not_simulated_again_and_more_can_be_added(
    cli: Any, scenario: str, in_process: list[str]
) -> None:
    cli.data("compare", "--scenario", scenario, *GRID)
    assert cli.data("compare", "--scenario", scenario, *GRID)["simulated"] == 0
    found = cli.data("compare", "--scenario", scenario, *GRID, "--defense", "trimmed_mean")
    assert found["simulated"] == 4
    assert len(in_process) == len(set(in_process)) == 12


def test_a_comparison_for_people(cli: Any, scenario: str, in_process: list[str], home: Path) -> None:
    result = cli("compare", "--scenario", scenario, *GRID, "--output", "out")
    assert result.exit_code == 0, result.stderr
    assert "8 simulations" in result.stderr
    assert "8/8  sign_flip against median, f = 1, α = 0.5, seed 1" in result.stderr
    assert "f = 1 of 5, iid  accuracy in %; ⚑ a backdoor passes" in result.stdout
    head = next(line for line in result.stdout.splitlines() if line.startswith("defense"))
    assert head.split("  ")[0] == "defense"
    assert all(name in head for name in ("no attack", "sign_flip", "worst case"))
    assert "report.html  out/report.html" in result.stdout
    manifest = json.loads((home / "out" / "manifest.json").read_text())
    assert manifest["command"][0] == "secure-fl"
    assert manifest["environment"]["packages"]["numpy"]


def test_events_for_programs_come_one_a_line(cli: Any, scenario: str, in_process: list[str]) -> None:
    lines = [
        json.loads(line)
        for line in cli("--format", "jsonl", "compare", "--scenario", scenario, *GRID).stdout.splitlines()
    ]
    assert [line["event"] for line in lines[:3]] == ["started", "round", "done"]
    assert lines[-1]["terminal"] is True


def test_the_alpha_of_the_command_line_deals_by_dirichlet(cli: Any, scenario: str, in_process: list[str]) -> None:
    found = cli.data("compare", "--scenario", scenario, *GRID, "--seeds", "1", "--alpha", "0.3,1")
    assert {row["alpha"] for row in found["worst"]} == {0.3, 1.0}
    assert found["cells"]["done"] == 8


def test_a_cell_that_fails_is_told_and_ends_in_exit_code_1_with_a_report(
    cli: Any, home: Path, in_process: list[str]
) -> None:
    (home / "poor.toml").write_text(TINY + 'partition = "dirichlet"\nmin-size = 199\n')
    result = cli("compare", "--scenario", "poor.toml", *GRID, "--seeds", "1")
    assert result.exit_code == 1
    assert "FAILED" in result.stderr
    assert result.stdout.count("failed: ") == 4
    assert "1 failed" in (home / "comparisons" / "Tiny-small" / "report.html").read_text()


def test_a_rule_that_cannot_be_at_some_f_is_shown_as_refused(cli: Any, scenario: str, in_process: list[str]) -> None:
    flags = ("--attack", "sign_flip", "--defense", "krum", "--byzantine", "1,2", "--seeds", "1")
    found = cli.data("compare", "--scenario", scenario, *flags)
    assert found["cells"] == {"done": 6, "failed": 0, "refused": 2, "missing": 0}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--attack", "signflip"], "signflip"),
        (["--attack", "sign_flip", "--defense", "medan"], "medan"),
        (["--attack", "sign_flip", "--defense", "krum(q=1)"], "q"),
        (["--attack", "sign_flip", "--byzantine", "one"], "--byzantine"),
        (["--attack", "sign_flip", "--byzantine", "1,,2"], "--byzantine"),
        (["--attack", "sign_flip", "--byzantine", "10"], "byzantine"),
        (["--attack", "sign_flip", "--byzantine", "1,1"], "twice"),
        (["--attack", "sign_flip", "--alpha", "small"], "--alpha"),
        (["--attack", "sign_flip", "--alpha", "nan"], "alpha"),
        (["--attack", "sign_flip", "--scenario", "nowhere"], "nowhere"),
        ([], "no attack"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_before_anything_is_written(
    flags: list[str], words: str, cli: Any, home: Path, in_process: list[str]
) -> None:
    error = cli.error("compare", *flags)
    assert error["exit_code"] in (2, 4)
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert error["hint"]
    assert list(home.iterdir()) == []
    assert in_process == []


def test_an_altered_cell_is_not_reported(cli: Any, scenario: str, in_process: list[str], home: Path) -> None:
    folder = Path(cli.data("compare", "--scenario", scenario, *GRID)["folder"]) / "cells"
    path = sorted(folder.iterdir())[0]
    path.write_text(path.read_text().replace('"accuracy": 0.', '"accuracy": 0.9', 1))
    error = cli.error("compare", "--scenario", scenario, *GRID)
    assert (error["error_code"], path.name in error["message"]) == ("INTEGRITY_BROKEN", True)


def test_the_first_interrupt_keeps_what_runs_and_says_how_to_go_on(scenario: str, home: Path) -> None:
    command = ["compare", "--scenario", scenario, "--rounds", "20", "--workers", "1", *GRID]
    code = "import sys; from secure_fl.cli.main import main; sys.argv[0] = 'secure-fl'; main()"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as program:
        assert program.stderr is not None
        lines = [program.stderr.readline() for _ in range(2)]
        program.send_signal(signal.SIGINT)
        rest, printed = program.stderr.read(), program.stdout.read() if program.stdout else ""
    said = "".join(lines) + rest
    assert program.returncode == 130, said
    assert "finishing the simulations that run" in said
    assert f"fix: secure-fl {' '.join(command)}" in said
    assert printed == ""
    folder = home / "comparisons" / "Tiny-small"
    done = len(list((folder / "cells").iterdir()))
    assert 1 <= done < 8
    assert f"{done} of 8 simulations are finished and kept" in said
    assert f"{8 - done} cells have not been simulated yet" in (folder / "report.html").read_text()
