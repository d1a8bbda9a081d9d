"""Where a comparison is kept: what is there, what is still to do, and the reports of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from secure_fl.lab.cells import CellStore
from secure_fl.lab.comparison import Cell, Comparison, Setting
from secure_fl.lab.report.writing import write_reports
from secure_fl.lab.results import Results, gather
from secure_fl.lab.sweep import to_do
from secure_fl.runs.environment import environment

__all__ = ["Workplace"]


@dataclass(frozen=True)
class Workplace:
    """A comparison and its folder. refused: the settings that cannot be (`secure_fl.lab.refusals`)."""

    folder: Path
    comparison: Comparison
    refused: Mapping[Setting, str]

    @cached_property
    def store(self) -> CellStore:
        """The cells."""
        return CellStore(self.folder / "cells")

    @cached_property
    def possible(self) -> list[Cell]:
        """The cells that can be simulated, in their order."""
        return [cell for cell in self.comparison.cells() if cell.setting not in self.refused]

    def waiting(self) -> list[Cell]:
        """Those without an outcome; raises IntegrityError as `CellStore.read`."""
        return to_do(self.possible, self.store)

    def report(self, command: Sequence[str]) -> tuple[Results, list[Path]]:
        """Gather what is there and write all reports of it, over earlier ones. command: what to repeat it with.

        Raises:
            IntegrityError: a cell was altered.
            SecureFLError: the folder cannot be written.
        """
        results = gather(self.comparison, self.store, self.refused)
        return results, write_reports(self.folder, results, results.manifest(environment(), command))
