"""What is known of a run while it runs, folded from its events, and the words to say it in. No I/O in here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secure_fl.runs.events import Event

__all__ = ["STATES", "RunView", "duration", "percent", "plural", "simulation_words", "sparkline"]

STATES = ("waiting", "training", "replied", "late", "rejected", "missing", "gone")


@dataclass
class RunView:
    """What has happened so far in a run of `total` rounds; `apply` takes one event after the other."""

    total: int
    round: int = 0
    loss: dict[int, float] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    epsilon: dict[int, float] = field(default_factory=dict)
    privacy: tuple[dict[str, Any], ...] = ()
    protection: str = ""
    sites: dict[str, str] = field(default_factory=dict)
    joined: int = 0
    round_began: float | None = None
    phase: str = "starting"
    stopping: bool = False
    finished: Event | None = None
    audit: Event | None = None

    def apply(self, event: Event, *, now: float) -> None:
        """Take in one event; `now` is seconds on any steady clock. Unknown kinds change nothing."""
        site = event.get("site", "")
        match event.kind:
            case "run-started":
                self.sites = dict.fromkeys(event.get("sites", ()), "waiting")
                self.joined, self.phase, self.round_began, self.finished = 0, "waiting for sites", None, None
                self.audit = None
                self.privacy = tuple(event.get("privacy") or ())
                self.protection = event.get("protection") or ""
                resumed = event.get("resumed_from_round")
                self._forget_after(resumed if resumed is not None else -1)
            case "site-joined":
                self.sites[site] = "waiting"
                self.joined += 1
            case "site-left":
                self.sites[site] = "gone"
            case "round-started":
                self.round, self.round_began, self.phase = event["round"], now, "training"
                for name in self.sites:
                    self.sites[name] = "waiting" if self.sites[name] != "gone" else "gone"
                self.sites.update(dict.fromkeys(event.get("sites", ()), "training"))
            case "reply-accepted":
                self.sites[site] = "replied"
            case "reply-rejected":
                self.sites[site] = "rejected"
            case "reply-missing":
                self.sites[site] = "missing"
            case "reply-late":
                self.sites[site] = "late"
            case "round-finished":
                self._finish_round(event)
            case "run-finished":
                self.phase, self.finished = event["status"], event
            case "audit-started":
                self.phase = "auditing"
            case "audit-finished":
                self.phase, self.audit = "audited", event

    def _finish_round(self, event: Event) -> None:
        number = event["round"]
        self.round, self.round_began = number, None
        self.loss[number], self.accuracy[number] = _number(event["loss"]), _number(event["accuracy"])
        self.seconds[number] = event.get("seconds") or 0.0
        spent = event.get("epsilon", event.get("client_epsilon"))
        if spent is not None:
            self.epsilon[number] = spent

    def _forget_after(self, last: int) -> None:
        for history in (self.loss, self.accuracy, self.seconds, self.epsilon):
            for number in [number for number in history if number > last]:
                del history[number]

    @property
    def done(self) -> int:
        """Rounds finished."""
        return max(self.loss, default=0)

    def share(self) -> float:
        """Share of the whole run that is done, counting replies within a round; in [0, 1]."""
        inside = 0.0
        if self.round_began is not None and self.sites:
            busy = [state for state in self.sites.values() if state not in ("waiting", "gone")]
            inside = sum(state != "training" for state in busy) / len(busy) if busy else 0.0
        return min(1.0, (self.done + inside) / self.total)

    def spent(self) -> str:
        """The privacy spent so far, of what the run may spend: `ε 3.21 of 8`; empty for a run without."""
        if not self.privacy:
            return ""
        now = self.epsilon[max(self.epsilon)] if self.epsilon else 0.0
        marked = " (NOT private: test randomness)" if any("not_private" in line for line in self.privacy) else ""
        return f"ε {now:.2f} of {self.privacy[0]['epsilon']:.2f}{marked}"

    def seconds_left(self, *, now: float) -> float | None:
        """Expected seconds until the last round ends, from the rounds so far; None before the first."""
        past = [self.seconds[number] for number in sorted(self.seconds) if number >= 1]
        if not past:
            return None
        typical = sum(past[-5:]) / len(past[-5:])
        inside = min(now - self.round_began, typical) if self.round_began is not None else 0.0
        return max(0.0, (self.total - self.done) * typical - inside)


def percent(share: float) -> str:
    """0.9637 as `96.4 %`."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "?"


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `52 s`, `1 min 44 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(noun: str, count: int) -> str:
    """`round` or `rounds`."""
    return noun if count == 1 else f"{noun}s"


def simulation_words(told: Any) -> str:
    """What `run-started` tells of a simulated attack, in one line; empty without one."""
    if not told:
        return ""
    names = told["attackers"]
    who = ", ".join(names) if len(names) <= 3 else f"{len(names)} sites, {names[0]} to {names[-1]}"
    return f"SIMULATED ATTACK: {told['attack']} by {who}; the model is for study only"


def sparkline(values: list[float], width: int = 24) -> str:
    """The last `width` values as bars from lowest to highest; not-finite values as a gap."""
    shown, bars = values[-width:], "▁▂▃▄▅▆▇█"
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    unit = 1.0 if math.isfinite(high - low) else 0.5  # in halves, where their span is more than a float can hold
    low, span = low * unit, (high * unit - low * unit) or 1.0
    heights = [(value * unit - low) / span if math.isfinite(value) else None for value in shown]  # from 0 to 1
    return "".join(" " if height is None else bars[round(height * (len(bars) - 1))] for height in heights)


def _number(value: float | None) -> float:
    """A recorded number; the record holds null for what is not finite."""
    return math.nan if value is None else float(value)
