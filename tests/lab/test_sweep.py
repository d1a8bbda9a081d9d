"""A sweep fills a folder with real simulations, and no way of ending it loses or falsifies one that was finished."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from secure_fl.errors import FederationError
from secure_fl.lab.cells import CellStore
from secure_fl.lab.comparison import Cell
from secure_fl.lab.engine import simulate
from secure_fl.lab.sweep import cores, sweep, to_do
from secure_fl.lab.worker import run_cell

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("sweep_until_killed.py")


def _script() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("sweep_until_killed", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _script()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CellStore:
    monkeypatch.chdir(ROOT)  # where `python -m` finds the package that is tested
    return CellStore(tmp_path / "cells")


def sha(store: CellStore, cell: Cell) -> str:
    result = store.read(cell.digest)
    assert result is not None
    assert result.outcome is not None
    return result.outcome.metrics_sha256


def test_a_killed_worker_costs_its_own_cell_and_a_sweep_that_is_asked_to_stop_starts_nothing_new(
    store: CellStore,
) -> None:
    cells, events = list(script.CELLS)[:3], []

    def on_event(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "started":
            assert psutil.Process(event["pid"]).environ()["OMP_NUM_THREADS"] == "1"
        if event["event"] == "round" and event["cell"] == cells[0]:
            os.kill(events[0]["pid"], signal.SIGKILL)

    def asked() -> bool:
        return any(event["cell"] == cells[1] for event in events)

    sweep(cells, store, workers=1, on_event=on_event, stopping=asked)
    killed = store.read(cells[0].digest)
    assert killed is not None
    assert killed.failure is not None
    assert "-9" in killed.failure.what
    assert sha(store, cells[1]) == simulate(cells[1].scenario).metrics_sha256  # by the worker that took its place
    assert store.read(cells[2].digest) is None
    assert to_do(cells, store) == [cells[0], cells[2]]  # what failed is tried again


def test_kill_9_of_the_whole_program_loses_nothing_that_was_finished_and_leaves_no_process(store: CellStore) -> None:
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as program:
        assert program.stdout is not None
        told: list[list[str]] = []
        while not told or told[-1][0] != "done":
            told.append(program.stdout.readline().split())
        program.kill()
    workers = {int(word) for event, word in told if event == "started"}
    finished = {word for event, word in told if event == "done"}
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=20)
    assert alive == []
    cells = list(script.CELLS)
    waiting = to_do(cells, store)
    assert len(waiting) < len(cells)
    assert finished.isdisjoint(cell.digest for cell in waiting)
    for cell in waiting:  # the folder is free again, and takes the rest
        run_cell({"scenario": cell.scenario.to_mapping(), "cells": str(store.folder)}, lambda _: None)
    assert to_do(cells, store) == []
    one = next(cell for cell in cells if cell.digest in finished)
    assert sha(store, one) == simulate(one.scenario).metrics_sha256


def test_a_folder_is_filled_by_one_process_at_a_time(store: CellStore) -> None:
    store.folder.mkdir()
    with (store.folder.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FederationError, match="another process"):
            sweep(list(script.CELLS), store, workers=1, on_event=lambda _: None)


def test_workers_that_do_not_start_end_the_sweep(store: CellStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(store.folder))  # a Python that finds no library
    with pytest.raises(FederationError, match="worker process ended"):
        sweep(list(script.CELLS), store, workers=1, on_event=lambda _: None)
    assert len(to_do(list(script.CELLS), store)) == len(script.CELLS)


def test_nothing_to_do_starts_nothing(store: CellStore) -> None:
    sweep([], store, workers=4, on_event=lambda _: pytest.fail("nothing should happen"))
    assert not (store.folder.parent / "logs").exists()


def test_there_is_a_core() -> None:
    assert cores() >= 1
