from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import SecureFLError
from secure_fl.runs import Exclusion, RoundRow, RunRecord, SiteRow
from secure_fl.runs.export import ExportFormat, export, rounds_csv, sites_csv


@pytest.fixture
def finished(record: RunRecord, play: Any) -> RunRecord:
    record.write_data({"fingerprint": "sha256:00"})
    player = play(record)
    player.start()
    player.finish_round(0)
    player.open_round(1, sites=("site-0", "site-1"))
    record.append("reply-rejected", round=1, site="site-2", reason="norm-cap", detail="1e+09")
    player.finish_round(1, loss=math.nan)
    player.finish()
    return record


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_csv_has_one_row_a_round(finished: RunRecord) -> None:
    rounds, _ = export(finished, ExportFormat.CSV)
    assert rounds == finished.folder / "export" / "rounds.csv"
    zero, one = table(rounds)
    assert (zero["round"], zero["accuracy"], zero["loss"], zero["class_1"]) == ("0", "0.1", "2.3026", "0.9")
    assert (one["loss"], one["accepted"], one["rejected"], one["missing"]) == ("", "3", "1", "0")


def test_csv_has_one_row_a_site_and_round_and_tells_who_did_not_count(finished: RunRecord) -> None:
    _, sites = export(finished, ExportFormat.CSV)
    rows = table(sites)
    assert [(row["round"], row["site"], row["outcome"], row["reason"]) for row in rows] == [
        ("1", "site-0", "accepted", ""),
        ("1", "site-1", "accepted", ""),
        ("1", "site-2", "rejected", "norm-cap: 1e+09"),
    ]
    assert (rows[0]["samples"], rows[0]["bytes_up"], rows[2]["samples"]) == ("400", "8950000", "")


def test_json_holds_everything_in_standard_json(finished: RunRecord, tmp_path: Path) -> None:
    (path,) = export(finished, ExportFormat.JSON, tmp_path / "new" / "folder")
    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
    assert (document["run_id"], document["status"], document["attempts"]) == (finished.id, "succeeded", 1)
    assert document["settings"]["sites"] == 3
    assert document["data"] == {"fingerprint": "sha256:00"}
    assert [row["accuracy"] for row in document["rounds"]] == [0.1, 0.339]
    assert document["rounds"][1]["loss"] is None
    assert document["rounds"][1]["sites"][0]["per_class_accuracy"] == [1.0, None, 0.5]


def test_a_run_without_rounds_exports_empty_tables() -> None:
    assert rounds_csv([]).count("\n") == 1
    assert sites_csv([]).startswith("round,site,outcome,reason,weight,samples,train_loss")


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_a_name_cannot_become_a_formula(name: str) -> None:
    row = RoundRow(1, sites=(SiteRow(1, name),), excluded=(Exclusion(1, "b", "rejected", name),))
    accepted, rejected = csv.DictReader(io.StringIO(sites_csv([row])))
    assert (accepted["site"], rejected["reason"]) == (f"'{name}", f"'{name}")


def test_negative_numbers_stay_numbers() -> None:
    (row,) = csv.DictReader(io.StringIO(rounds_csv([RoundRow(1, loss=-0.5)])))
    assert row["loss"] == "-0.5"


def test_rounds_with_fewer_classes_are_filled_up() -> None:
    text = rounds_csv([RoundRow(0), RoundRow(1, per_class_accuracy=(0.5, None))])
    zero, one = csv.DictReader(io.StringIO(text))
    assert (zero["class_0"], zero["class_1"], one["class_0"], one["class_1"]) == ("", "", "0.5", "")


def test_a_folder_that_cannot_be_written_is_reported(finished: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecureFLError, match="cannot write"):
        export(finished, ExportFormat.CSV, tmp_path / "file")
