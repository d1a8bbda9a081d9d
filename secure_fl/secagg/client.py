"""One site's part of a secure sum: keys, shares, masks, consent to the survivors, opening.

Threat model. Against a coordinator that does anything it likes (substitutes keys, invents sites, shows different things
to different sites, lies about who dropped out) together with fewer than 2q − n of n members, q being the quorum: it
learns one sum, over at least q members, and nothing else about a member that follows the protocol (Bonawitz et al., CCS
2017, section 6.2 and figure 4, with the signatures and the consistency trip of the active setting; beyond 32 members
under the assumptions of `graph`). A member can be left out, all can be stopped, and nothing here bounds what the sum
itself says of its members or what a member puts into it.

Every refusal ends the slot: the client drops all secrets and waits for another slot. It releases one share of each
owner at most, and after it has opened a round it refuses every further attempt at it: two sums of the same updates over
different survivors would differ by one update. That memory is this object's, not a disk's. Dropping means
unreferenced: Python does not wipe memory, and times are not constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeVar

import numpy as np

from secure_fl.secagg import keys, shamir
from secure_fl.secagg.dealing import Dealt, deal, receive
from secure_fl.secagg.errors import (
    AlreadyAgreed,
    AlreadyOpened,
    DuplicateIndex,
    NotAgreed,
    NotASurvivor,
    OwnAdvertAltered,
    SlotMismatch,
    SlotReused,
    TooFewSites,
    UnexpectedSender,
    UnknownSurvivor,
    WrongOrder,
    WrongVector,
)
from secure_fl.secagg.judgement import judge_advert, judge_agreement
from secure_fl.secagg.masks import add_masks
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.ring import Words
from secure_fl.secagg.terms import Policy, Slot, Terms

__all__ = ["Client", "Stage"]


class Stage(StrEnum):
    """How far a client has come with its slot. It holds secrets in all stages but the first and the last two."""

    IDLE = "idle"
    ADVERTISED = "advertised"
    SHARED = "shared"
    MASKED = "masked"
    AGREED = "agreed"
    OPENED = "opened"
    ABORTED = "aborted"


@dataclass(frozen=True, repr=False)
class _Advertised:
    """Both private keys."""

    stage: ClassVar = Stage.ADVERTISED
    slot: Slot
    mask_private: bytes
    share_private: bytes
    advert: Advert


@dataclass(frozen=True, repr=False)
class _Shared:
    """Seeds, keys that unseal, and our own pair of shares; private keys are gone."""

    stage: ClassVar = Stage.SHARED
    terms: Terms
    participants: frozenset[int]
    dealt: Dealt


@dataclass(frozen=True, repr=False)
class _Masked:
    """Shares by owner, each pair in one piece (None where disputed); seeds are gone."""

    stage: ClassVar = Stage.MASKED
    terms: Terms
    transcript: bytes
    possible: frozenset[int]
    shares: Mapping[int, bytes | None]


@dataclass(frozen=True, repr=False)
class _Agreed:
    """The same, and the survivors that we signed."""

    stage: ClassVar = Stage.AGREED
    terms: Terms
    digest: bytes
    survivors: frozenset[int]
    shares: Mapping[int, bytes | None]


_State = TypeVar("_State", _Advertised, _Shared, _Masked, _Agreed)


class Client:
    """A site, one slot at a time: advertise, share, mask, agree, open.

    index: of this site in the roster. sign: bytes to their Ed25519 signature under this site's identity key. roster:
    index to Ed25519 public key, known out of band. random: n to n secret bytes, `os.urandom` outside of tests.
    threads: for the masks; it has no effect on the result.
    """

    def __init__(
        self,
        index: int,
        sign: Callable[[bytes], bytes],
        roster: Mapping[int, bytes],
        policy: Policy,
        *,
        random: Callable[[int], bytes],
        threads: int = 1,
    ) -> None:
        self._index, self._sign, self._roster, self._policy = index, sign, dict(roster), policy
        self._random, self._threads = random, threads
        self._state: _Advertised | _Shared | _Masked | _Agreed | None = None
        self._ended = Stage.IDLE
        self._opened: dict[str, int] = {}  # run → the last round that we opened

    @property
    def stage(self) -> Stage:
        """How far we have come."""
        return self._state.stage if self._state else self._ended

    @property
    def holds_secrets(self) -> bool:
        """Whether there is anything to lose; False after every opening, refusal and abort."""
        return self._state is not None

    def abort(self) -> None:
        """Drop the slot and all of its secrets; nothing happens where there is none."""
        if self._state is not None:
            self._state, self._ended = None, Stage.ABORTED

    def advertise(self, slot: Slot) -> Advert:
        """Fresh keys for a slot, signed; an unfinished slot is aborted first.

        Raises:
            SlotReused: we have opened this round or a later one of the run, be it in another attempt or group.
        """
        self.abort()
        last = self._opened.get(slot.run, -1)
        if slot.round <= last:
            raise SlotReused(f"keys for round {slot.round} of run {slot.run}", why=f"we have opened round {last}")
        mask_private, share_private = self._random(keys.KEY), self._random(keys.KEY)
        mask_key, share_key = keys.public_of(mask_private), keys.public_of(share_private)
        signature = self._sign(Advert.statement(slot, self._index, mask_key, share_key))
        advert = Advert(mask_key, share_key, signature)
        self._state = _Advertised(slot, mask_private, share_private, advert)
        return advert

    def share(self, terms: Terms, adverts: Mapping[int, Advert]) -> Sealed:
        """Judge the terms and everybody's keys, then share our secrets with our neighbours.

        adverts: those of all members that take part, ours included.

        Raises:
            SlotMismatch, OwnAdvertAltered, UnexpectedSender, TooFewSites, ForgedAdvert, WeakKey, DuplicateKeys, and
            what `Policy.check` raises.
        """
        with self._refusals_end_the_slot():
            state = self._expect(_Advertised)
            if terms.slot != state.slot:
                raise SlotMismatch(f"terms for {terms.slot}", why=f"our keys are for {state.slot}")
            self._policy.check(terms, self._index, self._roster)
            self._judge_adverts(terms, adverts, state.advert)
            private = state.mask_private, state.share_private
            dealt, sealed = deal(self._index, *private, terms, adverts, sign=self._sign, random=self._random)
            self._state = _Shared(terms, frozenset(adverts), dealt)
            return sealed

    def mask(self, inbox: Mapping[int, SealedForMe], words: Words) -> None:
        """Take our neighbours' shares and add all masks to our encoded vector, in place.

        words: (terms.words,), uint16 or uint32 as the terms say, contiguous. A neighbour whose seal does not open, or
        whose shares are not those that it committed itself to, has lied: it stays in the sum and we open nothing of it.

        Raises:
            WrongVector, UnexpectedSender, TooFewSites, OtherTerms, ForgedShares.
        """
        with self._refusals_end_the_slot():
            state = self._expect(_Shared)
            terms, dealt, me = state.terms, state.dealt, self._index
            if words.shape != (terms.words,) or words.dtype != np.dtype(f"uint{terms.ring_bits}"):
                raise WrongVector(f"a vector {words.shape} of {words.dtype}", why=f"agreed: {terms.words} words")
            strangers = inbox.keys() - dealt.unsealing.keys()
            if strangers:
                raise UnexpectedSender("shares of sites that are not our neighbours", sites=sorted(strangers))
            if len(inbox) + 1 < terms.threshold:
                raise TooFewSites(f"shares of {len(inbox) + 1} sites", why=f"{terms.threshold} have to hold ours")
            shares = {j: receive(dealt, inbox[j], j, me, self._roster[j]) for j in sorted(inbox)}
            plus = [dealt.self_seed, *(dealt.pair_seeds[j] for j in inbox if me < j)]
            minus = [dealt.pair_seeds[j] for j in inbox if j < me]
            add_masks(words, plus=plus, minus=minus, threads=self._threads)
            silent = dealt.unsealing.keys() - inbox.keys()
            shares[me] = dealt.own_shares
            self._state = _Masked(terms, dealt.transcript, state.participants - silent, shares)

    def agree(self, survivors: Sequence[int]) -> Agreement:
        """Sign whose vectors the sum is to hold; we shall open for these and for no others.

        Raises:
            DuplicateIndex, NotASurvivor, UnknownSurvivor, TooFewSites; AlreadyAgreed when asked again.
        """
        with self._refusals_end_the_slot():
            state = self._expect(_Masked)
            chosen = frozenset(survivors)
            if len(chosen) < len(survivors):
                raise DuplicateIndex("a survivor is listed twice")
            if self._index not in chosen:
                raise NotASurvivor("our vector is said not to have arrived", why="we do not help to open without it")
            if not chosen <= state.possible:
                raise UnknownSurvivor(
                    "survivors whose shares we were never given", sites=sorted(chosen - state.possible)
                )
            if len(chosen) < state.terms.quorum:
                raise TooFewSites(
                    f"{len(chosen)} survivors", why=f"at least {state.terms.quorum} have to be in the sum"
                )
            digest = Agreement.digest(state.transcript, chosen)
            agreement = Agreement(digest, self._sign(Agreement.statement(self._index, digest)))
            self._state = _Agreed(state.terms, digest, chosen, state.shares)
            return agreement

    def open(self, agreements: Mapping[int, Agreement]) -> Opening:
        """Release one share of each owner, once enough survivors have signed the same survivors as we did.

        Raises:
            UnexpectedSender, ForgedAgreement, OtherSurvivors, NotAgreed; AlreadyOpened when asked again.
        """
        with self._refusals_end_the_slot():
            state = self._expect(_Agreed)
            for index, agreement in agreements.items():
                if index not in state.survivors:
                    raise UnexpectedSender(f"site {index} is no survivor and has nothing to sign", sites=[index])
                judge_agreement(agreement, state.digest, index, self._roster[index])
            if len(agreements) < state.terms.quorum:
                raise NotAgreed(f"{len(agreements)} sites have signed", why=f"it takes {state.terms.quorum}")
            opening = self._opening(state)
            self._opened[state.terms.slot.run] = state.terms.slot.round
            self._state, self._ended = None, Stage.OPENED
            return opening

    def _expect(self, kind: type[_State]) -> _State:
        if isinstance(self._state, kind):
            return self._state
        wanted = kind.stage
        if self.stage is Stage.OPENED:
            raise AlreadyOpened("this slot is opened", why="a second opening could show an owner's other secret")
        if wanted is Stage.MASKED and self.stage is Stage.AGREED:
            raise AlreadyAgreed("we have signed survivors", why="two sets would show an owner's both secrets")
        raise WrongOrder(f"asked for what follows `{wanted}`", why=f"we are `{self.stage}`")

    @contextmanager
    def _refusals_end_the_slot(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise

    def _judge_adverts(self, terms: Terms, adverts: Mapping[int, Advert], own: Advert) -> None:
        if adverts.get(self._index) != own:
            raise OwnAdvertAltered("the keys shown as ours are not ours")
        strangers = adverts.keys() - set(terms.members)
        if strangers:
            raise UnexpectedSender("keys of sites that are not members", sites=sorted(strangers))
        if len(adverts) < terms.quorum:
            raise TooFewSites(f"{len(adverts)} of {len(terms.members)} members", why=f"it takes {terms.quorum}")
        seen: set[bytes] = set()
        for index in sorted(adverts):
            judge_advert(adverts[index], terms.slot, index, self._roster[index], seen=seen)

    def _opening(self, state: _Agreed) -> Opening:
        held = {owner: shares for owner, shares in state.shares.items() if shares is not None}
        of_self = {owner: shares[: shamir.SHARE] for owner, shares in held.items() if owner in state.survivors}
        of_key = {owner: shares[shamir.SHARE :] for owner, shares in held.items() if owner not in state.survivors}
        disputed = tuple(sorted(state.shares.keys() - held.keys()))
        signature = self._sign(Opening.statement(state.digest, self._index, of_self, of_key, disputed))
        return Opening(of_self, of_key, disputed, signature)
