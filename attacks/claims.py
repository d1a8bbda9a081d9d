"""Wire attacks on what is said about a reply: how many images, which round, how often, how late, by whom.

The update inside is honest. What is attacked is the vote: its weight, its number and its time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from attacks._validate import positive, whole
from attacks.base import AttackError
from attacks.wire import Forgery, Persona, Reply

__all__ = ["Duplicate", "Late", "SampleLie", "Stale", "Sybil"]


@dataclass(frozen=True)
class SampleLie:
    """The site claims `claim` images; try 0, −1, 1e12 and NaN. A mean weighted by 1e12 is the liar's update."""

    claim: float = 1e12

    name: ClassVar[str] = "sample_lie"
    teaches: ClassVar[str] = "weights come from the roster or are capped, never from the sender"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with another number of images."""
        return Forgery(replace(reply, samples=self.claim))


@dataclass(frozen=True)
class Late:
    """The honest reply, `delay_s` seconds late. With a delay beyond the round's timeout the site is a straggler."""

    delay_s: float = 30.0

    name: ClassVar[str] = "late"
    teaches: ClassVar[str] = "a round ends by its clock and quorum, not by its slowest site"

    def __post_init__(self) -> None:
        positive(self.name, delay_s=self.delay_s)

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply after a wait."""
        return Forgery(reply, delay_s=self.delay_s)


@dataclass(frozen=True)
class Duplicate:
    """The honest reply, `copies` times."""

    copies: int = 2

    name: ClassVar[str] = "duplicate"
    teaches: ClassVar[str] = "one identity, one vote a round"

    def __post_init__(self) -> None:
        whole(self.name, 2, copies=self.copies)

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply more than once."""
        return Forgery(reply, copies=self.copies)


@dataclass(frozen=True)
class Stale:
    """An earlier reply is sent again; in the first round the honest one, dated a round back."""

    name: ClassVar[str] = "stale"
    teaches: ClassVar[str] = "bind the round, the run and the model's digest into what is signed"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The earlier reply as it was."""
        return Forgery(replace(reply, round=reply.round - 1) if earlier is None else earlier)


@dataclass(frozen=True)
class Sybil:
    """The site votes honestly, and `joins` further nodes join to vote the same once more.

    They come under an identity that no roster knows, or, with `twins` = 1, all under the site's own.
    """

    joins: int = 1
    twins: int = 0

    name: ClassVar[str] = "sybil"
    teaches: ClassVar[str] = "who votes is decided by the roster and its keys, not by how many connections there are"

    def __post_init__(self) -> None:
        whole(self.name, 1, joins=self.joins)
        if self.twins not in (0, 1):
            raise AttackError(f"sybil(twins={self.twins})", why="it is a choice", fix="0: strangers, 1: twins")

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply, from each further node as well."""
        persona = Persona.TWIN if self.twins else Persona.STRANGER
        return Forgery(reply, persona=persona, joins=self.joins)
