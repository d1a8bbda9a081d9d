"""What the events of a run add up to. Pure functions: events in, rows out.

A run may be attempted several times: each `run-started` says from which finished round it goes on, and
whatever an earlier attempt recorded after that round no longer counts (it is repeated, so it replaces
the earlier). Kinds that this module does not know are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secure_fl.runs.events import Event
from secure_fl.runs.rows import Exclusion, Refused, RoundRow, RunStatus, RunSummary, SiteRow, natural

__all__ = ["summarise"]


def summarise(events: Iterable[Event]) -> RunSummary:
    """Fold the events, oldest first."""
    fold = _Fold()
    for event in events:
        fold.take(event)
    return fold.summary()


class _Fold:
    """The state of the fold. Rounds are kept as field values until the end, then frozen."""

    def __init__(self) -> None:
        self.status = RunStatus.CREATED
        self.created: str | None = None
        self.started: str | None = None
        self.finished: str | None = None
        self.earlier_s = 0.0
        self.attempt: Event | None = None
        self.attempts = 0
        self.newest: Event | None = None
        self.federation: dict[str, Any] = {}
        self.start: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.joined: dict[str, None] = {}
        self.rounds: dict[int, dict[str, Any]] = {}
        self.refused: list[Refused] = []
        self.evaluations: list[SiteRow] = []

    def take(self, event: Event) -> None:
        match event.kind:
            case "run-created":
                self.created = event.time
            case "federation-started":  # comes before `run-started`, where there is a network
                self.federation = dict(event.fields)
            case "run-started":
                self._begin_attempt(event)
            case "run-finished":
                self.status, self.finished, self.end = RunStatus(event["status"]), event.time, dict(event.fields)
            case "site-joined":
                self.joined[event["site"]] = None
            case "site-left":
                self.joined.pop(event["site"], None)
            case "site-refused":
                self.refused.append(Refused(event.time, str(event["who"]), str(event["reason"])))
            case "round-started":
                self.rounds[event["round"]] = {"started": event.time}
            case "reply-accepted":
                self._round(event).setdefault("sites", []).append(SiteRow(**_known_values(SiteRow, event)))
            case "site-evaluated":
                self.evaluations.append(SiteRow(**_known_values(SiteRow, event)))
            case "reply-rejected" | "reply-missing" | "reply-late":
                outcome = event.kind.removeprefix("reply-")
                excluded = Exclusion(**_known_values(Exclusion, event), outcome=outcome)
                self._round(event).setdefault("excluded", []).append(excluded)
            case "group-rejected" | "group-missing":
                detail = ": ".join(filter(None, (", ".join(event["sites"]), str(event.get("detail", "")))))
                group, outcome = f"group {event['group']}", event.kind.removeprefix("group-")
                excluded = Exclusion(event["round"], group, outcome, str(event["reason"]), detail)
                self._round(event).setdefault("excluded", []).append(excluded)
            case "round-rolled-back":
                self._round(event)["rolled_back"] = str(event["reason"])
            case "round-finished":
                self._round(event).update(_known_values(RoundRow, event), finished=event.time)
        if self.status is RunStatus.RUNNING or event.kind == "run-finished":
            self.newest = event

    def summary(self) -> RunSummary:
        rows = [_round_row(number, values) for number, values in sorted(self.rounds.items())]
        unfinished = [row for row in rows if row.finished is None]
        return RunSummary(
            recorded_status=self.status,
            created=self.created,
            started=self.started,
            finished=self.finished,
            active_s=self.earlier_s + self._attempt_s(),
            pid=self.start.get("pid"),
            attempt_started_s=self.attempt.epoch_s if self.attempt else None,
            attempts=self.attempts,
            start=self.start,
            end=self.end,
            joined=tuple(self.joined),
            rounds=tuple(row for row in rows if row.finished is not None),
            open_round=unfinished[-1] if unfinished else None,
            refused=tuple(self.refused),
            evaluations=_by_site(self.evaluations),
        )

    def _begin_attempt(self, event: Event) -> None:
        self.earlier_s += self._attempt_s()
        self.attempt, self.attempts = event, self.attempts + 1
        self.status, self.finished, self.end = RunStatus.RUNNING, None, {}
        self.started = self.started or event.time
        self.start, self.federation = {**self.federation, **event.fields}, {}
        self.joined, self.evaluations = {}, []
        resumed = event["resumed_from_round"]
        kept = -1 if resumed is None else resumed
        self.rounds = {n: each for n, each in self.rounds.items() if n <= kept and "finished" in each}

    def _attempt_s(self) -> float:
        """Seconds from the newest attempt's start to its end, or to its newest event where it has none."""
        if self.attempt is None or self.newest is None:
            return 0.0
        return max(0.0, self.newest.epoch_s - self.attempt.epoch_s)

    def _round(self, event: Event) -> dict[str, Any]:
        return self.rounds.setdefault(event["round"], {})


def _round_row(number: int, values: dict[str, Any]) -> RoundRow:
    parts = {"sites": _by_site(values.get("sites", ())), "excluded": tuple(values.get("excluded", ()))}
    return RoundRow(**{**values, **parts, "round": number})


def _by_site(rows: Iterable[SiteRow]) -> tuple[SiteRow, ...]:
    return tuple(sorted(rows, key=lambda row: natural(row.site)))


def _known_values(row: type[Any], event: Event) -> dict[str, Any]:
    """The event's fields that `row` has; lists become tuples."""
    names = row.__dataclass_fields__.keys() & event.fields.keys()
    return {name: tuple(value) if isinstance(value := event[name], list) else value for name in names}
