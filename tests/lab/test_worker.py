"""A worker keeps what it computes, tells of it afterwards, and survives whatever a cell does to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab import engine
from secure_fl.lab.cells import CellStore
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.worker import run_cell

TINY = Scenario(model="softmax", clients=4, samples=200, test_samples=60, rounds=2)


def run(scenario: Scenario, folder: Path) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    run_cell({"scenario": scenario.to_mapping(), "cells": str(folder)}, told.append)
    return told


def test_a_cell_is_on_the_disk_before_it_is_told(tmp_path: Path) -> None:
    there = []

    def tell(message: dict[str, Any]) -> None:
        there.append((message["event"], CellStore(tmp_path).path(TINY.digest()).exists()))

    run_cell({"scenario": TINY.to_mapping(), "cells": str(tmp_path)}, tell)
    assert there == [("round", False), ("round", False), ("done", True)]


def test_what_it_tells_is_what_happened(tmp_path: Path) -> None:
    *rounds, done = run(TINY, tmp_path)
    found = CellStore(tmp_path).read(TINY.digest())
    assert found is not None
    assert found.outcome is not None
    assert [each["accuracy"] for each in rounds] == [each.accuracy for each in found.outcome.rounds]
    assert done["digest"] == TINY.digest()
    assert "failure" not in done


def test_a_refused_cell_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    hopeless = TINY.changed(defense="krum", byzantine=2)
    done = run(hopeless, tmp_path)[-1]
    found = CellStore(tmp_path).read(hopeless.digest())
    assert found is not None
    assert found.failure is not None
    assert done["failure"] == found.failure.what
    assert found.failure.traceback == ""


def test_a_bug_in_a_cell_is_a_failure_with_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "simulate", lambda *_, **__: 1 / 0)
    assert run(TINY, tmp_path)[-1]["failure"] == "ZeroDivisionError: division by zero"
    found = CellStore(tmp_path).read(TINY.digest())
    assert found is not None
    assert found.failure is not None
    assert "1 / 0" in found.failure.traceback
