"""The page's figures as inline SVG: colours come from the style sheet, so they follow the reader's scheme.

No figure says anything by colour alone: series are labelled or named in a legend, and each has its text alternative.
The numbers of a figure always stand in a table beside it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from audit.report.examination import Flow, WireSession
from audit.report.markup import Markup, element
from audit.report.measurements import Bound, Membership, Outcome
from audit.report.words import clock, epsilon, number, size

__all__ = ["bound_chart", "legend", "roc_chart", "round_chart", "round_order", "session_chart", "share_strip"]

COLORS = 8  # classes c0 … c7 of the style sheet; what comes after shares the last
_WIDTH = 520
_LONGEST = 30  # letters of a label


def legend(names: Sequence[str]) -> Markup:
    """The colours' names, in order."""
    items = (
        element("li", None, element("span", {"class": f"swatch c{_color(at)}", "aria-hidden": "true"}), name)
        for at, name in enumerate(names)
    )
    return element("ul", {"class": "legend"}, *items)


def round_chart(title: str, flows: Sequence[Flow], sites: Sequence[str]) -> Markup:
    """Bytes by round, stacked by site; what belongs to no round (controls, polls) shares one bar."""
    cells: dict[tuple[str, str], int] = defaultdict(int)
    for flow in flows:
        cells[flow.round if flow.round.isdigit() or flow.round == "join" else "other", flow.site] += flow.bytes
    rounds = sorted({name for name, _ in cells}, key=round_order)
    most = max((sum(cells[each, site] for site in sites) for each in rounds), default=0) or 1
    height, left, bottom, top = 190, 58, 24, 10
    step = (_WIDTH - left - 6) / max(len(rounds), 1)
    width = min(step * 0.72, 70)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * value / most

    shapes = []
    for share in (0.0, 0.5, 1.0):
        shapes.append(_path("grid", [(left, y(share * most)), (_WIDTH, y(share * most))]))
        shapes.append(_label("y", left - 6, y(share * most) + 3.5, size(round(share * most))))
    every = math.ceil(len(rounds) / 16)
    for at, name in enumerate(rounds):
        x, base = left + step * (at + 0.5) - width / 2, 0
        for index, site in enumerate(sites):
            if part := cells[name, site]:
                tip = element("title", None, f"{site}, {'round ' * name.isdigit()}{name}: {size(part)}")
                shapes.append(_rect(f"c{_color(index)}", x, y(base + part), width, y(base) - y(base + part), tip))
                base += part
        if at % every == 0:
            shapes.append(_label("x", x + width / 2, height - 8, name))
    return _figure(title, _WIDTH, height, shapes, f"{title}. Highest: {size(most)}. The table below has the numbers.")


def round_order(name: str) -> tuple[int, int, str]:
    """Joining first, then the rounds by number, then what belongs to none."""
    return (1, int(name), "") if name.isdigit() else (0 if name == "join" else 2, 0, name)


def session_chart(sessions: Sequence[WireSession]) -> Markup:
    """When each session was open, one line a session."""
    begin = min((each.opened_s for each in sessions), default=0.0)
    span = max((each.closed_s for each in sessions), default=0.0) - begin or 1.0
    row, left, right, top = 20, 132, 12, 6
    height = top + row * len(sessions) + 24
    shapes = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + (_WIDTH * 2 - left - right) * share
        shapes.append(_path("grid", [(x, top), (x, height - 20)]))
        shapes.append(_label("end" if share == 1 else "x", x, height - 6, clock(begin + share * span)))
    for at, each in enumerate(sessions):
        x, width = ((_WIDTH * 2 - left - right) * part / span for part in (each.opened_s - begin, _length(each)))
        kind = "open" if each.decrypted else "closed"
        tip = element("title", None, f"{each.id}, {each.site}: {size(each.client_bytes + each.server_bytes)}")
        shapes.append(_label("y", left - 8, top + row * at + 13, f"{_cut(each.site or 'unknown', 16)} {each.id}"))
        shapes.append(_rect(kind, left + x, top + row * at + 3, max(width, 2), row - 7, tip))
        if not each.decrypted:
            shapes.append(_label("within", left + x + 6, top + row * at + 13.5, "✕ not decrypted"))
    closed = sum(not each.decrypted for each in sessions)
    text = f"{len(sessions)} sessions over {span:.0f} seconds, {closed} of them not decrypted."
    return _figure("When each session was open", _WIDTH * 2, height, shapes, text, "wide")


def share_strip(parts: Mapping[str, int], unaccounted: int) -> Markup:
    """One bar: all captured bytes by category, and hatched what is unaccounted for."""
    whole = sum(parts.values()) + unaccounted or 1
    shapes, at = [], 0.0
    for index, (name, part) in enumerate(parts.items()):
        width = 1000 * part / whole
        shapes.append(_rect(f"c{_color(index)}", at, 0, width, 26, element("title", None, f"{name}: {size(part)}")))
        at += width
    if unaccounted:
        width = max(1000 - at, 4.0)
        tip = element("title", None, f"unaccounted for: {size(unaccounted)}")
        shapes.append(_rect("closed", 1000 - width, 0, width, 26, tip))
    text = ", ".join(f"{name} {100 * part / whole:.1f} %" for name, part in parts.items()) or "no bytes"
    return element("svg", {"viewBox": "0 0 1000 26", "role": "img", "aria-label": text, "class": "strip"}, *shapes)


def bound_chart(bounds: Sequence[Bound]) -> Markup:
    """Each lower bound as a bar, what is claimed as a line across it."""
    drawn = [each for each in bounds if each.lower is not None]
    most = 1.12 * max([*(each.lower or 0.0 for each in drawn), *(each.claimed or 0.0 for each in drawn), 0.1])
    row, top = 30, 8
    left = 20 + 6.2 * min(max((len(each.test) for each in drawn), default=0), _LONGEST)
    height = top + row * len(drawn) + 22

    def x(value: float) -> float:
        return left + (_WIDTH - left - 40) * value / most

    shapes = [_path("axis", [(left, top), (left, height - 20)]), _label("x", left, height - 6, "0")]
    for at, each in enumerate(drawn):
        y = top + row * at
        kind = "bad" if each.outcome is Outcome.VIOLATED else "good"
        shapes.append(_label("y", left - 8, y + 16, _cut(each.test, _LONGEST)))
        end = x(each.lower or 0)
        shapes.append(_rect(kind, left, y + 4, end - left, row - 12))
        roomy = end - left > 40
        shapes.append(
            _label("inside" if roomy else "start", end - 6 if roomy else end + 6, y + 17, epsilon(each.lower))
        )
        if each.claimed is not None:
            shapes.append(_path("limit", [(x(each.claimed), y), (x(each.claimed), y + row - 4)]))
    for claimed in sorted({each.claimed for each in drawn if each.claimed is not None}):
        shapes.append(_label("x", x(claimed), height - 6, f"claimed {epsilon(claimed)}"))
    said = "; ".join(f"{each.test} {epsilon(each.lower)} of {epsilon(each.claimed)}" for each in drawn)
    return _figure("ε: proved to be spent (bars) and claimed (dashed)", _WIDTH, height, shapes, said, "single")


def roc_chart(title: str, attacks: Sequence[Membership], floor: float | None) -> Markup:
    """ROC curves; `floor`: smallest rate of a log-log chart, None for a linear one."""
    side, left, top, bottom = 300, 44, 8, 30
    inner = side - left - 10

    def scale(value: float) -> float:
        return value if floor is None else 1 - math.log10(max(value, floor)) / math.log10(floor)

    def at(fpr: float, tpr: float) -> tuple[float, float]:
        return left + inner * scale(fpr), top + (side - top - bottom) * (1 - scale(tpr))

    ticks = (0.0, 0.5, 1.0) if floor is None else tuple(10.0**-k for k in range(round(-math.log10(floor)), -1, -1))
    shapes = []
    for tick in ticks:
        shapes += [
            _path("grid", [at(tick, floor or 0), at(tick, 1)]),
            _path("grid", [at(floor or 0, tick), at(1, tick)]),
        ]
        shapes.append(_label("x", at(tick, 0)[0], side - 14, f"{tick:g}"))
        shapes.append(_label("y", left - 5, at(0, tick)[1] + 3.5, f"{tick:g}"))
    chance = [10.0 ** (-k / 4) for k in range(40, -1, -1)] if floor else [0.0, 1.0]
    shapes.append(_path("baseline", [at(each, each) for each in chance]))
    shapes.append(_label("x", left + inner / 2, side - 2, "false positive rate"))
    for index, attack in enumerate(attacks):
        points = [point for point in attack.points if floor is None or point.fpr >= floor]
        shapes.append(_path(f"line s{_color(index)}", [at(point.fpr, point.tpr) for point in points]))
    said = "; ".join(f"{each.attack}: AUC {number(each.auc)}" for each in attacks)
    return _figure(title, side, side, shapes, f"{title}. {said}. Dotted: guessing.", "square")


def _figure(title: str, width: float, height: float, shapes: Sequence[Markup], text: str, kind: str = "") -> Markup:
    drawn = element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": text}, *shapes)
    return element(
        "figure", {"class": kind} if kind else None, element("figcaption", None, element("b", None, title)), drawn
    )


def _rect(kind: str, x: float, y: float, width: float, height: float, *inside: Markup) -> Markup:
    at = {"class": kind, "x": _short(x), "y": _short(y), "width": _short(width), "height": _short(height)}
    return element("rect", at, *inside)


def _label(kind: str, x: float, y: float, text: str) -> Markup:
    return element("text", {"class": kind, "x": _short(x), "y": _short(y)}, text)


def _path(kind: str, points: Sequence[tuple[float, float]]) -> Markup:
    return element("path", {"class": kind, "d": "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)})


def _length(session: WireSession) -> float:
    return session.closed_s - session.opened_s


def _color(index: int) -> int:
    return min(index, COLORS - 1)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
