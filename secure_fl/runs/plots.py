"""Draw a record's figures into `plots/`: convergence, resources and, where it has any, privacy, as .png and .svg.

Equal records give equal bytes: the style is fixed whatever the user's own matplotlib settings, SVG ids
are salted with a constant, and no date or program name goes into the files. matplotlib is imported when
something is drawn, without a display and without its global state of open figures.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from secure_fl.runs.atomic import write_atomic, writing
from secure_fl.runs.convergence import convergence_figure
from secure_fl.runs.figure_style import STYLE
from secure_fl.runs.privacy_figure import privacy_figure
from secure_fl.runs.resource_figure import resources_figure
from secure_fl.runs.resources import read_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from secure_fl.runs.record import RunRecord

__all__ = ["draw_plots"]

# Nothing in the files that differs between two drawings of one record.
_METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def draw_plots(record: RunRecord, *, note: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Draw what the record has data for, and return the files; `note` is told what could not be drawn, and why.

    Raises:
        SecureFLError: the files cannot be written.
    """
    import matplotlib

    promises = record.summary().start.get("privacy") or ()
    rounds, samples = record.rounds(), read_samples(record.folder / "resources.jsonl")
    config = record.config
    title = f"{record.id}   {_name(config.dataset)}, {config.model}, {config.sites} sites, {config.partition}"
    files: list[Path] = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        if rounds:
            files += _save(convergence_figure(rounds, title=title), record.folder / "plots" / "convergence")
        else:
            note("no convergence figure: no round has finished yet")
        if rounds and promises:
            files += _save(privacy_figure(rounds, promises, title=title), record.folder / "plots" / "privacy")
        if len(samples) >= 2:
            files += _save(resources_figure(samples, rounds, title=title), record.folder / "plots" / "resources")
        else:
            note("no resource figure: the run has fewer than two samples of CPU and memory")
    return files


def _save(figure: Figure, stem: Path) -> list[Path]:
    with writing(stem.parent):
        stem.parent.mkdir(mode=0o755, exist_ok=True)
    files = []
    for kind, metadata in _METADATA.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine("none")  # laid out once: the other kinds have everything in the same place
        path = stem.with_suffix(f".{kind}")
        write_atomic(path, buffer.getvalue())
        files.append(path)
    return files


def _name(dataset: str) -> str:
    """A data set's name; of a path, the last part."""
    return Path(dataset).name or dataset
