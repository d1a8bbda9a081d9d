"""Attacks in wire space: replies that are wrong before anybody asks what they mean.

A site holds a valid identity and the channel is sound; what it says is not. One such reply must cost its sender the
round and nobody else anything: no NaN in the model, no round that never ends, no vote bought with a claimed sample
count. An attack here is data: what is sent in place of the honest reply, whether it is signed again after the change,
how often, how late, and under which name. The site's program carries it out, the coordinator must name the offender.

These are not from papers but from what coordinators in use were seen to do with such replies. Here are the words;
the attacks are in `attacks.payloads` (what is inside), `attacks.claims` (what is said about it, when and by whom) and
`attacks.leaks` (what should never have been sent).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from attacks._validate import whole
from attacks.base import AttackError

__all__ = ["Arrays", "Forgery", "Persona", "Reply", "WireAttack"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Reply:
    """What a site is about to send.

    arrays: by name; an honest reply has one, the update (d,) float32. samples: its claimed number of images; sent as
    an integer when it is one. round: which it answers. spec: digest of the architecture's names and shapes. notes and
    metrics: what it says beyond that, by name; an honest reply has none here. pictures: training pictures of the site,
    uint8 (s, s, c), which do not travel: a leak takes one.
    """

    arrays: Arrays
    samples: float
    round: int
    spec: str
    notes: Mapping[str, str | bytes] = field(default_factory=dict)
    metrics: Mapping[str, list[float]] = field(default_factory=dict)
    pictures: tuple[NDArray[np.uint8], ...] = ()


class Persona(StrEnum):
    """Under which name a forgery is sent."""

    ITSELF = "itself"
    TWIN = "twin"  # a further node joins with the same identity and key
    STRANGER = "stranger"  # a further node joins with an identity that is in no roster


@dataclass(frozen=True)
class Forgery:
    """What goes out instead.

    reply: its content. sign: whether the site signs the content again, as an insider with a valid key does; if not,
    the honest reply's signature stays on it. copies: how many times it is sent. delay_s: seconds that it waits.
    persona: who sends it; for another persona than itself the site also sends its own honest reply, and `joins`
    further nodes introduce themselves.
    """

    reply: Reply
    sign: bool = True
    copies: int = 1
    delay_s: float = 0.0
    persona: Persona = Persona.ITSELF
    joins: int = 0

    def __post_init__(self) -> None:
        whole("forgery", 1, copies=self.copies)
        whole("forgery", 0, joins=self.joins)
        if not 0 <= self.delay_s < math.inf:
            raise AttackError(f"forgery(delay_s={self.delay_s:g})", why="it must be finite", fix="0 s or more")
        if (self.persona is Persona.ITSELF) != (self.joins == 0):
            raise AttackError(
                f"forgery as {self.persona} with {self.joins} joins", why="only others join", fix="joins > 0 for others"
            )


class WireAttack(Protocol):
    """One way to speak wrongly. `teaches`: what the coordinator must do about it."""

    name: ClassVar[str]
    teaches: ClassVar[str]

    def forge(self, reply: Reply, /, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """What the site sends in place of `reply`; `earlier` is a reply to a former round, if there was one."""
