"""Who is grouped with whom, drawn by all sites together: a beacon by commit and reveal, fixed for the run.

    commit   every site signs H(nonce)          beacon = H(all nonces)
    reveal   every site opens its nonce   ──►   order  = members by H(beacon ‖ index)
                                                groups = the order, cut into ⌊n/g⌋ pieces

A coordinator that chose the groups could put a site among its accomplices and read it. Here it cannot: as long as one
site draws at random, nobody knows the beacon before all commitments are fixed (Blum 1983, "Coin flipping by telephone";
one beacon for the run, because new groups in each round would give new linear combinations of slowly changing updates:
Lam et al. 2021, "Gradient disaggregation"). Each site verifies all signatures against its own roster and computes the
groups itself.

What it does not give. Whoever reveals last knows the beacon first and can withhold: there are then no groups, and the
coordinator can only start another run, under another name that all sites see. With k accomplices who may each withhold
it so has 2^k draws. And fair groups are still groups: one in which all others are accomplices has no secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from secure_fl.secagg import encoding
from secure_fl.secagg.errors import (
    CommitmentChanged,
    ForeignSite,
    Malformed,
    RevealMismatch,
    RevealMissing,
    TooFewToGroup,
    WrongGroup,
)
from secure_fl.secagg.keys import verify

__all__ = [
    "NONCE_BYTES",
    "Commitment",
    "Groups",
    "Plan",
    "Reveal",
    "Transcript",
    "commitments_digest",
    "deal",
    "groups_of",
    "inspect_commitment",
    "inspect_commitments",
    "nonce_digest",
]

NONCE_BYTES = 32
_SIGNATURE_BYTES = 64
_SAID_BYTES = 32 + _SIGNATURE_BYTES  # a digest or nonce, and the signature


@dataclass(frozen=True)
class Plan:
    """What is agreed before the draw: the run, and the least number of sites in a group."""

    run: str
    size: int

    def __post_init__(self) -> None:
        if self.size < 2 or not 0 < len(self.run.encode()) <= 255:
            raise ValueError(f"groups of {self.size} in run {self.run!r}")

    def parts(self) -> tuple[bytes, bytes]:
        """What it contributes to every statement."""
        return self.run.encode(), encoding.index_bytes(self.size)


@dataclass(frozen=True)
class Commitment:
    """A site's word that it has drawn: digest = `nonce_digest`, 32 bytes; signature over plan, index and digest."""

    index: int
    digest: bytes
    signature: bytes

    def statement(self, plan: Plan) -> bytes:
        """What the site signs."""
        return encoding.statement("group commitment", *plan.parts(), encoding.index_bytes(self.index), self.digest)

    def to_bytes(self) -> bytes:
        """100 bytes: index, digest, signature."""
        return encoding.index_bytes(self.index) + self.digest + self.signature

    @classmethod
    def from_bytes(cls, data: bytes) -> Commitment:
        """Raises Malformed."""
        return cls(*_said(data))


@dataclass(frozen=True)
class Reveal:
    """What a site had drawn. The signature also covers all commitments that the site saw before it told."""

    index: int
    nonce: bytes
    signature: bytes

    def statement(self, plan: Plan, commitments: bytes) -> bytes:
        """What the site signs; `commitments` is `commitments_digest` of those that it saw."""
        own = encoding.index_bytes(self.index)
        return encoding.statement("group reveal", *plan.parts(), own, commitments, self.nonce)

    def to_bytes(self) -> bytes:
        """100 bytes: index, nonce, signature."""
        return encoding.index_bytes(self.index) + self.nonce + self.signature

    @classmethod
    def from_bytes(cls, data: bytes) -> Reveal:
        """Raises Malformed."""
        return cls(*_said(data))


@dataclass(frozen=True)
class Transcript:
    """All that was said, by index: enough for anybody with the roster to check the draw. 200 bytes a site."""

    plan: Plan
    commitments: tuple[Commitment, ...]
    reveals: tuple[Reveal, ...]

    def to_bytes(self) -> bytes:
        """The plan, and a table each of what was committed and revealed."""
        committed = {each.index: each.digest + each.signature for each in self.commitments}
        revealed = {each.index: each.nonce + each.signature for each in self.reveals}
        return encoding.pack(*self.plan.parts(), encoding.table(committed), encoding.table(revealed))

    @classmethod
    def from_bytes(cls, data: bytes) -> Transcript:
        """Raises Malformed."""
        run, size, committed, revealed = encoding.unpack(data, 4)
        try:
            plan = Plan(run.decode(), int.from_bytes(size, "big"))
        except ValueError as error:
            raise Malformed("a grouping of no run, or into no groups", why=str(error)) from None
        said, told = (encoding.from_table(each, _SAID_BYTES) for each in (committed, revealed))
        return cls(
            plan,
            tuple(Commitment(index, *_split(each)) for index, each in said.items()),
            tuple(Reveal(index, *_split(each)) for index, each in told.items()),
        )


@dataclass(frozen=True)
class Groups:
    """members: the sites of each group by index, sorted; the groups are numbered from 0 in this order."""

    members: tuple[tuple[int, ...], ...]

    def of(self, index: int) -> int:
        """The number of a site's group; raises ForeignSite if it is in none."""
        for number, group in enumerate(self.members):
            if index in group:
                return number
        raise ForeignSite(f"site {index} is in no group")

    def check(self, index: int, number: int, members: Sequence[int], *, fewest: int) -> None:
        """Refuse to take part in a sum over `members`, said to be group `number`, unless it is ours.

        Some may be absent, but no fewer than `fewest` take part: a group protects as many as it has.

        Raises:
            WrongGroup: another group, a stranger in it, without us, or too few of it.
        """
        own = self.of(index)
        if number != own or index not in members or not set(members) <= set(self.members[own]):
            raise WrongGroup(
                f"group {number} of {list(members)} is not ours",
                why=f"site {index} is in group {own} of {list(self.members[own])}",
            )
        if len(set(members)) < fewest:
            raise WrongGroup(f"{len(set(members))} of group {own} are to be added", why=f"at least {fewest} have to be")


def groups_of(transcript: Transcript, roster: Mapping[int, bytes], *, fewest: int) -> Groups:
    """Check all that was said, and compute the groups. roster: index to Ed25519 public key (32 bytes).

    Raises:
        SecAggError: one of its named kinds; nobody in it can be trusted then.
    """
    plan, said = transcript.plan, transcript.commitments
    inspect_commitments(plan, said, roster, fewest=fewest)
    committed = {each.index: each.digest for each in said}
    revealed = {each.index: each for each in transcript.reveals}
    for index in revealed.keys() - committed.keys():
        raise ForeignSite(f"site {index} reveals what it has not committed itself to")
    digest = commitments_digest(said)
    for index in sorted(committed):
        if index not in revealed:
            raise RevealMissing(f"site {index} has not revealed", why="whoever is last can withhold: start another run")
        reveal = revealed[index]
        if nonce_digest(plan, index, reveal.nonce) != committed[index]:
            raise RevealMismatch(f"site {index} reveals another number than it has committed itself to")
        if not verify(roster[index], reveal.statement(plan, digest), reveal.signature):
            raise RevealMismatch(f"site {index} has not revealed over these commitments")
    nonces = [revealed[index].nonce for index in sorted(committed)]
    beacon = encoding.digest("group beacon", *plan.parts(), digest, *nonces)
    return Groups(deal(beacon, sorted(committed), plan.size))


def inspect_commitment(plan: Plan, commitment: Commitment, roster: Mapping[int, bytes]) -> None:
    """Refuse a commitment that no site of the roster has signed.

    Raises:
        ForeignSite: the roster does not know the site.
        CommitmentChanged: the signature does not fit.
    """
    if commitment.index not in roster:
        raise ForeignSite(f"site {commitment.index} is not in the roster")
    if not verify(roster[commitment.index], commitment.statement(plan), commitment.signature):
        raise CommitmentChanged(f"the commitment of site {commitment.index} is not what it signed")


def inspect_commitments(
    plan: Plan, commitments: Sequence[Commitment], roster: Mapping[int, bytes], *, fewest: int
) -> None:
    """Refuse commitments over which nobody should reveal.

    Raises:
        ForeignSite, CommitmentChanged: as `inspect_commitment`; or a site takes part twice.
        TooFewToGroup: there are fewer than `fewest`, or than one group needs.
    """
    for each in commitments:
        inspect_commitment(plan, each, roster)
    if len({each.index for each in commitments}) < len(commitments):
        raise ForeignSite("a site takes part twice")
    needed = max(fewest, plan.size)
    if len(commitments) < needed:
        raise TooFewToGroup(
            f"{len(commitments)} sites are to be grouped",
            why=f"whoever leaves the others out chooses who is grouped with whom; at least {needed} have to take part",
        )


def deal(beacon: bytes, members: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    """Cut `members`, in the order of H(beacon ‖ index), into ⌊n/size⌋ groups; the first ones take what is left over.

    Raises:
        ValueError: there are not enough for one group.
    """
    count = len(members) // size
    if count < 1:
        raise ValueError(f"{len(members)} sites in groups of {size}")
    order = sorted(members, key=lambda index: encoding.digest("group place", beacon, encoding.index_bytes(index)))
    least, over = divmod(len(members), count)
    cuts = [number * least + min(number, over) for number in range(count + 1)]
    return tuple(tuple(sorted(order[begin:end])) for begin, end in pairwise(cuts))


def nonce_digest(plan: Plan, index: int, nonce: bytes) -> bytes:
    """What a site commits itself to: SHA-256 over its nonce, bound to the run and to itself."""
    return encoding.digest("group nonce", *plan.parts(), encoding.index_bytes(index), nonce)


def commitments_digest(commitments: Sequence[Commitment]) -> bytes:
    """SHA-256 over all commitments by index: which sites take part, and what each has said."""
    said = sorted(commitments, key=lambda each: each.index)
    return encoding.digest("group commitments", *(each.to_bytes() for each in said))


def _said(data: bytes) -> tuple[int, bytes, bytes]:
    head = len(data) - _SAID_BYTES
    if head != len(encoding.index_bytes(0)):
        raise Malformed(f"a commitment or reveal of {len(data)} bytes")
    return int.from_bytes(data[:head], "big"), *_split(data[head:])


def _split(said: bytes) -> tuple[bytes, bytes]:
    return said[:-_SIGNATURE_BYTES], said[-_SIGNATURE_BYTES:]
