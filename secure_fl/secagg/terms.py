"""What a secure sum is about: the slot it fills, the terms that all its sites share, and what a site accepts.

The coordinator proposes terms and nobody trusts it to. Every site judges them by a `Policy` of its own, and every
secret, seal and signature of the slot is bound to `Terms.context()`, a digest of all of them and of the model that was
handed out: sites that were given different terms, or different models to train (Pasquini et al., "Eluding secure
aggregation in federated learning via model inconsistency", CCS 2022), cannot read each other's shares and stop.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from secure_fl.secagg import encoding
from secure_fl.secagg.errors import (
    ClipRefused,
    DuplicateIndex,
    GraphRefused,
    InvalidTerms,
    NotAMember,
    NotOnRoster,
    RingRefused,
    ThresholdTooLow,
    TooFewMembers,
)
from secure_fl.secagg.graph import shape_of, threshold_of

__all__ = ["Policy", "Slot", "Terms"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COUNT = 8  # bytes of a number


@dataclass(frozen=True)
class Slot:
    """One attempt at one sum: run, round from 0 or 1 on as the caller counts, attempt, and group (0 if all are in one).

    Raises InvalidTerms for a negative or overlong number.
    """

    run: str
    round: int
    attempt: int
    group: int

    def __post_init__(self) -> None:
        if not all(_is_count(number) for number in (self.round, self.attempt, self.group)):
            raise InvalidTerms("round, attempt and group of a slot are whole numbers from 0 on")

    def to_bytes(self) -> bytes:
        """The same slot, the same bytes."""
        return encoding.pack(self.run.encode(), *map(_count, (self.round, self.attempt, self.group)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Slot:
        """Raises Malformed or InvalidTerms."""
        run, *numbers = encoding.unpack(data, 4)
        return cls(_text(run), *map(_number, numbers))


@dataclass(frozen=True)
class Terms:
    """All that the sites of one sum have to agree on.

    members: roster indexes, ascending; those of them that advertise take part. threshold: shares that open a secret.
    neighbours: with how many others a site shares masks and secrets, members − 1 in the complete graph, else even.
    words: length of a masked vector, in words of ring_bits. clip: L2 bound of an update. max_weight: largest weight.
    model_sha256: digest of the model that is handed out. settings_sha256: digest of whatever else is agreed on.

    Raises InvalidTerms, or DuplicateIndex for a member listed twice.
    """

    slot: Slot
    members: tuple[int, ...]
    threshold: int
    neighbours: int
    words: int
    ring_bits: int
    clip: float
    max_weight: int
    model_sha256: str
    settings_sha256: str

    def __post_init__(self) -> None:
        n = len(self.members)
        if len(set(self.members)) < n:
            raise DuplicateIndex("a member is listed twice")
        numbers = (*self.members, self.threshold, self.neighbours, self.words, self.ring_bits, self.max_weight)
        sparse = self.neighbours < n - 1
        sound = {
            "numbers": all(map(_is_count, numbers)),
            "members": n >= 2 and list(self.members) == sorted(self.members),
            "neighbours": 1 <= self.neighbours < n and not (sparse and self.neighbours % 2),
            "threshold": 1 <= self.threshold <= self.neighbours + 1,
            "ring_bits": self.ring_bits in (16, 32),
            "clip": math.isfinite(self.clip) and self.clip > 0,
            "max_weight": self.max_weight >= 1,
            "model_sha256": _SHA256.fullmatch(self.model_sha256) is not None,
            "settings_sha256": _SHA256.fullmatch(self.settings_sha256) is not None,
        }
        if not all(sound.values()):
            wrong = ", ".join(name for name, holds in sound.items() if not holds)
            raise InvalidTerms(f"terms contradict themselves: {wrong}")

    @property
    def quorum(self) -> int:
        """How many sites have to reach each trip and to sign the survivors.

        More than two thirds of the members even where the graph is sparse and the threshold, a number of neighbours,
        is smaller: signatures cost little and count over all.
        """
        return max(self.threshold, threshold_of(len(self.members)))

    def context(self) -> bytes:
        """Digest of everything here (32 bytes); through the transcript it is in each key, seal and signature."""
        return encoding.digest("context", self.to_bytes())

    def to_bytes(self) -> bytes:
        """The same terms, the same bytes."""
        counts = map(_count, (self.threshold, self.neighbours, self.words, self.ring_bits, self.max_weight))
        digests = (bytes.fromhex(self.model_sha256), bytes.fromhex(self.settings_sha256))
        members = encoding.index_list(self.members)
        return encoding.pack(self.slot.to_bytes(), members, *counts, struct.pack(">d", self.clip), *digests)

    @classmethod
    def from_bytes(cls, data: bytes) -> Terms:
        """Raises Malformed, InvalidTerms or DuplicateIndex."""
        slot, members, *counts, clip, model, settings = encoding.unpack(data, 10)
        threshold, neighbours, words, ring_bits, max_weight = map(_number, counts)
        if len(clip) != _COUNT:
            raise InvalidTerms("a clip is a number of eight bytes")
        return cls(
            Slot.from_bytes(slot),
            encoding.from_index_list(members),
            threshold,
            neighbours,
            words,
            ring_bits,
            struct.unpack(">d", clip)[0],
            max_weight,
            model.hex(),
            settings.hex(),
        )


@dataclass(frozen=True)
class Policy:
    """What a site accepts, whatever the coordinator proposes: its own floors.

    fewest: members of a group, at least 2. rings: widths. largest_clip, largest_weight: of the terms. colluders:
    members that may act together with the coordinator; a quorum q of n is refused unless 2q > n + colluders.
    """

    fewest: int
    rings: frozenset[int] = frozenset({16, 32})
    largest_clip: float = math.inf
    largest_weight: int = 2**31 - 1
    colluders: int = 0

    def __post_init__(self) -> None:
        if self.fewest < 2 or self.colluders < 0:
            raise ValueError("a policy wants at least two members, and no negative number of colluders")

    def check(self, terms: Terms, index: int, roster: Mapping[int, bytes]) -> None:
        """Judge terms as the site `index` that knows this roster (index to Ed25519 public key).

        Raises:
            NotAMember, NotOnRoster, TooFewMembers, RingRefused, ClipRefused, GraphRefused, ThresholdTooLow.
        """
        n = len(terms.members)
        if index not in terms.members:
            raise NotAMember(f"site {index} is not a member of the group that it is to help")
        unknown = [member for member in terms.members if member not in roster]
        if unknown or len({roster[member] for member in terms.members}) < n:
            raise NotOnRoster("the members are not so many identities of our roster", sites=unknown)
        if n < self.fewest:
            raise TooFewMembers(f"a sum over {n} members", why=f"we take part from {self.fewest} on")
        if terms.ring_bits not in self.rings:
            raise RingRefused(f"a ring of {terms.ring_bits} bits", why=f"we accept {sorted(self.rings)}")
        if terms.clip > self.largest_clip or terms.max_weight > self.largest_weight:
            raise ClipRefused(
                f"updates of norm {terms.clip:g} and weights of {terms.max_weight}",
                why=f"we accept at most {self.largest_clip:g} and {self.largest_weight}",
            )
        self._check_graph(terms)

    def _check_graph(self, terms: Terms) -> None:
        n, shape = len(terms.members), shape_of(len(terms.members))
        complete = terms.neighbours == n - 1
        if not complete and terms.neighbours != shape.neighbours:
            raise GraphRefused(
                f"{terms.neighbours} neighbours among {n} members", why=f"we accept {shape.neighbours} or all"
            )
        lowest = threshold_of(n) if complete else shape.threshold
        if terms.threshold < lowest or 2 * terms.quorum <= n + self.colluders:
            raise ThresholdTooLow(
                f"{terms.threshold} of {terms.neighbours + 1} holders open a secret of one of {n} members",
                why=f"we accept {lowest} or more, and {self.colluders} may collude",
            )


def _is_count(number: int) -> bool:
    return isinstance(number, int) and 0 <= number < 1 << 32


def _count(number: int) -> bytes:
    return number.to_bytes(_COUNT, "big")


def _number(data: bytes) -> int:
    if len(data) != _COUNT:
        raise InvalidTerms("a number has eight bytes")
    return int.from_bytes(data, "big")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidTerms("the name of a run is UTF-8") from None
