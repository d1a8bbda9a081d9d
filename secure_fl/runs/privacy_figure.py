"""What the run's privacy has cost by round, against what it may cost. Rows in, matplotlib figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from secure_fl.runs.figure_style import BLUE, RUST, blank_figure, darker
from secure_fl.runs.rows import RoundRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["privacy_figure"]

# The field of a round that holds the cost, by the unit of the promise.
_SPENT = {"image": "epsilon", "site": "client_epsilon"}


def privacy_figure(rounds: Sequence[RoundRow], promises: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """ε by round, one panel a unit of privacy. rounds, promises: at least one of each."""
    figure = blank_figure(3.4, title)
    panels = figure.subplots(1, len(promises), squeeze=False)[0]
    for axes, promise in zip(panels, promises, strict=True):
        _draw(axes, rounds, promise)
    if any("not_private" in promise for promise in promises):
        figure.supxlabel("NOT PRIVATE: drawn with test randomness", fontsize=10, color=RUST)
    return figure


def _draw(axes: Axes, rounds: Sequence[RoundRow], promise: Mapping[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    limit, field = float(promise["epsilon"]), _SPENT[promise["unit"]]
    points = [(row.round, spent) for row in rounds if (spent := getattr(row, field)) is not None]
    axes.set_title(f"Privacy spent, for each {promise['unit']}")
    axes.axhline(limit, color=RUST, linewidth=1.2, linestyle=(0, (4, 2)))
    words = f"planned: ε = {limit:.2f} at δ = {promise['delta']:g}"
    axes.annotate(words, (0.0, limit), xycoords=("axes fraction", "data"), xytext=(4, 4), textcoords="offset points",
                  color=darker(RUST), fontsize=9)  # fmt: skip
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=BLUE, linewidth=2.2, marker="o" if len(points) <= 30 else "", markersize=4)
    axes.set_ylim(0, 1.2 * max(limit, *(spent for _, spent in points), 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("round")
    axes.set_ylabel("ε")
