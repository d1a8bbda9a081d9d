"""The folder of a comparison: its manifest, its cells, and the reports made from them.

<folder>/manifest.json    the grid, its hash, the code, the data, and what has become of each cell
         cells/           one file a cell, named by the digest of its scenario
         logs/            what the worker processes said
         report.html · report.json · cells.csv · tables.tex
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from secure_fl.lab.cells import CellStore, Failure, Made, Result
from secure_fl.lab.comparison import Cell, Comparison, Setting
from secure_fl.lab.findings import Findings, conclude
from secure_fl.lab.measures import Measures, measure

__all__ = ["CellState", "Fault", "Results", "gather", "named"]

SCHEMA = 1
T = TypeVar("T")


class CellState(StrEnum):
    """What has become of a cell."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    MISSING = "missing"


@dataclass(frozen=True)
class Fault:
    """A cell without numbers, and why."""

    cell: Cell
    failure: Failure


@dataclass(frozen=True)
class Results:
    """A comparison with all that is known of it.

    measures: by cell; states: by cell; made: the code of the cells, with how many each; data: the fingerprint of the
    partition by (α, seed), several where cells of one α and seed disagree; cpu_s: of all cells together.
    """

    comparison: Comparison
    findings: Findings
    measures: Mapping[Cell, Measures]
    states: Mapping[Cell, CellState]
    faults: tuple[Fault, ...]
    made: Mapping[Made, int]
    data: Mapping[tuple[float, int], tuple[str, ...]]
    cpu_s: float

    def count(self, state: CellState) -> int:
        """How many cells are in it."""
        return sum(each is state for each in self.states.values())

    @property
    def paired(self) -> bool:
        """Whether all cells of one α and seed really had the same images in the same hands."""
        return all(len(prints) == 1 for prints in self.data.values())

    def manifest(self, environment: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
        """What `manifest.json` holds; `environment` and `command` are those of the process that writes it."""
        base = self.comparison.base
        return {
            "schema": SCHEMA,
            "name": base.name,
            "teaches": base.teaches,
            "digest": self.comparison.digest(),
            "comparison": self.comparison.manifest(),
            "command": list(command),
            "environment": dict(environment),
            "made": [{**_fields(made), "cells": count} for made, count in self.made.items()],
            "data": [{"alpha": a, "seed": s, "fingerprints": list(p)} for (a, s), p in sorted(self.data.items())],
            "cells": [{**named(cell), "digest": cell.digest, "state": state} for cell, state in self.states.items()],
        }


def gather(comparison: Comparison, store: CellStore, refused: Mapping[Setting, str]) -> Results:
    """Read the cells of `comparison`, and conclude.

    Raises:
        IntegrityError: as `CellStore.read`.
    """
    measures: dict[Cell, Measures] = {}
    states: dict[Cell, CellState] = {}
    faults, made, cpu_s = [], Counter[Made](), 0.0
    data: dict[tuple[float, int], set[str]] = {}
    for cell in comparison.cells():
        result = None if cell.setting in refused else store.read(cell.digest)
        states[cell] = CellState.REFUSED if cell.setting in refused else _state(result)
        if result is None:
            continue
        made[result.made] += 1
        if result.outcome is not None:
            measures[cell] = measure(result.outcome)
            cpu_s += result.outcome.cpu_s
            data.setdefault((cell.setting.alpha, cell.seed), set()).add(result.outcome.data)
        elif result.failure is not None:
            faults.append(Fault(cell, result.failure))
    findings = conclude(
        comparison,
        _by_setting(measures),
        _by_setting({each.cell: each.failure.what for each in faults}),
        refused,
    )
    prints = {key: tuple(sorted(each)) for key, each in data.items()}
    return Results(comparison, findings, measures, states, tuple(faults), made, prints, cpu_s)


def named(cell: Cell) -> dict[str, Any]:
    """The place of a cell in the grid, as a row of a table begins."""
    at = cell.setting
    return {"attack": at.attack, "defense": at.defense, "byzantine": at.byzantine, "alpha": at.alpha, "seed": cell.seed}


def _state(result: Result | None) -> CellState:
    if result is None:
        return CellState.MISSING
    return CellState.FAILED if result.outcome is None else CellState.DONE


def _by_setting(values: Mapping[Cell, T]) -> dict[Setting, dict[int, T]]:
    found: dict[Setting, dict[int, T]] = {}
    for cell, value in values.items():
        found.setdefault(cell.setting, {})[cell.seed] = value
    return found


def _fields(made: Made) -> dict[str, Any]:
    return {name: getattr(made, name) for name in Made.__dataclass_fields__}
