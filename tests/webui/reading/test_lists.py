"""What lies beside each other: lists, comparisons, the attack lab, audits, ledgers, alerts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from audit.report.document import Document
from secure_fl.errors import IntegrityError, NotFoundError
from tests.webui.conftest import run_ids
from webui.reading.alerts import alerts_of
from webui.reading.attacks import bout_of, lab_of, labs_of
from webui.reading.audits import audit_of, audits_of, bundle_file, gates_of, verification_of
from webui.reading.bounds import bounds_of
from webui.reading.comparing import charts_of, differences_of, measured_of
from webui.reading.host import host_of, processes_of
from webui.reading.ledgers import ledgers_of
from webui.reading.records import Records, Run
from webui.reading.runlist import COLUMNS, Selection, selected


@pytest.mark.parametrize("column", COLUMNS)
def test_a_list_can_be_sorted_by_each_column_both_ways(records: Records, column: str) -> None:
    rows, key = records.rows(), COLUMNS[column]
    up = [key(row) for row in selected(rows, Selection(sort=column, descending=False))]
    down = [key(row) for row in selected(rows, Selection(sort=column, descending=True))]
    assert up == sorted(up) and down == sorted(down, reverse=True)


def test_rows_without_a_value_come_last_either_way(records: Records) -> None:
    rows = (replace(records.rows()[0], accuracy=None), *records.rows()[1:])
    for descending in (True, False):
        assert selected(rows, Selection(sort="accuracy", descending=descending))[-1].accuracy is None


def test_all_words_of_a_filter_must_occur(records: Records) -> None:
    rows = records.rows()
    assert {row.model for row in selected(rows, Selection(text="TANH digits"))} == {"tanh_cnn"}
    assert selected(rows, Selection(text="tanh light")) == ()
    assert selected(rows, Selection(status="failed")) == ()


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match="sorted"):
        Selection(sort="password")


def test_only_settings_that_differ_are_compared(plain: Run, attacked: Run) -> None:
    found = {each.key: each.values for each in differences_of((plain, attacked))}
    assert found["defense"] == ("fedavg", "multi_krum")
    assert "dataset" not in found


def test_differences_are_against_the_first_run(plain: Run, attacked: Run) -> None:
    accuracy = measured_of((plain, attacked))[0]
    first, second = accuracy.values
    assert first is not None and second is not None
    assert accuracy.above_first == (0.0, second - first)
    assert not any(each.name.startswith("ε") for each in measured_of((plain, attacked)))


def test_runs_of_different_length_share_one_axis(plain: Run, attacked: Run) -> None:
    chart = charts_of((plain, attacked), ("one", "two"))[0]
    assert chart.x == (0, 1, 2, 3)
    assert chart.curves[0].values[3] is None and chart.curves[1].values[3] is not None


def test_the_attack_lab_has_both_baselines_in_its_matrix(recorded: Path) -> None:
    (line,) = labs_of(recorded)
    assert (line.name, line.done, line.total, line.problem) == ("digits", 4, 4, "")
    (matrix,) = lab_of(recorded, "digits").matrices
    assert (matrix.attacks, set(matrix.defenses)) == (("", "sign_flip"), {"mean", "median"})
    assert matrix.clean.level == 10
    assert matrix.worst["median"] is matrix.entries["median"]["sign_flip"]


def test_a_bout_is_drawn_beside_no_defense_and_nobody_attacking(recorded: Path) -> None:
    lab = lab_of(recorded, "digits")
    bout = bout_of(lab, lab.matrices[0], "median", "sign_flip", 0)
    assert [curve.name for curve in bout.chart.curves] == ["median", "no defense", "nobody attacks"]
    assert (len(bout.kept), len(bout.kept[0]), len(bout.attackers)) == (10, 2, 2)
    clean = bout_of(lab, lab.matrices[0], "mean", "", 0)
    assert [curve.name for curve in clean.chart.curves] == ["no defense"]
    with pytest.raises(NotFoundError):
        bout_of(lab, lab.matrices[0], "median", "sign_flip", 99)


@pytest.mark.parametrize("name", ["", "..", "../runs", "digits/cells", "nothing", "a" * 99])
def test_no_name_but_that_of_a_comparison_opens_one(recorded: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        lab_of(recorded, name)


def test_a_damaged_comparison_is_listed_with_what_is_wrong(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded / "comparisons", tmp_path / "comparisons")
    (tmp_path / "comparisons/digits/report.json").write_text("{", encoding="utf-8")
    assert "cannot be read" in labs_of(tmp_path)[0].problem
    with pytest.raises(IntegrityError):
        lab_of(tmp_path, "digits")


def test_audits_are_listed_newest_first_with_their_verdicts(recorded: Path) -> None:
    ids = run_ids(recorded)
    assert [(each.run, each.verdict) for each in audits_of(recorded)] == [
        (ids["private"], "PASS"),
        (ids["plain"], "FAIL"),
    ]


def test_gates_are_as_good_as_the_verdict(recorded: Path) -> None:
    ids = run_ids(recorded)
    passed, failed = (audit_of(recorded, ids[each]) for each in ("private", "plain"))
    assert isinstance(passed, Document)
    assert {gate.state for gate in gates_of(passed)} == {"ok"}
    assert {gate.name for gate in gates_of(failed) if gate.state == "bad"} == {"Nothing found", "Claimed privacy"}


def test_a_changed_byte_is_found(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    id = run_ids(recorded)["private"]
    assert verification_of(tmp_path, id).ok
    capture = tmp_path / "runs" / id / "audit" / "capture.pcap"
    capture.write_bytes(b"q")
    assert verification_of(tmp_path, id).problems == ("capture.pcap: altered; its SHA-256 is not the signed one",)


@pytest.mark.parametrize("name", ["capture.pcap", "../config.json", "", "nothing", "report.pdf"])
def test_only_listed_files_leave_a_bundle(recorded: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        bundle_file(recorded, run_ids(recorded)["plain"], name)


def test_a_lower_bound_above_the_claim_refutes_it_and_one_below_does_not(recorded: Path) -> None:
    found = {(each.outcome, each.lower > each.upper) for each in bounds_of(recorded) if each.lower and each.upper}
    assert found == {("consistent", False), ("violated", True)}


def test_ledgers_tell_of_every_site_and_of_damage(recorded: Path, tmp_path: Path) -> None:
    lines = ledgers_of(recorded)
    assert [each.site for each in lines] == ["site-0", "site-1"]
    assert all(each.entries == 2 and each.runs == (run_ids(recorded)["private"],) for each in lines)
    shutil.copytree(recorded / "federation", tmp_path / "federation")
    path = tmp_path / "federation/privacy/site-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"steps":3', b'"steps":1', 1))
    assert ledgers_of(tmp_path)[0].damaged and not ledgers_of(tmp_path)[1].damaged
    assert ledgers_of(tmp_path / "nowhere") == ()


def test_what_needs_a_look_is_told_worst_first(records: Records, recorded: Path) -> None:
    rows = records.rows()
    odd = (replace(rows[0], status="interrupted"), *rows[1:])
    host = replace(host_of(recorded), disk_free_bytes=1)
    found = alerts_of(odd, audits_of(recorded), host)
    assert [each.level for each in found] == ["bad", "bad", "warn"]
    assert [each.page for each in found] == ["audit", "system", "run"]


def test_the_machine_and_its_processes_are_measured(recorded: Path) -> None:
    import os

    host = host_of(recorded)
    assert 0 < host.memory < 1 and 0 < host.disk < 1
    found = processes_of([("tests", os.getpid()), ("gone", 2**22 - 1)])
    assert (found[0].role, found[0].pid) == ("tests", os.getpid())
    assert "gone" not in {each.role for each in found}
