"""Breakdown curves: one small chart a defense, all with the same axes, so that shapes can be compared at a glance.

A line for each of many defenses in one chart would need as many colours as nobody can tell apart. Here each chart has
the worst case in blue with its interval, the single attacks in grey, plain averaging dotted, and the line below which
a defense counts as broken.
"""

from __future__ import annotations

from collections.abc import Sequence

from secure_fl.lab.comparison import UNDEFENDED
from secure_fl.lab.findings import BROKEN, Curve, Findings, Point
from secure_fl.lab.report.markup import Markup, element
from secure_fl.lab.report.words import breakdown_words, defense_name

__all__ = ["curve_charts"]

WIDTH, HEIGHT = 260, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 8, 24


def curve_charts(findings: Findings, alpha: float) -> Markup:
    """A figure for each defense, in the findings' order."""
    return element("div", {"class": "charts"}, *(_figure(findings, alpha, defense) for defense in findings.defenses))


def _figure(findings: Findings, alpha: float, defense: str) -> Markup:
    own = [curve for curve in findings.curves if (curve.alpha, curve.defense) == (alpha, defense)]
    worst = next(curve for curve in own if curve.attack is None)
    words = breakdown_words(worst.breakdown, max(findings.comparison.byzantine))
    caption = element("figcaption", None, element("b", None, defense_name(defense)), element("span", None, words))
    return element("figure", None, caption, _chart(findings, own, worst, words))


def _chart(findings: Findings, own: Sequence[Curve], worst: Curve, words: str) -> Markup:
    most = max(findings.comparison.byzantine)
    baseline = next(c for c in findings.curves if (c.alpha, c.defense, c.attack) == (worst.alpha, UNDEFENDED, None))
    clean = next(panel.clean.accuracy for panel in findings.panels if panel.alpha == worst.alpha)
    title = f"{defense_name(worst.defense)}: accuracy by number of attackers. Worst case: {words}."
    shapes = [_grid(findings.comparison.byzantine, most)]
    if clean:
        threshold = findings.chance + BROKEN * (clean.mean - findings.chance)
        shapes.append(_path("limit", [(0.0, threshold), (float(most), threshold)], most))
    shapes += [_line("one", curve.points, most) for curve in own if curve.attack is not None]
    if worst.defense != UNDEFENDED:
        shapes.append(_line("baseline", baseline.points, most))
    shapes += [_band(worst.points, most), _line("lowest", worst.points, most)]
    shapes += [_dot(point, most) for point in worst.points]
    return element(
        "svg",
        {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title},
        element("title", None, title),
        *shapes,
    )


def _grid(byzantine: Sequence[int], most: int) -> Markup:
    """Lines at 0, 50 and 100 %, numbers on both axes."""
    shapes = []
    for value in (0.0, 0.5, 1.0):
        shapes.append(_path("grid", [(0.0, value), (float(most), value)], most))
        text = f"{100 * value:.0f}"
        shapes.append(element("text", {"x": _LEFT - 5, "y": _number(_y(value) + 3.5), "class": "y"}, text))
    for f in (0, *byzantine):
        shapes.append(element("text", {"x": _number(_x(f, most)), "y": HEIGHT - 8, "class": "x"}, str(f)))
    return element("g", {"aria-hidden": "true"}, *shapes)


def _line(kind: str, points: Sequence[Point], most: int) -> Markup:
    return _path(kind, [(float(each.byzantine), each.accuracy.mean) for each in points], most)


def _band(points: Sequence[Point], most: int) -> Markup:
    """Between the ends of the intervals, as far as there are any."""
    ends = [
        (float(each.byzantine), each.accuracy.low, each.accuracy.high)
        for each in points
        if each.accuracy.low is not None and each.accuracy.high is not None
    ]
    if len(ends) < 2:
        return Markup()
    around = [(f, high) for f, _, high in ends] + [(f, low) for f, low, _ in reversed(ends)]
    return element("path", {"class": "band", "d": _steps(around, most) + "Z"})


def _dot(point: Point, most: int) -> Markup:
    at = {"cx": _number(_x(point.byzantine, most)), "cy": _number(_y(point.accuracy.mean)), "r": 2.6}
    return element("circle", {**at, "class": "lowest"})


def _path(kind: str, points: Sequence[tuple[float, float]], most: int) -> Markup:
    return element("path", {"class": kind, "d": _steps(points, most)}) if len(points) > 1 else Markup()


def _steps(points: Sequence[tuple[float, float]], most: int) -> str:
    return "M" + "L".join(f"{_number(_x(f, most))} {_number(_y(value))}" for f, value in points)


def _x(f: float, most: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * f / most


def _y(value: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
