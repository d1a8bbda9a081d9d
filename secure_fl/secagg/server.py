"""The coordinator's part of a secure sum: carries messages, adds masked vectors, removes masks that sites open.

It follows the protocol; sites do not trust it to (see `client`). What it judges, it judges to keep a hostile site from
spoiling a round in silence: each message is refused with the name of its sender, the others go on while the quorum
lasts, and a share is used only if it is the one its owner signed for. Who is named how:

- a holder whose signed opening holds another share than the owner signed for lies, whatever the owner did, since an
  honest holder disputes a share that does not fit (`SecureSum.liars`);
- an owner whose signed-for shares do not all open to its signed secret lies, whatever the holders did (`liars`);
- a holder that disputes an owner's shares: one of them lies, and nothing shows which (`disputed`), until more holders
  dispute it than could be hostile with a quorum left honest; then it is the owner (`FalseSecrets`).

It cannot see whether a vector is the sum of an honest update and the right masks: a hostile site can shift the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from secure_fl.secagg import keys
from secure_fl.secagg.errors import (
    BothShares,
    DuplicateMessage,
    ForgedOpening,
    ForgedShares,
    IncompleteOpening,
    OtherTerms,
    TooFewSites,
    UnexpectedSender,
    WrongOrder,
    WrongRecipients,
    WrongVector,
)
from secure_fl.secagg.graph import neighbourhoods
from secure_fl.secagg.judgement import judge_advert, judge_agreement
from secure_fl.secagg.masks import add_masks, add_words
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, transcript_of
from secure_fl.secagg.recovery import Recovery
from secure_fl.secagg.ring import Words
from secure_fl.secagg.terms import Terms

__all__ = ["SecureSum", "Server", "Trip"]


_TOGETHER = 64 << 20
"""Bytes of masked vectors that are held so that they can be added together."""


class Trip(IntEnum):
    """Which messages the coordinator is waiting for."""

    ADVERTS = 0
    SHARES = 1
    VECTORS = 2
    CONSENT = 3
    OPENINGS = 4
    DONE = 5


@dataclass(frozen=True, eq=False)
class SecureSum:
    """The sum of the survivors' vectors modulo 2^b, and what there is to say of how it came about.

    dropped: sites whose masks with the survivors had to be removed. liars: by index, what each lied about. disputed:
    pairs of holder and owner of which one lies. released: by holder and owner, which share was opened, "self" or "key".
    """

    words: Words = field(repr=False)
    survivors: tuple[int, ...]
    dropped: tuple[int, ...]
    liars: Mapping[int, str]
    disputed: tuple[tuple[int, int], ...]
    released: Mapping[int, Mapping[int, str]]
    transcript: bytes


class Server:
    """The coordinator for one slot: for each trip, take each site's message, then close the trip.

    `take_…` judges one message; a refusal names its sender and changes nothing else. `close_…` ends the trip: whoever
    has not been taken is out of those that follow, and TooFewSites ends the slot when the quorum is lost. roster:
    index to Ed25519 public key. threads: for removing masks.
    """

    def __init__(self, terms: Terms, roster: Mapping[int, bytes], *, threads: int = 1) -> None:
        self._terms, self._roster, self._threads = terms, dict(roster), threads
        self._trip = Trip.ADVERTS
        self._expected = frozenset(terms.members)
        self._taken: set[int] = set()
        self._seen: set[bytes] = set()
        self._adverts: dict[int, Advert] = {}
        self._transcript = b""
        self._graph: dict[int, tuple[int, ...]] = {}
        self._sealed: dict[int, Sealed] = {}
        self._sum: Words = np.zeros(terms.words, f"uint{terms.ring_bits}")
        self._waiting: list[Words] = []
        self._survivors: tuple[int, ...] = ()
        self._digest = b""
        self._agreements: dict[int, Agreement] = {}
        self._openings: dict[int, Opening] = {}

    @property
    def trip(self) -> Trip:
        """What we are waiting for."""
        return self._trip

    @property
    def transcript(self) -> bytes:
        """Digest of terms and keys; empty until adverts are closed."""
        return self._transcript

    @property
    def released(self) -> Mapping[int, Mapping[int, str]]:
        """By holder and owner, which share has been opened so far, "self" or "key"; of a sum that failed, too."""
        return {
            holder: dict.fromkeys(sorted(opening.self_shares), "self")
            | dict.fromkeys(sorted(opening.key_shares), "key")
            for holder, opening in sorted(self._openings.items())
        }

    def take_advert(self, index: int, advert: Advert) -> None:
        """Judge one site's keys.

        Raises:
            UnexpectedSender, DuplicateMessage, ForgedAdvert, WeakKey, DuplicateKeys.
        """
        self._admit(Trip.ADVERTS, index)
        judge_advert(advert, self._terms.slot, index, self._roster[index], seen=self._seen)
        self._adverts[index] = advert
        self._taken.add(index)

    def close_adverts(self) -> Mapping[int, Advert]:
        """All keys, for every site that advertised; raises TooFewSites."""
        self._close(Trip.ADVERTS)
        self._adverts = {index: self._adverts[index] for index in sorted(self._adverts)}
        self._transcript = transcript_of(self._terms, self._adverts)
        self._graph = neighbourhoods(self._adverts, self._terms.neighbours, self._transcript)
        return self._adverts

    def take_sealed(self, index: int, sealed: Sealed) -> None:
        """Judge what one site sealed for its neighbours.

        Raises:
            UnexpectedSender, DuplicateMessage, ForgedShares, OtherTerms, WrongRecipients.
        """
        self._admit(Trip.SHARES, index)
        if not sealed.verify(index, self._roster[index]):
            raise ForgedShares(f"site {index} did not sign these shares as they stand", sites=[index])
        if sealed.transcript != self._transcript:
            raise OtherTerms(f"site {index} takes part under other terms, model or keys", sites=[index])
        neighbours = set(self._graph[index])
        if sealed.ciphertexts.keys() != neighbours or sealed.commitments.keys() != neighbours | {index}:
            raise WrongRecipients(f"site {index} does not seal to its neighbours", sites=[index])
        self._sealed[index] = sealed
        self._taken.add(index)

    def close_sealed(self) -> Mapping[int, Mapping[int, bytes]]:
        """The inbox of each site that shared: by recipient, by sender, bytes of SealedForMe; raises TooFewSites."""
        self._close(Trip.SHARES)
        inboxes: dict[int, dict[int, bytes]] = {index: {} for index in sorted(self._sealed)}
        for sender in inboxes:
            there = [neighbour for neighbour in self._graph[sender] if neighbour in inboxes]
            for recipient, data in self._sealed[sender].inbox(there).items():
                inboxes[recipient][sender] = data
        return inboxes

    def take_masked(self, index: int, words: Words) -> None:
        """Add one site's masked vector, (terms.words,) of the ring's type.

        It is neither copied nor changed, and may be read until the trip is closed. A few are added at a time, so that
        the sum is read and written once for all of them; vectors of more than _TOGETHER bytes one by one.

        Raises:
            UnexpectedSender, DuplicateMessage, WrongVector.
        """
        self._admit(Trip.VECTORS, index)
        if words.shape != (self._terms.words,) or words.dtype != np.dtype(f"uint{self._terms.ring_bits}"):
            raise WrongVector(f"site {index} sends a vector {words.shape} of {words.dtype}", sites=[index])
        self._waiting.append(words)
        self._taken.add(index)
        if sum(each.nbytes for each in self._waiting) > _TOGETHER:
            self._add_waiting()

    def close_masked(self) -> tuple[int, ...]:
        """The survivors: those whose vectors are in the sum; raises TooFewSites."""
        self._close(Trip.VECTORS)
        self._add_waiting()
        self._survivors = tuple(sorted(self._expected))
        self._digest = Agreement.digest(self._transcript, self._survivors)
        return self._survivors

    def take_agreement(self, index: int, agreement: Agreement) -> None:
        """Judge one survivor's consent.

        Raises:
            UnexpectedSender, DuplicateMessage, ForgedAgreement, OtherSurvivors.
        """
        self._admit(Trip.CONSENT, index)
        judge_agreement(agreement, self._digest, index, self._roster[index])
        self._agreements[index] = agreement
        self._taken.add(index)

    def close_agreements(self) -> Mapping[int, Agreement]:
        """All signatures, for every site that gave one; raises TooFewSites."""
        self._close(Trip.CONSENT)
        return self._agreements

    def take_opening(self, index: int, opening: Opening) -> None:
        """Judge the form of one holder's opening; whether its shares are true is seen at the end.

        Raises:
            UnexpectedSender, DuplicateMessage, ForgedOpening, BothShares, IncompleteOpening.
        """
        self._admit(Trip.OPENINGS, index)
        if not opening.verify(self._digest, index, self._roster[index]):
            raise ForgedOpening(f"site {index} did not sign this opening", sites=[index])
        survivors = set(self._survivors)
        if not opening.self_shares.keys() <= survivors or opening.key_shares.keys() & survivors:
            raise BothShares(f"site {index} opens shares that nobody may see", sites=[index])
        owners = sorted([*opening.self_shares, *opening.key_shares, *opening.disputed])
        if owners != sorted(self._owners_held_by(index)):
            raise IncompleteOpening(f"site {index} does not account for each share it holds", sites=[index])
        self._openings[index] = opening
        self._taken.add(index)

    def close(self) -> SecureSum:
        """Remove all masks from the sum.

        Raises:
            TooFewSites: the quorum is lost, or fewer true shares of a secret are there than open it.
            FalseSecrets: its `sites` dealt shares that do not open. This slot is lost; one without them need not be.
        """
        self._close(Trip.OPENINGS)
        recovery = Recovery(self._transcript, self._terms.threshold, self._sealed, self._openings)
        dropped = tuple(index for index in sorted(self._sealed) if index not in self._survivors)
        plus, minus = self._seeds(recovery, dropped)
        add_masks(self._sum, plus=plus, minus=minus, threads=self._threads)
        return SecureSum(
            words=self._sum,
            survivors=self._survivors,
            dropped=dropped,
            liars=dict(sorted(recovery.liars.items())),
            disputed=tuple(
                (holder, owner) for holder, opening in sorted(self._openings.items()) for owner in opening.disputed
            ),
            released=self.released,
            transcript=self._transcript,
        )

    def _seeds(self, recovery: Recovery, dropped: Iterable[int]) -> tuple[list[bytes], list[bytes]]:
        """Seeds of the streams to add to the sum and to subtract from it.

        A survivor's self mask was added. Of a pair, the lower index added; what a dropped site would have cancelled
        is left of the survivor's half.
        """
        plus: list[bytes] = []
        minus = [recovery.self_seed(owner) for owner in self._survivors]
        survivors = frozenset(self._survivors)
        for owner in dropped:
            private = keys.loaded(recovery.mask_private(owner, self._adverts[owner].mask_key))
            for other in survivors.intersection(self._graph[owner]):
                theirs = self._adverts[other].mask_key
                seed = keys.mask_seed(private, theirs, self._transcript, owner, other)
                (minus if other < owner else plus).append(seed)
        return plus, minus

    def _add_waiting(self) -> None:
        add_words(self._sum, self._waiting)
        self._waiting.clear()

    def _admit(self, trip: Trip, index: int) -> None:
        if self._trip is not trip:
            raise WrongOrder(f"site {index} sends what belongs to trip {trip}", why=f"this is trip {self._trip}")
        if index not in self._expected:
            raise UnexpectedSender(f"site {index} has no part in trip {trip}", sites=[index])
        if index in self._taken:
            raise DuplicateMessage(f"site {index} sends twice in trip {trip}", sites=[index])

    def _close(self, trip: Trip) -> None:
        """Whoever was taken is expected in the next trip."""
        if self._trip is not trip:
            raise WrongOrder(f"trip {trip} is to be closed", why=f"this is trip {self._trip}")
        self._trip = Trip.DONE
        missing = sorted(self._expected - self._taken)
        if len(self._taken) < self._terms.quorum:
            raise TooFewSites(
                f"{len(self._taken)} sites are left after trip {trip}",
                why=f"it takes {self._terms.quorum}",
                sites=missing,
            )
        self._trip = Trip(trip + 1)
        self._expected, self._taken = frozenset(self._taken), set()

    def _owners_held_by(self, holder: int) -> list[int]:
        """Whose shares a holder holds: those of its neighbours that shared, and its own."""
        return [holder, *(owner for owner in self._graph[holder] if owner in self._sealed)]
