"""What a run has spent of its privacy, against what it may spend.

ε is never computed here: accounting needs Opacus, which has no place in this process. The coordinator derived it after
each round and wrote it down, beside what it promised before the first.

**The projection.** As Rényi accounting bounds it, ε(T) of T equal mechanisms is concave in T: a further round costs no
more than the one before. So going on at the price of the last round reaches the limit no later than the truth does, and
what is shown is the *soonest* round in which it could be passed, never the expected one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secure_fl.runs.rows import natural
from webui.reading.curves import Chart, Curve
from webui.reading.records import Run

__all__ = ["Promise", "SitePrice", "promises_of", "site_prices"]

_SPENT = {"image": "epsilon", "site": "client_epsilon"}  # the field of a round, by the unit of the promise


@dataclass(frozen=True)
class Promise:
    """One promise of (ε, δ) and how it stands. unit: "image" or "site".

    limit: ε that all rounds cost together, as planned; spent: None before round 0; not_private: why the numbers protect
    nobody (test randomness), or "".
    """

    unit: str
    limit: float
    delta: float
    accountant: str
    adjacency: str
    sampling: str
    noise_multiplier: float
    clip: float
    against: str
    not_private: str
    rounds: tuple[int, ...]
    by_round: tuple[float, ...]
    total_rounds: int

    @property
    def spent(self) -> float:
        return self.by_round[-1] if self.by_round else 0.0

    @property
    def share(self) -> float:
        """Of the limit, 0 … 1."""
        return min(1.0, self.spent / self.limit) if self.limit else 0.0

    @property
    def last_price(self) -> float | None:
        """What the last round cost; None before there is one."""
        return self.by_round[-1] - self.by_round[-2] if len(self.by_round) > 1 else None

    @property
    def soonest(self) -> int | None:
        """The round in which the limit would be passed at the last round's price; None if there is no price."""
        price = self.last_price
        if not price or price <= 0:
            return None
        return self.rounds[-1] + math.floor((self.limit - self.spent) / price + 1e-9) + 1

    @property
    def tight(self) -> bool:
        """Whether the limit may be passed before the planned rounds are over."""
        return self.soonest is not None and self.soonest <= self.total_rounds and self.rounds[-1] < self.total_rounds

    @property
    def says(self) -> str:
        """How it stands, in a sentence."""
        done = f"ε {self.spent:.2f} of {self.limit:.2f} is spent"
        if not self.rounds or self.last_price is None:
            return f"{done}; no round has been paid for yet."
        if self.rounds[-1] >= self.total_rounds:
            return f"{done}, and all {self.total_rounds} planned rounds are paid for."
        return (
            f"{done} after round {self.rounds[-1]} of {self.total_rounds}; the last round cost {self.last_price:.2f}."
        )

    @property
    def chart(self) -> Chart:
        """ε by round, the limit, and from here on the price of the last round."""
        rounds = tuple(range(self.rounds[0] if self.rounds else 0, self.total_rounds + 1))
        known = dict(zip(self.rounds, self.by_round, strict=True))
        curves = [
            Curve("ε spent", tuple(known.get(each) for each in rounds)),
            Curve("limit", (self.limit,) * len(rounds), dashed=True),
        ]
        price = self.last_price
        if price is not None and self.rounds[-1] < self.total_rounds:
            last = self.rounds[-1]
            ahead = tuple(self.spent + price * (each - last) if each >= last else None for each in rounds)
            curves.append(Curve("at the last round's price", ahead, dashed=True))
        return Chart(f"epsilon-{self.unit}", "Spent by round", rounds, tuple(curves), "number", self.says)


@dataclass(frozen=True)
class SitePrice:
    """A site's own account in a run: its newest ε, in which round, and how many steps it took there."""

    site: str
    epsilon: float
    round: int
    steps: int


def promises_of(run: Run) -> tuple[Promise, ...]:
    """The promises of the newest attempt; none in a run without differential privacy."""
    return tuple(_promise(run, each) for each in run.summary.start.get("privacy") or ())


def site_prices(run: Run) -> tuple[SitePrice, ...]:
    """What each site said that it has spent, from its newest accepted reply."""
    found: dict[str, SitePrice] = {}
    steps: dict[str, int] = {}
    for event in run.events:
        if event.kind == "reply-accepted" and event.get("dp_epsilon") is not None:
            site = event["site"]
            steps[site] = steps.get(site, 0) + int(event.get("steps") or 0)
            found[site] = SitePrice(site, float(event["dp_epsilon"]), event["round"], steps[site])
    return tuple(found[site] for site in sorted(found, key=natural))


def _promise(run: Run, told: Mapping[str, Any]) -> Promise:
    field = _SPENT.get(told["unit"], "epsilon")
    paid = [(row.round, value) for row in run.summary.rounds if (value := getattr(row, field)) is not None]
    config = run.config
    return Promise(
        unit=told["unit"],
        limit=float(told["epsilon"]),
        delta=float(told["delta"]),
        accountant=told.get("accountant", ""),
        adjacency=told.get("adjacency", ""),
        sampling=told.get("sampling", ""),
        noise_multiplier=float(told.get("noise_multiplier") or 0.0),
        clip=config.dp_client_clip if told["unit"] == "site" else config.dp_clip,
        against=told.get("protects_against", ""),
        not_private=told.get("not_private", ""),
        rounds=tuple(number for number, _ in paid),
        by_round=tuple(value for _, value in paid),
        total_rounds=config.rounds,
    )
