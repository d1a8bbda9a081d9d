"""How a replay is shown: a line while it runs, a table when it is done.

median  round 7/15  accuracy 93.1 %  attackers let in 0/2
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from secure_fl.cli.columns import Column, fitted
from secure_fl.cli.output import Output, printable

if TYPE_CHECKING:
    from rich.console import Console

    from secure_fl.lab.outcome import Outcome, RoundOutcome
    from secure_fl.lab.replay import OpenLoop
    from secure_fl.lab.scenario import Scenario
    from secure_fl.runs.rows import RoundRow

__all__ = ["RoundLine", "Row", "draw", "row_of_open_loop", "row_of_outcome", "row_of_run"]


@dataclass(frozen=True, slots=True)
class Row:
    """One defense on a scenario. kept_attackers, weight_of_attackers: shares, averaged over the rounds.

    deviation: mean distance of the step from the honest mean, in lengths of the latter (open loop only).
    """

    defense: str
    accuracy: float | None
    attack_success: float | None
    kept_attackers: float | None
    weight_of_attackers: float | None
    deviation: float | None = None
    seconds: float | None = None
    metrics_sha256: str = ""
    run: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """The row for a program."""
        return asdict(self)


class RoundLine:
    """Progress on stderr: one line that is written over on a terminal, one line a defense elsewhere."""

    def __init__(self, output: Output, rounds: int) -> None:
        self._output, self._rounds, self._width = output, rounds, 0
        self._live = sys.stderr.isatty() and not output.quiet

    def of(self, defense: str) -> Callable[[RoundOutcome], None]:
        """What to call after each round under `defense`."""
        return lambda outcome: self._show(defense, outcome)

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def _show(self, defense: str, outcome: RoundOutcome) -> None:
        done = outcome.round == self._rounds
        tested = "" if outcome.accuracy is None else f"  accuracy {outcome.accuracy:.1%}"
        line = printable(f"{defense}  round {outcome.round}/{self._rounds}{tested}")
        if self._live and not done:
            print(f"\r{line.ljust(self._width)}", end="", file=sys.stderr, flush=True)
            self._width = max(self._width, len(line))
        elif done:
            self.close()
            self._output.note(line)


def row_of_outcome(defense: str, outcome: Outcome) -> Row:
    """The row of a closed-loop replay."""
    rounds = [(each.kept, each.weights) for each in outcome.rounds]
    kept, weight = _let_in(rounds, outcome.attackers)
    return Row(
        defense=defense,
        accuracy=outcome.final.accuracy,
        attack_success=outcome.final.attack_success,
        kept_attackers=kept,
        weight_of_attackers=weight,
        seconds=outcome.seconds,
        metrics_sha256=outcome.metrics_sha256,
    )


def row_of_open_loop(found: OpenLoop) -> Row:
    """The row of an open-loop replay."""
    kept, weight = _let_in([(each.kept, each.weights) for each in found.rounds], found.attackers)
    return Row(
        defense=found.defense,
        accuracy=found.accuracy,
        attack_success=found.attack_success,
        kept_attackers=kept,
        weight_of_attackers=weight,
        deviation=sum(each.deviation for each in found.rounds) / len(found.rounds),
    )


def row_of_run(scenario: Scenario, run: str, rounds: Sequence[RoundRow]) -> Row:
    """The row of a run on the deployment grid, where the last sites attack; round 0 is the initial model."""
    finished = [each for each in rounds if each.round > 0 and each.finished is not None]
    attackers = tuple(f"site-{k}" for k in range(scenario.clients - scenario.attackers, scenario.clients))
    hostile = len(attackers) * len(finished) if scenario.attack else 0
    kept = sum(name in (each.kept or ()) for each in finished for name in attackers)
    seconds = [each.seconds for each in finished if each.seconds is not None]
    return Row(
        defense=scenario.defense,
        accuracy=finished[-1].accuracy if finished else None,
        attack_success=None,
        kept_attackers=kept / hostile if hostile else None,
        weight_of_attackers=None,
        seconds=sum(seconds),
        run=run,
    )


def draw(console: Console, scenario: Scenario, rows: list[Row]) -> None:
    """The table, with what the scenario teaches under it."""
    seconds = ["" if row.seconds is None else f"{row.seconds:.1f}" for row in rows]
    deviation = ["" if row.deviation is None else f"{row.deviation:.2f}" for row in rows]
    columns = [
        Column("defense", [printable(row.defense) for row in rows]),
        Column("accuracy", [_percent(row.accuracy) for row in rows], is_number=True),
        Column("attack success", [_percent(row.attack_success) for row in rows], is_number=True),
        Column("attackers let in", [_percent(row.kept_attackers) for row in rows], rank=1, is_number=True),
        Column("their weight", [_percent(row.weight_of_attackers) for row in rows], rank=2, is_number=True),
        Column("off the honest mean", deviation, rank=3, is_number=True),
        Column("seconds", seconds, rank=4, is_number=True),
        Column("run", [printable(row.run) for row in rows], rank=5),
    ]
    console.print(fitted(columns, console.width))
    if scenario.teaches:
        console.print(f"\n{printable(scenario.teaches)}", markup=False)


def _let_in(
    rounds: list[tuple[tuple[bool, ...], tuple[float, ...] | None]], attackers: tuple[int, ...]
) -> tuple[float | None, float | None]:
    """Share of attackers that were kept, and their share of the weight, over the rounds; None without attackers."""
    if not attackers:
        return None, None
    kept = sum(each[client] for each, _ in rounds for client in attackers) / (len(rounds) * len(attackers))
    shares = [
        sum(abs(weights[client]) for client in attackers) / total
        for _, weights in rounds
        if weights is not None and (total := sum(abs(each) for each in weights)) > 0
    ]
    return kept, sum(shares) / len(shares) if shares else None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
