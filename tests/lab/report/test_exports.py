"""CSV, JSON and LaTeX say what the page says, and protect their readers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab.cells import CellStore, Failure
from secure_fl.lab.comparison import Setting
from secure_fl.lab.report.exports import cells_csv, document, tables_tex
from secure_fl.lab.report.writing import FILES, write_reports
from secure_fl.lab.results import Results, gather

ALL = {
    ("mean", ""): 0.90, ("mean", "sign_flip"): 0.50, ("mean", "backdoor_patch"): 0.85,
    ("median", ""): 0.89, ("median", "sign_flip"): 0.87, ("median", "backdoor_patch"): 0.80,
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, lab: Any) -> Results:
    """Complete but for one cell that failed, and one attack of it that is refused."""
    store, grid = CellStore(tmp_path / "cells"), lab.comparison()
    lab.fill(store, grid, ALL)
    failed = next(cell for cell in grid.cells() if cell.setting == Setting(1, 0.5, "median", "sign_flip"))
    store.write_failure(failed.scenario, Failure("=SUM(A1)"), lab.MADE)
    found: Results = gather(grid, store, {Setting(1, 0.5, "median", "backdoor_patch"): "cannot & will not"})
    return found


def test_the_csv_has_a_row_for_every_cell_done_or_not(results: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(cells_csv(results))))
    assert len(rows) == 18
    states = [row["state"] for row in rows]
    assert (states.count("done"), states.count("failed"), states.count("refused")) == (14, 1, 3)
    first = rows[0]
    assert (first["defense"], first["attack"], first["seed"], first["accuracy"]) == ("mean", "", "0", "0.9")
    assert (first["class_0"], first["class_1"], first["attack_success"]) == ("0.9", "0.9", "")
    assert all(row["accuracy"] == "" for row in rows if row["state"] != "done")


def test_a_cell_that_a_spreadsheet_would_run_is_text(results: Results) -> None:
    row = next(row for row in csv.DictReader(io.StringIO(cells_csv(results))) if row["state"] == "failed")
    assert row["reason"] == "'=SUM(A1)"


def test_the_document_is_strict_json_and_holds_everything(results: Results) -> None:
    manifest = results.manifest({}, ["secure-fl", "compare"])
    found = json.loads(json.dumps(document(results, manifest), allow_nan=False))
    entry = next(e for e in found["entries"] if (e["defense"], e["attack"]) == ("mean", "sign_flip"))
    assert entry["accuracy"] == {"mean": pytest.approx(0.51), "low": 0.5, "high": 0.52, "count": 3}
    assert entry["grade"] == "broken"
    assert set(entry["seeds"]) == {"0", "1", "2"}
    gap = next(e for e in found["entries"] if (e["defense"], e["attack"]) == ("median", "sign_flip"))
    assert (gap["accuracy"], gap["failed"], set(gap["seeds"])) == (None, {"0": "=SUM(A1)"}, {"1", "2"})
    assert found["manifest"]["digest"] == results.comparison.digest()
    assert len(found["manifest"]["cells"]) == 18
    assert {curve["attack"] for curve in found["curves"]} == {"sign_flip", "backdoor_patch", None}


def test_the_latex_is_a_table_with_its_gaps_named_and_its_text_escaped(results: Results) -> None:
    text = tables_tex(results.findings)
    assert text.count(r"\begin{tabular}{lrrrr}") == 1
    assert r"backdoor\_patch" in text
    assert "51.0 [50.0, 52.0]" in text
    assert "2 of 3 seeds, 1 failed" in text
    assert "refused" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {4}


def test_all_files_are_written_at_once_and_again(results: Results, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    manifest = results.manifest({"cpu_model": "x"}, ["secure-fl", "compare"])
    files = write_reports(folder, results, manifest)
    assert [path.name for path in files] == list(FILES)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {*FILES, "manifest.json"}
    write_reports(folder, results, manifest)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert json.loads((folder / "manifest.json").read_text())["digest"] == results.comparison.digest()
