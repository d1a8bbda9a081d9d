"""Who holds what, drawn: a row for each site, a column for each class, and the size of each site as a bar.

              0     1     2     3   images
    site-0   29▃   33▃    ·     2▁      64  ███▌
    site-1    ·    43▄   36▃   33▃     112  ██████▏

Every cell has its number, so nothing hangs on colour; the block beside it shows by its height how it
compares with the largest cell. Where numbers do not fit (many classes, a narrow terminal) the blocks
stand alone. Pure drawing of what `describe_data` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from secure_fl.cli.output import printable
from secure_fl.config import RunConfig

__all__ = ["draw_partition"]

MOST_SITES = 40
_LEAST_BAR, _MOST_BAR = 8, 42  # with a gap of two


@dataclass(frozen=True)
class _Glyphs:
    """What pictures are made of; the second set is for terminals that know no Unicode."""

    heights: str
    eighths: str
    none: str


_UNICODE = _Glyphs(heights="▁▂▃▄▅▆▇█", eighths=" ▏▎▍▌▋▊▉█", none="·")
_ASCII = _Glyphs(heights=".:-=+*%#", eighths="        #", none="-")


@dataclass(frozen=True)
class _Row:
    label: str
    counts: list[int]
    images: int
    is_site: bool = True


@dataclass(frozen=True)
class _Frame:
    """Widths, in characters, of what stands left and right of the classes; each with its gap."""

    label: int
    total: int
    bar: int = 0


def draw_partition(console: Console, described: dict[str, Any], config: RunConfig) -> None:
    """Print `described`, the answer of `describe_data(config)`, for people."""
    rows = _rows(described)
    glyphs = _UNICODE if console.encoding.lower().startswith("utf") else _ASCII
    lines = [*_heading(described, config), Text(), *_chart(rows, _names(described), console.width, glyphs)]
    hidden = len(described["sites"]) - MOST_SITES
    if hidden > 0:
        sizes = [site["images"] for site in described["sites"]]
        lines.append(Text(f"and {hidden:,} more sites; all hold {min(sizes):,} to {max(sizes):,} images", "dim"))
    for line in [*lines, Text(), *_footing(described, config)]:
        console.print(line, soft_wrap=True)


def _heading(described: dict[str, Any], config: RunConfig) -> list[Text]:
    data = described["dataset"]
    native, wanted = data["native_size_px"], data["image_size_px"]
    size = f"{native} px" if native == wanted else f"{native} px scaled to {wanted} px"
    knob = {"iid": "", "shards": f" ({config.classes_per_site} classes each)"}
    how = config.partition + knob.get(config.partition, f" (alpha {config.alpha:g})")
    sites = f"{config.sites:,} {'site' if config.sites == 1 else 'sites'}"
    images = f"{data['train']['images']:,} training and {data['test']['images']:,} test images"
    return [
        Text(printable(data["name"]), "bold").append(f"  {images}, {len(data['classes'])} classes, {size}", "not bold"),
        Text(f"dealt to {sites} by {how}, seed {config.seed}"),
    ]


def _footing(described: dict[str, Any], config: RunConfig) -> list[Text]:
    data, parts = described["dataset"], described["partition"]
    own = sum(site["images"] - site["train_images"] for site in described["sites"])
    lines = []
    if own:
        lines.append(
            Text(f"each site keeps {100 * config.val_fraction:g} % of its images for validation, {own:,} in all", "dim")
        )
    left_out = data["train"]["left_out"] + data["test"]["left_out"]
    if left_out:
        what = (
            "file left out: `secure-fl data check` names it"
            if left_out == 1
            else "files left out: `secure-fl data check` names them"
        )
        lines.append(Text(f"{left_out:,} {what}", "yellow"))
    marks = [data["train"]["fingerprint"], data["test"]["fingerprint"], parts["fingerprint"]]
    train, test, partition = (each.removeprefix("sha256:")[:12] for each in marks)
    lines.append(Text(f"sha256  training {train}  test {test}  partition {partition}", "dim"))
    return lines


def _rows(described: dict[str, Any]) -> list[_Row]:
    sites = [_Row(f"site-{each['site']}", each["counts"], each["images"]) for each in described["sites"][:MOST_SITES]]
    train, test = described["dataset"]["train"], described["dataset"]["test"]
    return [
        *sites,
        _Row("all", train["counts"], train["images"], is_site=False),
        _Row("test", test["counts"], test["images"], is_site=False),
    ]


def _names(described: dict[str, Any]) -> list[str]:
    return [printable(name) for name in described["dataset"]["classes"]]


def _chart(rows: list[_Row], names: list[str], width: int, glyphs: _Glyphs) -> list[Text]:
    """The widest form that fits: class names above numbers, class numbers with a legend, blocks only."""
    frame = _Frame(
        label=max(len(row.label) for row in rows),
        total=2 + max(len("images"), *(len(f"{row.images:,}") for row in rows)),
    )
    room = width - frame.label - frame.total
    numbers = [str(number) for number in range(len(names))]
    for heads, gap, bar in (
        (names, 2, True),
        (names, 1, True),
        (numbers, 2, True),
        (numbers, 1, True),
        (numbers, 1, False),
    ):
        columns = [_column_width(rows, heads, at, gap) for at in range(len(heads))]
        left = room - sum(columns)
        if left >= _LEAST_BAR * bar:
            lines = _numbered(rows, heads, columns, replace(frame, bar=min(_MOST_BAR, left) * bar), glyphs)
            return lines if heads is names else [*lines, Text(), *_legend(names, width)]
    return _blocks(rows, frame, max(room - _LEAST_BAR, 10), glyphs)


def _column_width(rows: list[_Row], heads: list[str], at: int, gap: int) -> int:
    """The gap, the longest number (or the heading), and the block."""
    return gap + max(len(heads[at]), *(len(str(row.counts[at])) for row in rows)) + 1


def _numbered(rows: list[_Row], heads: list[str], columns: list[int], frame: _Frame, glyphs: _Glyphs) -> list[Text]:
    head = Text(" " * frame.label, "bold")
    for name, column in zip(heads, columns, strict=True):
        head.append(f"{name:>{column - 1}} ")
    lines = [head.append(f"{'images':>{frame.total}}")]
    largest = max(max(row.counts) for row in rows if row.is_site)
    for row in rows:
        line = Text(f"{row.label:<{frame.label}}", "" if row.is_site else "dim")
        for count, column in zip(row.counts, columns, strict=True):
            if not count:
                line.append(f"{glyphs.none:>{column - 1}} ", "dim")
                continue
            line.append(f"{count:>{column - 1}}")
            line.append(_height(count, largest, glyphs) if row.is_site else " ", "cyan")
        lines.append(_with_total(line, row, rows, frame, glyphs))
    return lines


def _blocks(rows: list[_Row], frame: _Frame, room: int, glyphs: _Glyphs) -> list[Text]:
    """One block a class; with more classes than columns, one block for several neighbouring classes."""
    classes = len(rows[0].counts)
    joined = -(-classes // (room - 2))
    sums = [[sum(row.counts[at : at + joined]) for at in range(0, classes, joined)] for row in rows]
    largest = max(max(each) for row, each in zip(rows, sums, strict=True) if row.is_site)
    frame = replace(frame, bar=min(_MOST_BAR, room - 2 - len(sums[0]) + _LEAST_BAR))
    lines = [Text(f"one block for {'a class' if joined == 1 else f'{joined} neighbouring classes'}, by height", "dim")]
    for row, counts in zip(rows, sums, strict=True):
        line = Text(f"{row.label:<{frame.label}}  ", "" if row.is_site else "dim")
        for count in counts:
            if not row.is_site:
                line.append(" ")
            elif count:
                line.append(_height(count, largest, glyphs), "cyan")
            else:
                line.append(glyphs.none, "dim")
        lines.append(_with_total(line, row, rows, frame, glyphs))
    return lines


def _with_total(line: Text, row: _Row, rows: list[_Row], frame: _Frame, glyphs: _Glyphs) -> Text:
    line.append(f"{row.images:>{frame.total},}")
    if row.is_site and frame.bar:
        eighths = round(8 * (frame.bar - 2) * row.images / max(each.images for each in rows if each.is_site))
        line.append("  " + glyphs.eighths[8] * (eighths // 8) + glyphs.eighths[eighths % 8].strip(), "blue")
    return line


def _height(count: int, largest: int, glyphs: _Glyphs) -> str:
    return glyphs.heights[-(-8 * count // largest) - 1]


def _legend(names: list[str], width: int) -> list[Text]:
    """`0 airplane   1 automobile   …`, broken between entries."""
    lines = [Text()]
    for number, name in enumerate(names):
        entry = f"{number} {name}"
        if lines[-1] and len(lines[-1]) + 3 + len(entry) > width:
            lines.append(Text())
        lines[-1].append("   " if lines[-1] else "").append(str(number), "bold").append(f" {name}")
    return lines
