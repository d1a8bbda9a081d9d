"""`secure-fl replay`: a poisoned federation once more, under any defense, from a scenario with a hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from secure_fl.cli.output import current, examples, home, shown_path
from secure_fl.errors import ConfigError

if TYPE_CHECKING:
    from secure_fl.cli.replay_view import RoundLine, Row
    from secure_fl.lab.scenario import Scenario

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    epilog=examples(
        "secure-fl replay --list",
        "secure-fl replay one-nan --defense mean --defense unguarded_mean",
        "secure-fl replay sign-flip-against-the-mean --defense median --defense krum --open-loop",
    )
)
def replay(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="a bundled scenario, or a TOML file")] = "",
    defenses: Annotated[
        list[str] | None,
        typer.Option(
            "--defense", metavar="NAME", help="repeat the scenario under this defense; repeatable (default: its own)"
        ),
    ] = None,
    grid: Annotated[
        str,
        typer.Option(
            "--grid",
            click_type=click.Choice(("local", "deployment")),
            help="local: simulated in this process; deployment: real processes over TLS",
        ),
    ] = "local",
    open_loop: Annotated[
        bool,
        typer.Option("--open-loop", help="train once and record all updates, then ask each defense about the record"),
    ] = False,
    assignments: Annotated[
        list[str] | None,
        typer.Option("-c", metavar="KEY=VALUE", help="change a setting of the scenario, repeatable"),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="show the bundled scenarios and what each teaches")] = False,
) -> None:
    """Play a scenario of attack and defense again, and compare defenses on it.

    Data, first weights, batches and attackers are the same under each defense, so differences are the defense's.
    Closed loop (the default) trains once for each defense. Open loop trains once and costs seconds for each further
    defense, but every round then starts from the recorded model: errors of another rule do not add up.
    """
    if listed:
        _list()
        return
    if not scenario:
        raise click.UsageError("give a scenario, or --list")
    chosen = _scenario(scenario, assignments or [])
    rules = tuple(dict.fromkeys(chosen.changed(defense=each).defense for each in defenses or [chosen.defense]))
    current().note(_headline(chosen))
    if open_loop:
        if grid != "local":
            raise ConfigError("`--open-loop` is only for the local grid", why="it asks a simulation's record")
        rows = _open(chosen, rules)
    else:
        rows = _closed(chosen, rules) if grid == "local" else _deployed(chosen, rules)
    _result(chosen, rows, {"grid": grid, "loop": "open" if open_loop else "closed"})


def _scenario(name: str, assignments: list[str]) -> Scenario:
    from secure_fl.config_sources import parse_assignments
    from secure_fl.lab.library import find_scenario

    changes = {key.replace("-", "_"): value for key, value in parse_assignments(assignments).items()}
    return find_scenario(name).changed(**changes)


def _list() -> None:
    from secure_fl.lab.library import bundled, bundled_names

    rows = [{"name": name, "teaches": bundled(name).teaches} for name in bundled_names()]

    def draw(console: Any) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("scenario", no_wrap=True)
        table.add_column("what it teaches")
        for row in rows:
            table.add_row(row["name"], Text(row["teaches"]))
        console.print(table)

    current().result({"scenarios": rows}, draw)


def _headline(scenario: Scenario) -> str:
    attack = f"{scenario.attackers} × {scenario.attack}" if scenario.attack else "no attack"
    parts = (scenario.name, scenario.dataset, scenario.model, f"{scenario.clients} clients", attack)
    return " · ".join((*parts, f"{scenario.rounds} rounds", f"sha256:{scenario.digest()[:12]}"))


def _closed(scenario: Scenario, rules: tuple[str, ...]) -> list[Row]:
    from secure_fl.cli.replay_view import row_of_outcome
    from secure_fl.lab.replay import replay_closed

    with _progress(scenario.rounds) as line:
        outcomes = replay_closed(scenario, rules, on_round=line.of)
    return [row_of_outcome(rule, outcome) for rule, outcome in zip(rules, outcomes, strict=True)]


def _open(scenario: Scenario, rules: tuple[str, ...]) -> list[Row]:
    from secure_fl.cli.replay_view import row_of_open_loop
    from secure_fl.lab.replay import record_of, replay_open

    folder = home() / "lab" / "records" / scenario.digest()[:16]
    with _progress(scenario.rounds) as line:
        record = record_of(scenario, folder, on_round=line.of(f"{scenario.defense}, recording"))
    current().note(f"{len(record.hashes)} rounds of updates are recorded in {shown_path(folder)}/")
    return [row_of_open_loop(each) for each in replay_open(record, rules)]


def _deployed(scenario: Scenario, rules: tuple[str, ...]) -> list[Row]:
    from secure_fl.cli.replay_deployed import deploy

    return [deploy(scenario.changed(defense=rule)) for rule in rules]


@contextmanager
def _progress(rounds: int) -> Iterator[RoundLine]:
    from secure_fl.cli.replay_view import RoundLine

    line = RoundLine(current(), rounds)
    try:
        yield line
    finally:
        line.close()


def _result(scenario: Scenario, rows: list[Row], how: Mapping[str, str]) -> None:
    from secure_fl.cli.replay_view import draw

    data = {
        "scenario": scenario.name,
        "digest": scenario.digest(),
        "manifest": scenario.manifest(),
        **how,
        "results": [row.to_mapping() for row in rows],
    }
    current().result(data, lambda console: draw(console, scenario, rows))
