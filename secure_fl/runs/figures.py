"""The paper's two figures, as matplotlib figures: convergence, and resource use. Rows in, figure out.

One bold line carries each panel and is named where it ends; everything else is thin. Colours are those
of Okabe and Ito, which people with any colour vision can tell apart, and lines also differ in dashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from secure_fl.runs.labels import spread
from secure_fl.runs.resources import Sample
from secure_fl.runs.rows import RoundRow, natural
from secure_fl.runs.timeline import Timeline, round_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
__all__ = ["STYLE", "convergence_figure", "resources_figure"]

_BLACK, _GREY, _BLUE = "#000000", "#8a8a8a", "#0072B2"
_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DASHES = ("-", (0, (4, 1.5)))
# More sites than this are drawn alike: nobody can follow so many colours.
_MOST_NAMED = 2 * len(_OKABE_ITO)
_MOST_POINTS = 600
_GIB = 2**30

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.solid_capstyle": "round",
    "savefig.dpi": 150,
    "svg.hashsalt": "secure-fl",
    "svg.fonttype": "path",
}

# Rounds up to which each has a dot; beyond, dots would melt into a band.
_MOST_DOTS = 30
# Height of a line of label text, as a share of the panel.
_LABEL_GAP = 0.062


@dataclass(frozen=True, slots=True)
class End:
    """The last point of a line, and how to name it."""

    x: float
    y: float
    text: str
    color: str
    is_bold: bool


Value = Callable[[RoundRow], "float | None"]


def convergence_figure(rounds: Sequence[RoundRow], *, title: str) -> Figure:
    """Loss and accuracy by round. rounds: at least one."""
    figure = _figure(3.9, title)
    loss, accuracy = figure.subplots(1, 2)
    losses = _curves(loss, rounds, lambda row: row.loss, "validation_loss", scale=1.0)
    percents = _curves(accuracy, rounds, lambda row: row.accuracy, "validation_accuracy", scale=100.0)
    loss.set_title("Loss")
    accuracy.set_title("Accuracy (%)")
    _fit_loss(loss)
    accuracy.set_ylim(0, 101)
    _name_ends(loss, losses)
    _name_ends(accuracy, percents, " %")
    if any(row.sites for row in rounds):
        words = "bold: global model on the test images    thin: each site's trained model on its own validation images"
        figure.supxlabel(words, fontsize=8.5, color="#555555")
    return figure


def resources_figure(samples: Sequence[Sample], rounds: Sequence[RoundRow], *, title: str) -> Figure:
    """CPU and memory over the run's active time, with the rounds marked. samples: at least two."""
    timeline = Timeline.of(samples)
    unit_s, unit = _unit(timeline.active_s[-1])
    samples, x = _thinned(samples, [each / unit_s for each in timeline.active_s])
    figure = _figure(4.6, title)
    cpu, memory = figure.subplots(2, 1, sharex=True)
    cpu.set_ylim(0, 104)
    _use(cpu, x, [each.cpu_percent for each in samples], [each.run_cpu_percent for each in samples])
    _use(
        memory,
        x,
        [each.memory_used_bytes / _GIB for each in samples],
        [each.run_memory_bytes / _GIB for each in samples],
    )
    cpu.set_title("CPU (% of all cores)", pad=20)
    memory.set_title("Memory (GiB)")
    memory.set_xlabel(f"time ({unit})")
    memory.set_xlim(0, x[-1])
    for axes in (cpu, memory):
        _mark_rounds(axes, timeline, rounds, unit_s, named=axes is cpu)
    return figure


def _figure(height_in: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height_in))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.07)
    figure.suptitle(title, x=0.014, ha="left", fontsize=10, color="#333333")
    return figure


def _curves(axes: Axes, rounds: Sequence[RoundRow], value: Value, site_value: str, *, scale: float) -> list[End]:
    """One panel: the global model bold, the sites thin. Returns where the lines end, to name them there."""
    ends: list[End] = []
    names = sorted({site.site for row in rounds for site in row.sites}, key=natural)
    has_dots = len(rounds) <= _MOST_DOTS
    for index, name in enumerate(names):
        is_named = len(names) <= _MOST_NAMED
        color = _OKABE_ITO[index % len(_OKABE_ITO)] if is_named else "#b0b0b0"
        dashes = _DASHES[index // len(_OKABE_ITO) % 2] if is_named else "-"
        found = {row.round: getattr(site, site_value) for row in rounds for site in row.sites if site.site == name}
        points = [(row.round, _scaled(found.get(row.round), scale)) for row in rounds]
        axes.plot(*zip(*points, strict=True), color=color, linestyle=dashes, linewidth=1.1, alpha=0.9)
        if has_dots:
            axes.plot(*zip(*points, strict=True), color=color, linestyle="", marker="o", markersize=2.6)
        if is_named:
            ends += _end(points, _short(name), color, is_bold=False)
    points = [(row.round, _scaled(value(row), scale)) for row in rounds]
    marker = "o" if has_dots else ""
    axes.plot(*zip(*points, strict=True), color=_BLACK, linewidth=2.6, marker=marker, markersize=4.5, zorder=5)
    ends += _end(points, "global", _BLACK, is_bold=True)
    _round_axis(axes, rounds)
    _say_not_finite(axes, [row.round for row in rounds if value(row) is None])
    if len(names) > _MOST_NAMED:
        words = f"thin: {len(names)} sites"
        axes.text(0.98, 0.04, words, transform=axes.transAxes, ha="right", color=_darker(_GREY), fontsize=9)
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
        axes.plot(
            (x, 1.0, 1.035),
            (y, y, place),
            transform=axes.transAxes,
            color=end.color,
            linewidth=0.7,
            alpha=0.6,
            clip_on=False,
            scalex=False,
            scaley=False,
        )
        axes.text(
            1.045,
            place,
            f"{end.text} {_figure_text(end.y)}{unit}" if end.is_bold else end.text,
            transform=axes.transAxes,
            va="center",
            color=_darker(end.color),
            fontsize=9.5 if end.is_bold else 8.5,
            fontweight="bold" if end.is_bold else "normal",
        )


def _figure_text(value: float) -> str:
    """Three or four significant digits."""
    return f"{value:.3f}" if value < 10 else f"{value:.4g}" if value >= 100 else f"{value:.1f}"


def _fit_loss(axes: Axes) -> None:
    """From zero; logarithmic when a diverging model would press everything else flat."""
    high = axes.dataLim.ymax
    if not math.isfinite(high):
        axes.set_ylim(0, 1)
    elif axes.dataLim.ymin > 0.0 and high > 50.0:
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
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color="#a33b00", fontsize=9)


def _use(axes: Axes, x: Sequence[float], machine: Sequence[float], run: Sequence[float]) -> None:
    """One panel: the whole machine as a grey area, this run as a bold line."""
    axes.fill_between(x, machine, color="#d9d9d9", alpha=0.6, linewidth=0)
    axes.plot(x, machine, color=_GREY, linewidth=1.0)
    axes.plot(x, run, color=_BLUE, linewidth=2.0)
    axes.set_ylim(bottom=0)
    _, high = axes.get_ylim()
    places = spread([median(values) / high for values in (machine, run)], 0.13, low=0.05, high=0.95)
    for place, text, color, weight in zip(
        places, ("machine", "this run"), (_GREY, _BLUE), ("normal", "bold"), strict=True
    ):
        axes.text(
            1.012,
            place,
            text,
            transform=axes.transAxes,
            va="center",
            color=_darker(color),
            fontsize=9,
            fontweight=weight,
        )


def _mark_rounds(axes: Axes, timeline: Timeline, rounds: Sequence[RoundRow], unit_s: float, *, named: bool) -> None:
    """A thin line where each round ends, its number above, and a dashed line where time was left out."""
    spans = round_spans(timeline, rounds)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000, 10_000) if len(spans) <= 20 * step or step == 10_000)
    for span in (span for span in spans if span.round % every == 0):
        axes.axvline(span.end_s / unit_s, color="#c2c2c2", linewidth=0.8, zorder=0.5)
        if named:
            # Between its lines; where only some rounds are marked, at the line that ends it.
            at_s = (span.begin_s + span.end_s) / 2 if every == 1 else span.end_s
            words = f"round {span.round}" if span.round == every else str(span.round)
            axes.annotate(
                words,
                (at_s / unit_s, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color="#555555",
            )
    for each in timeline.breaks_s:
        axes.axvline(each / unit_s, color=_OKABE_ITO[5], linewidth=1.2, linestyle=(0, (3, 2)))
        if named:
            axes.text(
                each / unit_s, 0.5, " resumed", transform=axes.get_xaxis_transform(), color="#a33b00", fontsize=8.5
            )


def _thinned(samples: Sequence[Sample], x: Sequence[float]) -> tuple[list[Sample], list[float]]:
    """Means over equal groups, so that a long run's curve stays a curve."""
    size = -(-len(samples) // _MOST_POINTS)
    if size == 1:
        return list(samples), list(x)
    starts = range(0, len(samples), size)
    groups = [samples[start : start + size] for start in starts]
    return [_mean(group) for group in groups], [sum(x[s : s + size]) / len(x[s : s + size]) for s in starts]


def _mean(group: Sequence[Sample]) -> Sample:
    n = len(group)
    return Sample(
        t_s=group[0].t_s,
        time_s=group[0].time_s,
        cpu_percent=sum(each.cpu_percent for each in group) / n,
        memory_used_bytes=sum(each.memory_used_bytes for each in group) // n,
        run_cpu_percent=sum(each.run_cpu_percent for each in group) / n,
        run_memory_bytes=sum(each.run_memory_bytes for each in group) // n,
    )


def _unit(longest_s: float) -> tuple[float, str]:
    if longest_s < 180:
        return 1.0, "s"
    return (60.0, "min") if longest_s < 3 * 3600 else (3600.0, "h")


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


def _darker(color: str) -> str:
    """A line's colour as text: dark enough to be read on white."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"#{int(red * 0.72):02x}{int(green * 0.72):02x}{int(blue * 0.72):02x}"
