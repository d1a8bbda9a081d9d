"""What the figures of a run have in common: colours, type, and a blank sheet.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; as text they are
darkened until they read well on white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLACK", "BLUE", "GREY", "OKABE_ITO", "RUST", "STYLE", "blank_figure", "darker"]

BLACK, GREY, BLUE, RUST = "#000000", "#8a8a8a", "#0072B2", "#a33b00"
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")

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


def blank_figure(height_in: float, title: str) -> Figure:
    """A sheet, nine inches wide."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height_in))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.07)
    figure.suptitle(title, x=0.014, ha="left", fontsize=10, color="#333333", parse_math=False)
    return figure


def darker(color: str) -> str:
    """A line's colour as text: dark enough to be read on white."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"#{int(red * 0.72):02x}{int(green * 0.72):02x}{int(blue * 0.72):02x}"
