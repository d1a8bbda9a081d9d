"""The two sides of a grouping: a site that takes part once a run, and the coordinator that carries their messages.

The coordinator is not trusted with anything but delivery: what it leaves out, alters or delays ends the grouping with a
named error at a site (see `secure_fl.secagg.grouping` for what that does and does not give). A site repeats itself when
it is asked the same again, which tells nobody anything new; anything else in the same run is a second grouping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from secure_fl.secagg.errors import ForeignSite, OwnCommitmentAltered, SecondGrouping
from secure_fl.secagg.grouping import (
    NONCE_BYTES,
    Commitment,
    Groups,
    Plan,
    Reveal,
    Transcript,
    commitments_digest,
    groups_of,
    inspect_commitment,
    inspect_commitments,
    nonce_digest,
)

__all__ = ["Convener", "Participant"]


class Participant:
    """One site in the grouping of one run.

    roster: index to Ed25519 public key, known out of band; fewest: sites without which it does not take part, because
    leaving sites out is how a coordinator could choose its groups; random: n to n secret bytes.
    """

    def __init__(
        self,
        index: int,
        sign: Callable[[bytes], bytes],
        roster: Mapping[int, bytes],
        *,
        fewest: int,
        random: Callable[[int], bytes],
    ) -> None:
        self._index, self._sign, self._roster, self._fewest = index, sign, roster, fewest
        self._nonce = random(NONCE_BYTES)
        self._plan: Plan | None = None
        self._seen: bytes | None = None
        self._groups: tuple[bytes, Groups] | None = None

    def commit(self, plan: Plan) -> Commitment:
        """Our word that we have drawn.

        Raises:
            SecondGrouping: it is another plan than before.
        """
        if self._plan not in (None, plan):
            raise SecondGrouping(f"groups of {plan.size} in run {plan.run}", why=f"we have agreed to {self._plan}")
        self._plan = plan
        digest = nonce_digest(plan, self._index, self._nonce)
        unsigned = Commitment(self._index, digest, b"")
        return Commitment(self._index, digest, self._sign(unsigned.statement(plan)))

    def reveal(self, commitments: Sequence[Commitment]) -> Reveal:
        """Our number, once we have seen what all have committed themselves to.

        Raises:
            OwnCommitmentAltered: ours is not among them as we signed it.
            SecondGrouping: we were never asked to commit, or have revealed over other commitments.
            SecAggError: as `inspect_commitments`.
        """
        if self._plan is None:
            raise SecondGrouping("we are to reveal a number for a grouping that we have not agreed to")
        if self.commit(self._plan) not in commitments:
            raise OwnCommitmentAltered(f"the commitment of site {self._index} is shown to us as another one")
        inspect_commitments(self._plan, commitments, self._roster, fewest=self._fewest)
        digest = commitments_digest(commitments)
        if self._seen not in (None, digest):
            raise SecondGrouping("other commitments than before are shown to us")
        self._seen = digest
        unsigned = Reveal(self._index, self._nonce, b"")
        return Reveal(self._index, self._nonce, self._sign(unsigned.statement(self._plan, digest)))

    def groups(self, transcript: bytes) -> Groups:
        """The groups, computed by ourselves from what was said; remembered, because each order repeats it.

        A process that was started anew in the middle of a run takes the first transcript that holds its own signatures
        for the run's: it cannot have signed two, unless it was restarted between them.

        Raises:
            SecondGrouping: it is another transcript than before, or of another plan or other commitments.
            OwnCommitmentAltered: we are not in it as we signed.
            SecAggError: as `groups_of`.
        """
        if self._groups is not None and self._groups[0] == transcript:
            return self._groups[1]
        read = Transcript.from_bytes(transcript)
        if self._groups is not None or self._plan not in (None, read.plan):
            raise SecondGrouping(f"another grouping of run {read.plan.run} is shown to us")
        if self._seen not in (None, commitments_digest(read.commitments)):
            raise SecondGrouping("a grouping over other commitments than ours is shown to us")
        found = groups_of(read, self._roster, fewest=self._fewest)
        found.of(self._index)
        self._plan, self._groups = read.plan, (transcript, found)
        return found


class Convener:
    """The coordinator's part: one grouping of one run. Whoever cannot be read is left out of the commitments."""

    def __init__(self, plan: Plan, roster: Mapping[int, bytes], *, fewest: int) -> None:
        self._plan, self._roster, self._fewest = plan, roster, fewest
        self._commitments: dict[int, Commitment] = {}
        self._reveals: dict[int, Reveal] = {}

    def take_commitment(self, index: int, commitment: Commitment) -> None:
        """One site's; raises SecAggError if it is not what that site signed."""
        if commitment.index != index:
            raise ForeignSite(f"site {index} commits itself as site {commitment.index}")
        inspect_commitment(self._plan, commitment, self._roster)
        self._commitments[index] = commitment

    def close_commitments(self) -> tuple[Commitment, ...]:
        """All of them by index, for every site; raises TooFewToGroup."""
        said = tuple(self._commitments[index] for index in sorted(self._commitments))
        inspect_commitments(self._plan, said, self._roster, fewest=self._fewest)
        return said

    def take_reveal(self, index: int, reveal: Reveal) -> None:
        """One site's; raises SecAggError if it is not that site's, which is judged with the others' at the end."""
        if reveal.index != index:
            raise ForeignSite(f"site {index} reveals as site {reveal.index}")
        self._reveals[index] = reveal

    def close(self) -> tuple[Transcript, Groups]:
        """What is shown to all, and what follows from it; raises as `groups_of`."""
        said, told = self.close_commitments(), tuple(self._reveals[index] for index in sorted(self._reveals))
        transcript = Transcript(self._plan, said, told)
        return transcript, groups_of(transcript, self._roster, fewest=self._fewest)
