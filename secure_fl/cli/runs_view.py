"""How runs are shown: rows in; a table, a page of detail, or JSON out. Pure functions.

Texts that come from sites, files or users pass through `printable` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_fl.cli.columns import Column, count, cut, fitted, size_text
from secure_fl.cli.output import printable
from secure_fl.cli.progress import duration, percent, simulation_words
from secure_fl.compositions import FEDAVG
from secure_fl.runs.rows import Exclusion, RoundRow, RunSummary, SiteRow

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from secure_fl.config import RunConfig
    from secure_fl.runs.index import RunRow

__all__ = ["Page", "detail", "list_document", "listing"]

STATUS_STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "damaged": "bold red",
    "created": "dim",
}
_MOST_ROWS = 24


# -- the list


def listing(rows: Sequence[RunRow], width: int) -> Table:
    """All runs, one a line. rows: at least one."""
    return fitted(
        [
            Column("run", [row.id for row in rows]),
            Column("status", [row.status for row in rows], styles=[STATUS_STYLES[row.status] for row in rows]),
            Column("data set", [cut(printable(Path(row.dataset).name), 18) for row in rows], rank=4),
            Column("model", [row.model for row in rows], rank=7),
            Column("grid", [row.grid for row in rows], rank=8),
            Column("sites", [str(row.sites or "") for row in rows], rank=6, is_number=True),
            Column(
                "round", [f"{row.round}/{row.rounds}" if row.rounds else "" for row in rows], rank=2, is_number=True
            ),
            Column("accuracy", [_percent(row.accuracy) for row in rows], rank=1, is_number=True),
            Column("loss", [_number(row.loss) for row in rows], rank=3, is_number=True),
            Column("started (UTC)", [_moment(row.started or row.created) for row in rows], rank=9),
            Column("time", [duration(row.seconds) if row.started else "" for row in rows], rank=5, is_number=True),
        ],
        width,
    )


def list_document(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """The same for a program; what only this process needs is left out."""
    return [{k: v for k, v in asdict(row).items() if k not in ("pid", "attempt_started_s")} for row in rows]


# -- one run


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown of one run; `files` are paths inside `folder`, with sizes in bytes."""

    id: str
    status: str
    folder: str
    config: RunConfig
    summary: RunSummary
    files: Sequence[tuple[str, int]]


def detail(page: Page, width: int) -> Group:
    """The page of one run: how it stands, its rounds, its sites, who did not count, and its files."""
    from rich.console import Group

    summary = page.summary
    parts: list[Any] = [_headline(page)]
    if summary.rounds:
        parts += ["", _rounds_table(summary.rounds, width)]
    if summary.last and summary.last.sites:
        heading = f"sites in round {summary.last.round}; accuracy and loss on each site's own validation images"
        parts += ["", _heading(heading), _sites_table(summary.last.sites, summary, width)]
    excluded = [each for row in (*summary.rounds, summary.open_round) if row for each in row.excluded]
    if excluded:
        parts += ["", _heading("replies that did not count"), _excluded_table(excluded, width)]
    if summary.refused:
        who = [cut(printable(each.who), 40) for each in summary.refused]
        columns = [
            Column("time (UTC)", [_moment(each.time) for each in summary.refused], rank=1),
            Column("who", who),
            Column("reason", [printable(each.reason) for each in summary.refused]),
        ]
        parts += ["", _heading("refused at the door"), fitted(columns, width)]
    return Group(*parts, "", _heading(f"files in {printable(page.folder)}/"), _files_table(page.files, width))


def _headline(page: Page) -> Any:
    from rich.text import Text

    config, summary = page.config, page.summary
    tls, security = summary.start.get("tls"), ""
    if tls:
        version = f" {printable(tls)}" if isinstance(tls, str) else ""
        is_mutual = summary.start.get("mutual_tls")
        security = f", mutual TLS{version}" if is_mutual else f", TLS{version} without client certificates"
    skew = f" {config.alpha:g}" if config.partition in ("dirichlet", "quantity") else ""
    text = Text.assemble("run ", (page.id, "bold"), "  ", (page.status, STATUS_STYLES[page.status]))
    text.append(
        f"\n{printable(config.dataset)}, {config.model}, {count(config.sites, 'site')} ({config.partition}{skew}), "
        f"{count(config.rounds, 'round')}, {summary.start.get('grid', config.grid)} grid{security}, seed {config.seed}"
    )
    if config.defense != FEDAVG:
        text.append(f"\nrule {printable(str(summary.start.get('rule', config.defense)))}")
    if summary.start.get("protection"):
        text.append(f"\nseen of the sites: {printable(str(summary.start['protection']))}")
    if config.attack:
        text.append(f"\n{simulation_words(summary.start.get('simulation'))}", "bold red")
    if summary.last:
        row = summary.last
        text.append(f"\naccuracy {_percent(row.accuracy)}, loss {_number(row.loss)} after round {row.round}")
    if summary.started:
        again = f" in {summary.attempts} attempts" if summary.attempts > 1 else ""
        text.append(f"\nstarted {_moment(summary.started)} UTC, took {duration(summary.active_s)}{again}")
    error = summary.end.get("error")
    if error:
        text.append(f"\nerror: {printable(error['what'])}", "red")
        for label in ("why", "fix"):
            if error.get(label):
                text.append(f"\n  {label}: {printable(error[label])}")
    return text


def _rounds_table(rounds: Sequence[RoundRow], width: int) -> Any:
    rows = _ends(rounds)
    replies = [f"{len(row.accepted)}/{len(row.accepted) + len(row.excluded)}" if row.round else "" for row in rows]
    return _with_remark(
        fitted(
            [
                Column("round", [str(row.round) for row in rows], is_number=True),
                Column("accuracy", [_percent(row.accuracy) for row in rows], is_number=True),
                Column("loss", [_number(row.loss) for row in rows], is_number=True),
                Column("train loss", [_number(row.train_loss) for row in rows], rank=3, is_number=True),
                Column("update norm", [_number(row.update_norm) for row in rows], rank=4, is_number=True),
                Column("replies", replies, rank=1, is_number=True),
                *_left_out_column(rows),
                *_failing_column(rows),
                *_undone_column(rows),
                Column("time", [_seconds(row.seconds) for row in rows], is_number=True),
                Column("up", [_bytes(row.bytes_up) for row in rows], rank=2, is_number=True),
                Column("down", [_bytes(row.bytes_down) for row in rows], rank=2, is_number=True),
            ],
            width,
        ),
        len(rounds) - len(rows),
        "rounds",
    )


def _left_out_column(rows: Sequence[RoundRow]) -> list[Column]:
    """Sites whose updates the rule did not let in, where that ever happened."""
    if not any(row.left_out for row in rows):
        return []
    return [Column("left out", [cut(printable(", ".join(row.left_out)), 40) for row in rows])]


def _failing_column(rows: Sequence[RoundRow]) -> list[Column]:
    """Who dropped out of a secure sum, or lied about shares, where anybody ever did."""
    if not any(row.failing for row in rows):
        return []
    return [Column("failing", [cut(printable(", ".join(row.failing)), 40) for row in rows])]


def _undone_column(rows: Sequence[RoundRow]) -> list[Column]:
    """Why a round left the model as it was, where one ever did: undone, or without a sum."""
    why = [row.rolled_back or (row.secagg or {}).get("void", "") for row in rows]
    if not any(why):
        return []
    return [Column("undone", [cut(printable(each), 40) for each in why])]


def _part_column(rows: Sequence[SiteRow], summary: RunSummary) -> list[Column]:
    """Each site's part in the step of the last round: its weight, or whether the rule let it in."""
    last = summary.last
    if last is None or last.kept is None:
        return []
    weights, masked = last.weights or {}, last.masked

    def part(site: str) -> str:
        if site in masked:
            return "not finite"
        return f"{weights[site]:.3f}" if site in weights else "left out" if site in last.left_out else "let in"

    return [Column("part", [part(row.site) for row in rows], rank=2, is_number=True)]


def _sites_table(sites: Sequence[SiteRow], summary: RunSummary, width: int) -> Any:
    rows = sites[:_MOST_ROWS]
    final = {each.site: each.validation_accuracy for each in summary.evaluations}
    return _with_remark(
        fitted(
            [
                Column("site", [cut(printable(row.site), 24) for row in rows]),
                Column("images", [str(row.samples or "") for row in rows], is_number=True),
                *_part_column(rows, summary),
                Column(
                    "received", [_percent(row.received_validation_accuracy) for row in rows], rank=3, is_number=True
                ),
                Column("trained", [_percent(row.validation_accuracy) for row in rows], is_number=True),
                Column("final", [_percent(final.get(row.site)) for row in rows], rank=2, is_number=True),
                Column("loss", [_number(row.validation_loss) for row in rows], rank=1, is_number=True),
                Column("train loss", [_number(row.train_loss) for row in rows], rank=5, is_number=True),
                Column("compute", [_seconds(row.compute_s) for row in rows], is_number=True),
                Column("in all", [_seconds(row.elapsed_s) for row in rows], rank=6, is_number=True),
                Column("CPU", [_seconds(row.cpu_s) for row in rows], rank=7, is_number=True),
                Column("memory", [_bytes(row.memory_bytes) for row in rows], rank=4, is_number=True),
                Column("up", [_bytes(row.bytes_up) for row in rows], rank=8, is_number=True),
                Column("down", [_bytes(row.bytes_down) for row in rows], rank=8, is_number=True),
            ],
            width,
        ),
        len(sites) - len(rows),
        "sites",
    )


def _excluded_table(excluded: Sequence[Exclusion], width: int) -> Any:
    rows = excluded[-_MOST_ROWS:]
    return _with_remark(
        fitted(
            [
                Column("round", [str(row.round) for row in rows], is_number=True),
                Column("site", [cut(printable(row.site), 24) for row in rows]),
                Column("", [row.outcome for row in rows]),
                Column("reason", [printable(": ".join(filter(None, (row.reason, row.detail)))) for row in rows]),
            ],
            width,
        ),
        len(excluded) - len(rows),
        "earlier replies",
    )


def _files_table(files: Sequence[tuple[str, int]], width: int) -> Table:
    """One line a file, and one for each folder with all that is in it."""
    sizes: dict[str, list[int]] = {}
    for name, size in files:
        top, slash, _ = name.partition("/")
        sizes.setdefault(top + slash, []).append(size)
    names = [f"{name}  ({count(len(each), 'file')})" if name.endswith("/") else name for name, each in sizes.items()]
    totals = [size_text(sum(each)) for each in sizes.values()]
    return fitted([Column("", [printable(name) for name in names]), Column("", totals, is_number=True)], width)


def _ends(rows: Sequence[RoundRow]) -> list[RoundRow]:
    """All rows, or the first and the newest where there are too many to read."""
    return list(rows) if len(rows) <= _MOST_ROWS else [rows[0], *rows[1 - _MOST_ROWS :]]


def _with_remark(table: Table, left_out: int, what: str) -> Any:
    from rich.console import Group

    if not left_out:
        return table
    return Group(table, _heading(f"{left_out} {what} are not shown; `secure-fl runs export` writes them all"))


def _heading(words: str) -> Any:
    from rich.text import Text

    return Text(words, style="dim")


# -- cells


def _bytes(value: int | None) -> str:
    return size_text(value) if value else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)


def _percent(value: float | None) -> str:
    return "" if value is None else percent(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value >= 100 else f"{value:.4f}"


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
