"""A cell is whole or absent, is found by what was asked, and is believed only if its hashes agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import IntegrityError
from secure_fl.lab.cells import CellStore, Failure, made
from secure_fl.lab.scenario import Scenario

SCENARIO = Scenario(model="softmax", clients=4)


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    return CellStore(tmp_path / "cells")


def test_what_was_written_is_read(store: CellStore, lab: Any) -> None:
    outcome = lab.outcome(SCENARIO, lab.round_outcome(loss=float("nan")), attackers=(1,))
    store.write_outcome(outcome, lab.MADE)
    found = store.read(SCENARIO.digest())
    assert found is not None
    assert found.outcome is not None
    assert found.outcome.metrics_sha256 == outcome.metrics_sha256
    assert (found.outcome.attackers, found.failure, found.made) == ((1,), None, lab.MADE)


def test_an_outcome_takes_the_place_of_a_failure(store: CellStore, lab: Any) -> None:
    store.write_failure(SCENARIO, Failure("it broke", "no room"), lab.MADE)
    found = store.read(SCENARIO.digest())
    assert found is not None
    assert (found.outcome, found.failure) == (None, Failure("it broke", "no room"))
    store.write_outcome(lab.outcome(SCENARIO), lab.MADE)
    assert store.read(SCENARIO.digest()).failure is None  # type: ignore[union-attr]
    assert len(list(store.folder.iterdir())) == 1


def test_what_is_not_there_is_none_and_reading_makes_no_folder(store: CellStore) -> None:
    assert store.read(SCENARIO.digest()) is None
    assert not store.folder.exists()


def test_a_partial_file_of_a_killed_writer_is_not_a_cell_and_is_swept_away(store: CellStore, lab: Any) -> None:
    store.folder.mkdir()
    digest = SCENARIO.digest()
    partial = store.folder / f".{digest}.json.999999999-0.partial"
    partial.write_text('{"schema": 1, "outc')
    assert store.read(digest) is None
    store.write_outcome(lab.outcome(SCENARIO), lab.MADE)
    assert not partial.exists()


def better(document: dict[str, Any]) -> None:
    document["outcome"]["rounds"][0]["accuracy"] = 0.99


def other_scenario(document: dict[str, Any]) -> None:
    document["scenario"]["lr"] = 0.5


def other_outcome(document: dict[str, Any]) -> None:
    document["outcome"]["scenario"]["lr"] = 0.5


def newer(document: dict[str, Any]) -> None:
    document["schema"] = 2


def poorer(document: dict[str, Any]) -> None:
    del document["outcome"]["attackers"]


@pytest.mark.parametrize("change", [better, other_scenario, other_outcome, newer, poorer])
def test_an_altered_cell_is_refused_with_its_name(
    change: Callable[[dict[str, Any]], None], store: CellStore, lab: Any
) -> None:
    store.write_outcome(lab.outcome(SCENARIO), lab.MADE)
    path = store.path(SCENARIO.digest())
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match=path.name):
        store.read(SCENARIO.digest())


def test_a_cell_under_another_cells_name_is_refused(store: CellStore, lab: Any) -> None:
    store.write_outcome(lab.outcome(SCENARIO), lab.MADE)
    other = SCENARIO.changed(seed=1).digest()
    store.path(SCENARIO.digest()).rename(store.path(other))
    with pytest.raises(IntegrityError):
        store.read(other)


def test_half_a_file_is_refused(store: CellStore, lab: Any) -> None:
    store.write_outcome(lab.outcome(SCENARIO), lab.MADE)
    path = store.path(SCENARIO.digest())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError) as caught:
        store.read(SCENARIO.digest())
    assert "delete it" in caught.value.fix


def test_the_code_is_known_without_running_it() -> None:
    found = made()
    assert found.secure_fl
    assert found.torch
    assert found.numpy
