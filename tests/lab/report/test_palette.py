"""Every text in the heat tables can be read, in either scheme, and the ends can be told apart by anybody."""

from __future__ import annotations

import pytest

from secure_fl.lab.report import palette
from secure_fl.lab.report.palette import LEVELS, contrast, heat_css, level, shades

SCHEMES = [palette._LIGHT, palette._DARK]

# Brettel, Viénot and Mollon's simplification (1999) of linear RGB for the two kinds of missing cones.
_BLIND = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_text_on_each_colour_has_the_contrast_that_wcag_asks_for(scheme: tuple[tuple[float, str], ...]) -> None:
    assert all(contrast(ground, ink) >= 4.5 for ground, ink in shades(scheme))


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_what_is_kept_chooses_the_colour() -> None:
    assert [level(share) for share in (-1.0, 0.0, 0.5, 0.89, 0.9, 1.0, 7.0)] == [0, 0, 5, 8, 9, 10, 10]


@pytest.mark.parametrize("kind", _BLIND)
@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_broken_and_held_differ_in_hue_for_the_colour_blind(scheme: tuple[tuple[float, str], ...], kind: str) -> None:
    grounds = [ground for ground, _ in shades(scheme)]
    broken, held = (_seen(color, kind) for color in (grounds[0], grounds[-1]))
    assert broken[0] > broken[2] + 0.05  # more yellow than blue
    assert held[2] > held[0] + 0.05


def _seen(color: str, kind: str) -> tuple[float, ...]:
    linear = [(int(color[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
    return tuple(sum(w * c for w, c in zip(row, linear, strict=True)) for row in _BLIND[kind])


def test_there_is_a_rule_for_each_level_in_both_schemes() -> None:
    css = heat_css()
    light, _, dark = css.partition("@media(prefers-color-scheme:dark)")
    for at in range(LEVELS):
        assert f".h{at}{{" in light
        assert f".h{at}{{" in dark
