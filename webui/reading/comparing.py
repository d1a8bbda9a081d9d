"""Runs side by side: the settings in which they differ, and their numbers against those of the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from secure_fl.config import Scalar
from secure_fl.runs import RoundRow
from webui.reading.curves import Chart, Curve
from webui.reading.records import Run

__all__ = ["MOST", "Difference", "Measured", "charts_of", "differences_of", "measured_of"]

MOST = 6  # runs: as many as there are colours and dashes that stay apart


@dataclass(frozen=True)
class Difference:
    """A setting whose value is not the same everywhere; `values` in the order of the runs."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Measured:
    """One measure of every run, and what it is above the first run's (None where either is missing).

    unit: "share" (differences are percentage points), "number", "seconds" or "bytes". better: 1 if more is better,
    −1 if less is, 0 if neither can be said.
    """

    name: str
    unit: str
    better: int
    values: tuple[float | None, ...]

    @property
    def above_first(self) -> tuple[float | None, ...]:
        first = self.values[0]
        return tuple(None if first is None or value is None else value - first for value in self.values)


def differences_of(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """In the order of declaration. The sites' addresses and such differ too where they were set so."""
    settings = [run.config.to_mapping() for run in runs]
    return tuple(
        Difference(key, tuple(each[key] for each in settings))
        for key in settings[0]
        if len({each[key] for each in settings}) > 1
    )


def measured_of(runs: Sequence[Run]) -> tuple[Measured, ...]:
    """What the last finished round and the whole run came to; a measure that no run has is left out."""

    def last(of: Callable[[RoundRow], float | None]) -> tuple[float | None, ...]:
        return tuple(of(run.summary.last) if run.summary.last else None for run in runs)

    found = (
        Measured("final accuracy", "share", 1, last(lambda row: row.accuracy)),
        Measured("final loss", "number", -1, last(lambda row: row.loss)),
        Measured("worst class", "share", 1, last(_worst_class)),
        Measured("ε for each image", "number", -1, last(lambda row: row.epsilon)),
        Measured("ε for each site", "number", -1, last(lambda row: row.client_epsilon)),
        Measured("rounds", "number", 0, last(lambda row: float(row.round))),
        Measured("time", "seconds", 0, tuple(run.summary.active_s or None for run in runs)),
        Measured("sent by sites", "bytes", 0, tuple(_bytes_up(run) for run in runs)),
    )
    return tuple(each for each in found if any(value is not None for value in each.values))


def charts_of(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Chart, ...]:
    """Accuracy and loss of all runs over each other."""
    rounds = tuple(sorted({row.round for run in runs for row in run.summary.rounds}))

    def curves(of: Callable[[RoundRow], float | None]) -> tuple[Curve, ...]:
        by_round = [{row.round: of(row) for row in run.summary.rounds} for run in runs]
        return tuple(
            Curve(label, tuple(values.get(each) for each in rounds))
            for label, values in zip(labels, by_round, strict=True)
        )

    ends = [
        f"{label} {100 * run.summary.last.accuracy:.1f} %"
        for label, run in zip(labels, runs, strict=True)
        if run.summary.last and run.summary.last.accuracy is not None
    ]
    says = f"Accuracy at the end: {', '.join(ends)}." if ends else "No round has finished yet."
    return (
        Chart("accuracy", "Accuracy", rounds, curves(lambda row: row.accuracy), "share", says),
        Chart("loss", "Test loss", rounds, curves(lambda row: row.loss), "number", "Loss on the test images by round."),
    )


def _worst_class(row: RoundRow) -> float | None:
    tested = [each for each in row.per_class_accuracy if each is not None]
    return min(tested, default=None)


def _bytes_up(run: Run) -> float | None:
    sent = [row.bytes_up for row in run.summary.rounds if row.bytes_up]
    return float(sum(sent)) if sent else None
