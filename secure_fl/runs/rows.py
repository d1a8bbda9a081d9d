"""The rows in which a run is shown: a round, a site's part in it, who was left out, and the whole.

Tables, plots, exports and the web page are all drawn from these; `rounds.summarise` makes them from events.
A number that was not finite when it was recorded reads as None (see `events`, `non_finite`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Exclusion", "Refused", "RoundRow", "RunStatus", "RunSummary", "SiteRow", "natural"]


class RunStatus(StrEnum):
    """Where a run stands; `interrupted` also when its process died without a word."""

    CREATED = "created"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class SiteRow:
    """An accepted reply. `validation_*`: the site's model after its training, on the site's own validation
    images; `received_validation_*`: the global model that it was sent, on the same images."""

    round: int
    site: str
    weight: float | None = None
    samples: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    received_validation_loss: float | None = None
    received_validation_accuracy: float | None = None
    per_class_accuracy: tuple[float | None, ...] = ()
    compute_s: float | None = None
    elapsed_s: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A site that did not count in a round: `outcome` is rejected, missing or late."""

    round: int
    site: str
    outcome: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round. `finished` is None while it runs, or when it never ended; then it has no figures.

    Of the `accepted`, the rule let the `kept` in (None in records older than robust rules) and found numbers that are
    not finite in the `masked`; `weights`: by site, None where the rule works coordinate by coordinate.
    `secagg`: under secure aggregation, how the sums came about (see `app.secagg.gathering`).
    `rolled_back`: why the step was undone, so that the figures are those of the model before; None where it was not.
    """

    round: int
    started: str | None = None
    finished: str | None = None
    loss: float | None = None
    accuracy: float | None = None
    per_class_accuracy: tuple[float | None, ...] = ()
    samples: int | None = None
    seconds: float | None = None
    train_loss: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    update_norm: float | None = None
    epsilon: float | None = None
    client_epsilon: float | None = None
    accepted: tuple[str, ...] = ()
    kept: tuple[str, ...] | None = None
    masked: tuple[str, ...] = ()
    weights: dict[str, float] | None = None
    secagg: dict[str, Any] | None = None
    rolled_back: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    sites: tuple[SiteRow, ...] = ()
    excluded: tuple[Exclusion, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Accepted sites that the rule did not let in."""
        return () if self.kept is None else tuple(name for name in self.accepted if name not in self.kept)

    @property
    def failing(self) -> tuple[str, ...]:
        """Under secure aggregation, who dropped out of a sum, and who gave false shares for it."""
        groups = (self.secagg or {}).get("groups", ())
        lied = [f"{name} (false shares)" for group in groups for name in group.get("liars", ())]
        return (*(name for group in groups for name in group.get("dropped", ())), *lied)


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody who was not let in at all."""

    time: str
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as far as its events tell; `recorded_status` knows nothing of a process that died.

    `start` has the fields of the newest attempt's `federation-started` and `run-started`, `end` those of its
    `run-finished`.
    """

    recorded_status: RunStatus = RunStatus.CREATED
    created: str | None = None
    started: str | None = None
    finished: str | None = None
    active_s: float = 0.0
    pid: int | None = None
    attempt_started_s: float | None = None
    attempts: int = 0
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    open_round: RoundRow | None = None
    refused: tuple[Refused, ...] = ()
    # What each site measured of the final model on its own validation images (`validation_*` only).
    evaluations: tuple[SiteRow, ...] = ()

    @property
    def last(self) -> RoundRow | None:
        """The newest finished round."""
        return self.rounds[-1] if self.rounds else None


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key that puts site-2 before site-10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name))
