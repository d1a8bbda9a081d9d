"""The parts of a report that are told by the run: which one, in what scope, with which model, data and settings.

Those that follow from the capture are in `examination`, those that were measured in `measurements`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "Attachment",
    "DataPart",
    "Environment",
    "Measure",
    "Model",
    "Refusal",
    "Robustness",
    "Run",
    "Scope",
    "SearchRow",
    "Searches",
    "Setting",
]


@dataclass(frozen=True)
class Run:
    """Which run was audited. Times are UTC, as "2026-11-24T19:53:25Z"."""

    id: str
    title: str
    started: str
    duration_s: float
    topology: str  # "5 sites and a coordinator on one machine, deployment grid"
    sites: tuple[str, ...]
    rounds: int

    def __post_init__(self) -> None:
        if datetime.fromisoformat(self.started).tzinfo is None:
            raise ValueError(f"the time {self.started!r} does not say that it is UTC")


@dataclass(frozen=True)
class Scope:
    """Sentences. What is not proven may not be empty: no audit proves everything."""

    audited: tuple[str, ...]
    threat_model: tuple[str, ...]
    not_proven: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.not_proven:
            raise ValueError("an audit must say what it does not prove")


@dataclass(frozen=True)
class SearchRow:
    """One thing that was sent, and what either search found of it on the same capture."""

    sent: str
    paper_hits: int
    paper_said: str
    ours_hits: int
    ours_said: str


@dataclass(frozen=True)
class Searches:
    """The originating paper's procedure beside ours."""

    procedure: str  # what the paper did, in a sentence
    capture_sha256: str
    rows: tuple[SearchRow, ...]


@dataclass(frozen=True)
class Refusal:
    """Updates of one site that the guard turned away for one reason."""

    site: str
    rounds: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Robustness:
    """How updates were checked and combined."""

    aggregator: str
    tolerates: str  # "1 of 5 hostile sites, if …", or "none: the mean follows any one site"
    checks: tuple[str, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Measure:
    """A number of the model card, as text with its unit."""

    name: str
    value: str


@dataclass(frozen=True)
class DataPart:
    """One site's images as far as they may be told: how many, and digests."""

    site: str
    images: int
    fingerprint: str
    merkle_root: str


@dataclass(frozen=True)
class Model:
    """The model card's facts, and what it was trained on."""

    name: str
    architecture: str
    parameters: int
    spec_sha256: str  # of the names and shapes of its tensors
    sha256_before: str
    sha256_after: str
    intended_use: str
    limitations: tuple[str, ...]
    measures: tuple[Measure, ...]
    dataset: str
    classes: int
    data: tuple[DataPart, ...]


@dataclass(frozen=True)
class Setting:
    """One setting of the run and where it came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Environment:
    """What the run and the audit ran on. `lock_sha256`: of the pins that were installed."""

    versions: Mapping[str, str]
    commit: str
    dirty: bool  # with changes that are in no commit
    lock_sha256: str
    platform: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Attachment:
    """A file of the bundle that is not derived from the document."""

    name: str
    bytes: int
    sha256: str
    note: str
