"""The paper's first figure: loss and accuracy by round. Rows in, matplotlib figure out.

The global model is the one bold line of each panel and carries its last value; sites are thin, told
apart by colour and dashes, and named where they end. Where a site took no part, its line has a gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secure_fl.runs.figure_style import BLACK, GREY, OKABE_ITO, RUST, blank_figure, darker
from secure_fl.runs.labels import spread
from secure_fl.runs.rows import RoundRow, natural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["convergence_figure"]

_DASHES = ("-", (0, (4, 1.5)))
# More sites than this are drawn alike: nobody can follow so many colours.
_MOST_NAMED = 2 * len(OKABE_ITO)
# Rounds up to which each has a dot; beyond, dots would melt into a band.
_MOST_DOTS = 30
# Height of a line of label text, as a share of the panel.
_LABEL_GAP = 0.062

Value = Callable[[RoundRow], "float | None"]


@dataclass(frozen=True, slots=True)
class End:
    """The last point of a line, and how to name it."""

    x: float
    y: float
    text: str
    color: str
    is_bold: bool


def convergence_figure(rounds: Sequence[RoundRow], *, title: str) -> Figure:
    """Loss and accuracy by round. rounds: at least one."""
    figure = blank_figure(3.9, title)
    loss, accuracy = figure.subplots(1, 2)
    losses = _curves(loss, rounds, lambda row: row.loss, "validation_loss", scale=1.0)
    percents = _curves(accuracy, rounds, lambda row: row.accuracy, "validation_accuracy", scale=100.0)
    loss.set_title("Loss")
    accuracy.set_title("Accuracy (%)")
    _fit_loss(loss)
    accuracy.set_ylim(0, 101)
    _name_ends(loss, losses)
    _name_ends(accuracy, percents, " %")
    figure.supxlabel(_explanation(rounds), fontsize=8.5, color="#555555")
    return figure


def _explanation(rounds: Sequence[RoundRow]) -> str:
    if rounds[-1].round == 0:
        return "only the initial model has been measured so far, on the test images"
    if any(row.sites for row in rounds):
        return "bold: global model on the test images    thin: each site's trained model on its own validation images"
    return "global model on the test images"


def _curves(axes: Axes, rounds: Sequence[RoundRow], value: Value, site_value: str, *, scale: float) -> list[End]:
    """One panel: the global model bold, the sites thin. Returns where the lines end, to name them there."""
    ends: list[End] = []
    names = sorted({site.site for row in rounds for site in row.sites}, key=natural)
    is_named, marker = len(names) <= _MOST_NAMED, "o" if len(rounds) <= _MOST_DOTS else ""
    for index, name in enumerate(names):
        color = OKABE_ITO[index % len(OKABE_ITO)] if is_named else "#b0b0b0"
        dashes = _DASHES[index // len(OKABE_ITO) % 2] if is_named else "-"
        found = {row.round: getattr(site, site_value) for row in rounds for site in row.sites if site.site == name}
        points = [(row.round, _scaled(found.get(row.round), scale)) for row in rounds]
        x, y = zip(*points, strict=True)
        width = 1.1 if is_named else 0.7
        axes.plot(x, y, color=color, linestyle=dashes, linewidth=width, marker=marker, markersize=2.6)
        if is_named:
            ends += _end(points, name if len(name) <= 16 else f"{name[:15]}…", color, is_bold=False)
    points = [(row.round, _scaled(value(row), scale)) for row in rounds]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=BLACK, linewidth=2.6, marker=marker, markersize=4.5, zorder=5)
    ends += _end(points, "global", BLACK, is_bold=True)
    _round_axis(axes, rounds)
    _say_not_finite(axes, [row.round for row in rounds if value(row) is None])
    if not is_named:
        words = f"thin: {len(names)} sites"
        axes.text(0.98, 0.05, words, transform=axes.transAxes, ha="right", color=darker(GREY), fontsize=9)
    return ends


def _scaled(value: float | None, scale: float) -> float:
    """NaN, which matplotlib leaves out, where a site took no part or a number was not finite."""
    return math.nan if value is None else scale * value


def _end(points: Sequence[tuple[int, float]], text: str, color: str, *, is_bold: bool) -> list[End]:
    """The last point of a line that has one."""
    known = [(x, y) for x, y in points if not math.isnan(y)]
    return [End(known[-1][0], known[-1][1], text, color, is_bold)] if known else []


def _name_ends(axes: Axes, ends: Sequence[End], unit: str = "") -> None:
    """Write each line's name beside its end, with a hair line to it; the limits of the axes must be final."""
    to_share = axes.transData + axes.transAxes.inverted()
    found = [to_share.transform((end.x, end.y)) for end in ends]
    places = spread([float(y) for _, y in found], _LABEL_GAP, low=0.02, high=0.98)
    for end, (x, y), place in zip(ends, found, places, strict=True):
        hair: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.6, "clip_on": False, "scalex": False, "scaley": False}
        axes.plot((x, 1.0, 1.035), (y, y, place), transform=axes.transAxes, color=end.color, **hair)
        axes.text(
            1.045,
            place,
            f"{end.text} {_figure_text(end.y)}{unit}" if end.is_bold else end.text,
            transform=axes.transAxes,
            va="center",
            color=darker(end.color),
            fontsize=9.5 if end.is_bold else 8.5,
            fontweight="bold" if end.is_bold else "normal",
            parse_math=False,
        )


def _figure_text(value: float) -> str:
    """Three or four significant digits."""
    return f"{value:.3f}" if value < 10 else f"{value:.4g}" if value >= 100 else f"{value:.1f}"


def _fit_loss(axes: Axes) -> None:
    """From zero; logarithmic when a diverging model would press everything else flat."""
    low, high = axes.dataLim.ymin, axes.dataLim.ymax
    if not math.isfinite(high):
        axes.set_ylim(0, 1)
    elif low > 0.0 and high > 50.0:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.06 * high or 1.0)


def _round_axis(axes: Axes, rounds: Sequence[RoundRow]) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = rounds[0].round, rounds[-1].round
    margin = 0.5 if first == last else 0.03 * (last - first)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("round")


def _say_not_finite(axes: Axes, rounds: Sequence[int]) -> None:
    if rounds:
        named = ", ".join(map(str, rounds[:6])) + (" …" if len(rounds) > 6 else "")
        words = f"not a finite number in round {named}"
        axes.text(1.0, 1.02, words, transform=axes.transAxes, ha="right", color=RUST, fontsize=9)
