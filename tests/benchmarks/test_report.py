"""The benchmarks' common language: the shape of the JSON, the verdict on bars, the exit status."""

from __future__ import annotations

import argparse
import json
import math

import pytest

from benchmarks.report import Bar, Report, finish, machine, need_peer, parser, summary

TEXT, JSON = argparse.Namespace(json=False), argparse.Namespace(json=True)


def measured() -> Report:
    report = Report("example", {"sites": 5})
    report.figure("overhead_s", summary([3.0, 1.0, 2.0]))
    report.bar("overhead, s", value=2.0, bar=2.0, better="lower")
    report.bar("accuracy", value=0.9, bar=0.8, better="higher")
    return report


@pytest.mark.parametrize(
    ("value", "better", "ok"),
    [
        (1.0, "lower", True),
        (2.0, "lower", True),
        (2.1, "lower", False),
        (2.0, "higher", True),
        (1.9, "higher", False),
        (math.nan, "lower", False),
        (math.nan, "higher", False),
    ],
)
def test_a_bar_is_cleared_on_its_good_side_only(value: float, better: str, ok: bool) -> None:
    assert Bar("x", value, 2.0, better).ok is ok  # type: ignore[arg-type]


def test_the_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(measured(), JSON) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["name", "machine", "settings", "figures", "bars"]
    assert document["figures"] == {"overhead_s": {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}}
    assert document["bars"][0] == {"name": "overhead, s", "value": 2.0, "bar": 2.0, "better": "lower", "ok": True}


def test_a_missed_bar_is_named_and_sets_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    report = measured()
    report.bar("ratio", value=3.0, bar=10.0, better="higher")
    assert finish(report, TEXT) == 1
    assert "[MISSED] ratio: 3 >= 10" in capsys.readouterr().out


def test_what_json_cannot_say_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("example", {})
    report.figure("never", {"seconds": math.inf, "each": [math.nan, 1.0]})
    finish(report, JSON)
    assert json.loads(capsys.readouterr().out)["figures"] == {"never": {"seconds": None, "each": [None, 1.0]}}


def test_a_figure_is_recorded_once() -> None:
    report = measured()
    with pytest.raises(ValueError, match="overhead_s was recorded"):
        report.figure("overhead_s", 1.0)


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


def test_the_machine_is_described_by_what_moves_the_figures() -> None:
    described = machine()
    assert described["cores"] >= 1 and described["memory_gib"] > 0 and described["cpu"]
    assert described["packages"]["flwr"] == "1.41.0"
    json.dumps(described)


def test_a_missing_peer_is_an_error_that_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        need_peer("no_such_peer", extra="sim")
    assert stopped.value.code == 2
    assert ".[sim]" in capsys.readouterr().err


def test_an_installed_peer_passes() -> None:
    need_peer("flwr", extra="sim")


def test_every_benchmark_has_both_options() -> None:
    options = parser("x").parse_args(["--quick", "--json"])
    assert options.quick and options.json
