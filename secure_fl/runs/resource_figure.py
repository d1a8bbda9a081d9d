"""The paper's second figure: CPU and memory over time. Samples in, matplotlib figure out.

The whole machine is a grey area and this run a bold line, so that what others used is not taken for
ours. Rounds are marked along the top; time in which the run was not active is left out (`timeline`).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any

from secure_fl.runs.figure_style import BLUE, GREY, RUST, blank_figure, darker
from secure_fl.runs.labels import spread
from secure_fl.runs.resources import Sample
from secure_fl.runs.rows import RoundRow
from secure_fl.runs.timeline import Timeline, round_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["resources_figure"]

_MOST_POINTS = 600
_MOST_MARKS = 20
# Width of a digit above the panel, as a share of the panel's width.
_DIGIT_SHARE = 0.0085
_GIB = 2**30


def resources_figure(samples: Sequence[Sample], rounds: Sequence[RoundRow], *, title: str) -> Figure:
    """CPU and memory over the run's active time, with the rounds marked. samples: at least two."""
    timeline = Timeline.of(samples)
    unit_s, unit = _unit(timeline.active_s[-1])
    figure = blank_figure(4.6, title)
    cpu, memory = figure.subplots(2, 1, sharex=True)
    size = -(-len(samples) // _MOST_POINTS)
    x = _means([each / unit_s for each in timeline.active_s], size)
    cpu.set_ylim(0, 104)
    _use(cpu, x, _means([s.cpu_percent for s in samples], size), _means([s.run_cpu_percent for s in samples], size))
    machine_gib = _means([s.memory_used_bytes / _GIB for s in samples], size)
    _use(memory, x, machine_gib, _means([s.run_memory_bytes / _GIB for s in samples], size))
    cpu.set_title("CPU (% of all cores)", pad=20)
    memory.set_title("Memory (GiB)")
    memory.set_xlabel(f"time ({unit})")
    memory.set_xlim(0, x[-1] or 1.0)
    for axes in (cpu, memory):
        _mark_rounds(axes, timeline, rounds, unit_s)
    _name_rounds(cpu, timeline, rounds, unit_s)
    return figure


def _use(axes: Axes, x: Sequence[float], machine: Sequence[float], run: Sequence[float]) -> None:
    """One panel: the whole machine as a grey area, this run as a bold line, named at their height when busy."""
    axes.fill_between(x, machine, color="#d9d9d9", alpha=0.6, linewidth=0)
    axes.plot(x, machine, color=GREY, linewidth=1.0)
    axes.plot(x, run, color=BLUE, linewidth=2.0)
    axes.set_ylim(bottom=0)
    _, high = axes.get_ylim()
    places = spread([quantiles(values, n=4)[2] / high for values in (machine, run)], 0.13, low=0.05, high=0.95)
    names = (("machine", GREY, "normal"), ("this run", BLUE, "bold"))
    for place, (text, color, weight) in zip(places, names, strict=True):
        at: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "fontsize": 9}
        axes.text(1.02, place, text, color=darker(color), fontweight=weight, **at)


def _mark_rounds(axes: Axes, timeline: Timeline, rounds: Sequence[RoundRow], unit_s: float) -> None:
    """A thin line where a round ends, and a dashed one where time was left out."""
    spans = round_spans(timeline, rounds)
    for span in (span for span in spans if span.round % _step(len(spans)) == 0):
        axes.axvline(span.end_s / unit_s, color="#c2c2c2", linewidth=0.8, zorder=0.5)
    for each in timeline.breaks_s:
        axes.axvline(each / unit_s, color=RUST, linewidth=1.2, linestyle=(0, (3, 2)))


def _name_rounds(axes: Axes, timeline: Timeline, rounds: Sequence[RoundRow], unit_s: float) -> None:
    """Numbers above: in the middle of each round, or where only some are marked, at the line that ends it."""
    spans = round_spans(timeline, rounds)
    step, whole_s = _step(len(spans)), timeline.active_s[-1] or 1.0
    free_from = 0.0  # share of the width up to which the row is taken; a number that would cover another is left out
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8.5}
    for span in (span for span in spans if span.round % step == 0):
        at_s = (span.begin_s + span.end_s) / 2 if step == 1 else span.end_s
        half = _DIGIT_SHARE * (len(str(span.round)) + 1) / 2
        if at_s / whole_s - half >= free_from:
            free_from = at_s / whole_s + half
            axes.annotate(str(span.round), (at_s / unit_s, 1.0), xytext=(0, 3), ha="center", color="#555555", **place)
    if spans:
        axes.annotate("round", (1.02, 1.0), xytext=(0, 3), color="#555555", **{**place, "xycoords": "axes fraction"})
    for each in timeline.breaks_s:
        axes.text(each / unit_s, 0.5, " resumed", transform=axes.get_xaxis_transform(), color=RUST, fontsize=8.5)


def _step(rounds: int) -> int:
    """Mark every such round, so that at most about twenty are marked."""
    return next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if rounds <= _MOST_MARKS * step), 5000)


def _means(values: Sequence[float], size: int) -> list[float]:
    """Means over groups of `size`, so that a long run's curve stays a curve."""
    return [fmean(values[start : start + size]) for start in range(0, len(values), size)]


def _unit(longest_s: float) -> tuple[float, str]:
    if longest_s < 180:
        return 1.0, "s"
    return (60.0, "min") if longest_s < 3 * 3600 else (3600.0, "h")
