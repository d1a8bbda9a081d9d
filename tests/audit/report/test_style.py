"""Text can be read in both schemes: WCAG 2.1, 1.4.3 (4.5 : 1) for text, 1.4.11 (3 : 1) for what is drawn."""

from __future__ import annotations

import re
from importlib import resources

import pytest

SHEET = resources.files("audit.report").joinpath("page.css").read_text(encoding="utf-8")
TEXT = [("ink", "ground"), ("ink", "card"), ("soft", "ground"), ("soft", "card"), ("accent", "ground")]
TEXT += [("card", "accent"), ("card", "bad")]  # numbers inside bars
TEXT += [(name, ground) for name in ("good", "bad", "open") for ground in (f"{name}-ground", "card", "ground")]
TEXT += [("ink", f"{name}-ground") for name in ("good", "bad", "open")]


def schemes() -> dict[str, dict[str, str]]:
    found = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)[:2]
    colors = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in found]
    return dict(zip(("light", "dark"), colors, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    colors = schemes()[scheme]
    weak = {(ink, ground): contrast(colors[ink], colors[ground]) for ink, ground in TEXT}
    assert {pair: round(value, 2) for pair, value in weak.items() if value < 4.5} == {}


def test_both_schemes_have_the_same_colours() -> None:
    assert schemes()["light"].keys() == schemes()["dark"].keys()
    assert len(schemes()["light"]) > 18


def test_lines_of_a_chart_stand_out_from_the_card() -> None:
    for colors in schemes().values():
        for name in ("c0", "c5", "c2", "accent", "bad", "good"):
            assert contrast(colors[name], colors["card"]) >= 3, name
