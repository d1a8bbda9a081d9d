"""`secure-fl compare`: attacks against defenses over seeds, on all cores, with a report of what survives.

Everything that can be refused is refused before anything runs. The first Ctrl-C (or SIGTERM) lets the simulations
that are under way finish and keeps all; the second ends them. Either way the same command goes on later, and it does
after any other end too: a cell is on the disk before it is counted.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_fl.cli.columns import Column, count, fitted
from secure_fl.cli.compare_view import LinesScreen, LiveTable, Screen, StreamLines, SweepView
from secure_fl.cli.output import current, examples, home, printable, shown_path
from secure_fl.errors import ConfigError, InterruptedRunError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from secure_fl.lab.comparison import Cell, Comparison
    from secure_fl.lab.findings import Findings, Panel
    from secure_fl.lab.results import Results
    from secure_fl.lab.scenario import Scenario
    from secure_fl.lab.workplace import Workplace

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich")

_NAME = "digits"  # of the scenario that is compared where none is given


@app.command(
    epilog=examples(
        "secure-fl compare --attack sign_flip --defense trimmed_mean --byzantine 2 --seeds 3 --rounds 1",
        "secure-fl --format json compare --attack sign_flip --defense trimmed_mean --byzantine 2 --seeds 3 --rounds 1",
    )
)
def compare(
    attack: Annotated[
        list[str] | None, typer.Option("--attack", metavar="ATTACK", help="what attackers do; repeat for more")
    ] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option("--defense", metavar="DEFENSE", help="such as nnm+trimmed_mean; repeat for more"),
    ] = None,
    byzantine: Annotated[
        str, typer.Option("--byzantine", metavar="F,…", help="how many attack (default: the scenario's, or a fifth)")
    ] = "",
    alpha: Annotated[
        str, typer.Option("--alpha", metavar="α,…", help="deal images by Dirichlet draws of these α")
    ] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="how many, from the scenario's on")] = 3,
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME|FILE", help="what else is fixed (default: digits, 10 clients)")
    ] = "",
    rounds: Annotated[int, typer.Option("--rounds", min=0, help="instead of the scenario's", show_default=False)] = 0,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="processes (default: one a core)", show_default=False)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="where results go (default: HOME/comparisons/SCENARIO)"),
    ] = None,
) -> None:
    """Simulate every attack against every defense, and report which defense survives what.

    No attack and no defense are always among them, as baselines. Simulations that an earlier call of the command
    finished are not repeated; add a defense or raise --seeds, and only what is new is simulated.
    """
    grid = _grid(attack or [], defense or [], byzantine, alpha, seeds, _base(scenario, rounds))
    from secure_fl.lab.refusals import refusals  # imports torch: a wrong number is told without waiting for it
    from secure_fl.lab.sweep import cores
    from secure_fl.lab.workplace import Workplace

    place = Workplace(output or home() / "comparisons" / _slug(grid.base.name), grid, refusals(grid))
    command = ["secure-fl", *sys.argv[1:]]
    waiting = place.waiting()
    place.report(command)  # whatever happens from here on, a manifest is there
    stopped = _simulate(place, waiting, min(workers or cores(), len(waiting)))
    results, files = place.report(command)
    data = _summary(results, files, simulated=len(waiting))
    if stopped:
        error = InterruptedRunError(
            f"stopped; {len(results.measures)} of {len(place.possible)} simulations are finished and kept",
            why=f"what they say so far is in {shown_path(files[0])}",
            fix=shlex.join(command),
        )
        current().error(error, data=data)
        raise typer.Exit(error.exit_code)
    current().result(data, lambda console: _draw(console, results, files))
    if results.faults:
        raise typer.Exit(1)


def _base(scenario: str, rounds: int) -> Scenario:
    from secure_fl.lab.library import find_scenario
    from secure_fl.lab.scenario import Scenario

    base = (
        find_scenario(scenario)
        if scenario
        else Scenario(name=_NAME, partition="dirichlet", model="mlp", rounds=12, lr=0.1)
    )
    return base.changed(rounds=rounds) if rounds else base


def _grid(
    attacks: Sequence[str], defenses: Sequence[str], byzantine: str, alpha: str, seeds: int, base: Scenario
) -> Comparison:
    from secure_fl.lab.comparison import Comparison

    return Comparison(
        base=base.changed(partition="dirichlet") if alpha else base,
        attacks=tuple(attacks or [base.attack]),
        defenses=tuple(defenses or [base.defense]),
        byzantine=tuple(int(each) for each in _numbers("--byzantine", byzantine, int))
        or (base.byzantine or max(1, base.clients // 5),),
        alphas=tuple(_numbers("--alpha", alpha, float)) or (base.alpha,),
        seeds=tuple(range(base.seed, base.seed + seeds)),
    )


def _numbers(flag: str, text: str, kind: type[float]) -> list[float]:
    """Numbers between commas; none of an empty text."""
    try:
        return [kind(each) for each in text.split(",")] if text.strip() else []
    except ValueError:
        example = "1,2" if kind is int else "0.1,0.5"
        raise ConfigError(
            f"{flag} is {text!r}", fix=f"give numbers with commas between them, such as {example}"
        ) from None


def _slug(name: str) -> str:
    """A folder name out of whatever a scenario is called."""
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", name).strip("-.")[:80] or "comparison"


def _simulate(place: Workplace, waiting: Sequence[Cell], workers: int) -> bool:
    """Simulate what is waiting, with progress; returns whether somebody stopped it before its end."""
    from secure_fl.lab.sweep import sweep

    say, there = current(), len(place.possible) - len(waiting)
    processes = f"{workers} process{'' if workers == 1 else 'es'}"
    have = f", {there} of them there already" if there else ""
    say.note(f"{count(len(place.possible), 'simulation')}{have}; {processes}; {shown_path(place.folder)}/")
    if not waiting:
        return False
    view, screen = SweepView(waiting), _screen()

    def on_event(event: dict[str, Any]) -> None:
        view.apply(event, now=time.monotonic())
        screen.show(event, view)

    try:
        with _stop_signals(view):
            sweep(waiting, place.store, workers=workers, on_event=on_event, stopping=lambda: view.stopping)
    finally:
        screen.close(view)
    return view.finished < len(waiting)


def _screen() -> Screen:
    output = current()
    if output.format == "jsonl":
        return StreamLines(output)
    if output.quiet or not sys.stderr.isatty():
        return LinesScreen(output)
    return LiveTable(output.console(sys.stderr))


@contextmanager
def _stop_signals(view: SweepView) -> Iterator[None]:
    """First SIGINT or SIGTERM: start nothing new; SIGINT after that: KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if view.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not view.stopping:
            view.stopping = True
            current().note("finishing the simulations that run; press Ctrl-C again to end them now")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(results: Results, files: Sequence[Path], *, simulated: int) -> dict[str, Any]:
    """What a program gets: the states of the cells, the worst cases, and where the rest is."""
    from secure_fl.lab.results import CellState

    return {
        "folder": files[0].parent,
        "files": list(files),
        "digest": results.comparison.digest(),
        "cells": {state.value: results.count(state) for state in CellState},
        "simulated": simulated,
        "worst": [
            {"byzantine": panel.byzantine, "alpha": panel.alpha, "defense": defense, **worst.to_mapping()}
            for panel in results.findings.panels
            for defense, worst in panel.worst.items()
        ],
        "failures": [{"cell": str(fault.cell), "what": fault.failure.what} for fault in results.faults],
    }


def _draw(console: Console, results: Results, files: Sequence[Path]) -> None:
    """A table a setting, then where the reports are."""
    from rich.markup import escape

    from secure_fl.lab.report.words import panel_name

    for panel in results.findings.panels:
        name = escape(panel_name(results.comparison, panel.byzantine, panel.alpha))
        console.print(f"[bold]{name}[/]  accuracy in %; ⚑ a backdoor passes")
        console.print(_table(results.findings, panel, console.width))
        console.print()
    for fault in results.faults:
        console.print(printable(f"failed: {fault.cell}: {fault.failure.what}"), style="yellow", markup=False)
    for path in files:
        console.print(f"{path.name:<12} {escape(shown_path(path))}", soft_wrap=True)


def _table(findings: Findings, panel: Panel, width: int) -> RenderableType:
    """Defenses by attacks; where room is short, the last attacks go first and the worst case stays."""
    from secure_fl.lab.report.tables import flag
    from secure_fl.lab.report.words import attack_name, defense_name, entry_words, worst_words

    seeds, attacks = len(findings.comparison.seeds), findings.comparison.attacks
    columns = [Column("defense", [defense_name(each) for each in findings.defenses])]
    for rank, attack in enumerate(attacks):
        cells = [entry_words(panel.entries[defense, attack], seeds) for defense in findings.defenses]
        columns.append(Column(attack_name(attack), cells, rank=rank, is_number=True))
    worst = [
        f"{'⚑ ' if flag(panel, defense) else ''}{worst_words(panel.worst.get(defense))}"
        for defense in findings.defenses
    ]
    return fitted([*columns, Column("worst case", worst, is_number=True)], width)
