"""Numbers as people write them."""

from __future__ import annotations

import pytest

from webui.pages.words import change, clock, day, fields, minute, number, percent, setting, spark


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.38024, "0.38"),
        (12400.0, "12,400"),
        (1e-5, "1e−5"),
        (-0.5, "−0.5"),
        (3.0, "3"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_a_number_has_three_digits_and_whole_ones_stay_whole(value: float | None, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.012, "share", "+1.2 points"),
        (-3.4, "seconds", "−3.4 s"),
        (2048, "bytes", "+2,048 B"),
        (0, "share", "="),
        (None, "share", "–"),
        (-0.25, "number", "−0.25"),
    ],
)
def test_a_difference_has_its_sign_and_unit(value: float | None, unit: str, words: str) -> None:
    assert change(value, unit) == words


def test_times_are_utc_whatever_they_come_as() -> None:
    assert day("2026-11-24T23:44:08+01:00") == "24 Nov 2026, 22:44"
    assert clock("2026-11-24T22:44:08.342Z") == "22:44:08"
    assert minute(0.5) == "1 Jan 00:00"
    assert clock(None) == day("") == "–"


def test_fields_are_cut_to_what_can_be_read() -> None:
    told = fields({"sha256": "a" * 64, "loss": 0.123456789, "kept": [0.333333333], "error": None, "text": "x" * 300})
    assert told.startswith("sha256=aaaaaaaaaaaa…  loss=0.123457  kept=[0.333333]  error=null  text=xxx")
    assert told.endswith("x…")


def test_settings_are_shown_as_they_are_typed() -> None:
    assert [setting(each) for each in (True, 0.5, 3, "", "iid")] == ["yes", "0.5", "3", "(empty)", "iid"]


def test_a_share_is_a_percentage() -> None:
    assert percent(0.9412) == "94.1\N{NO-BREAK SPACE}%"


def test_a_spark_line_stays_in_its_box() -> None:
    line = spark([0.0, 5.0, 200.0, -3.0], 0.0, 100.0)
    heights = [float(each.split()[1]) for each in line.line.removeprefix("M").split(" L")]
    assert heights == [29.0, 27.6, 1.0, 29.0]
    assert spark([]).line == spark([]).area == ""
