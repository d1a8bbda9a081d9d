"""The site's side of a secure sum: what it judges, and the secrets between the trips.

Secrets are held in this process's memory and nowhere else: not in Flower's context, which outlives the run, and not
on disk. They are gone after every opening, refusal and abort, and when the site joins anew.

What a site judges for itself, whatever the coordinator says: who its peers are (the roster in its kit, signed by the
federation's authority), how many it hides among (`secagg-fewest` in its node config), that the model is the one that
all were promised, that all were told the same settings and weights, and that no round is opened twice for different
sums (`released`). A site that has `secagg-fewest` refuses to train without secure aggregation.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from flwr.app import Message

from secure_fl.app.distributed_privacy import encoding_seed
from secure_fl.app.identity import Roster, SiteSigner
from secure_fl.app.messages import Order
from secure_fl.app.secagg.groups import GroupMember
from secure_fl.app.secagg.layout import Layout, Tally, digest_of
from secure_fl.app.secagg.released import Released, Sum
from secure_fl.app.secagg.wire import MaskedOrder, OpenOrder, ShareOrder
from secure_fl.config import RunConfig
from secure_fl.secagg.client import Client
from secure_fl.secagg.errors import NotOnRoster, OtherTerms, OutOfRange, SlotMismatch, WrongOrder, WrongVector
from secure_fl.secagg.grouping import Commitment, Reveal
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed
from secure_fl.secagg.ring import Vector, Words
from secure_fl.secagg.terms import Policy, Slot

__all__ = ["SecureSite", "Train", "Trained", "rounding_seed"]


@dataclass(frozen=True)
class Trained:
    """What a site's images made of a model: the update (d,), and what was measured on the way.

    times: how often the encoded update is added; a simulated attacker escapes the clip of honest code so.
    """

    update: Vector
    tally: Tally
    times: int = 1

    @classmethod
    def unclipped(cls, update: Vector, tally: Tally, *, clip: float) -> Trained:
        """Of an attacker: words that decode to `update`, however long it is; what any site could send."""
        times = max(1, math.ceil(float(np.linalg.norm(update.astype(np.float64))) / clip))
        return cls(update / np.float32(times), tally, times)


Train = Callable[[Order], Trained]


@dataclass(frozen=True, repr=False)
class _Ready:
    """What goes out in every attempt at a round: encoded, not masked. epsilon: what it has cost, under DP-SGD."""

    moment: Sum
    settings_sha256: str
    words: Words
    epsilon: float | None


class SecureSite:
    """One site, one slot at a time; `released` outlives slots, and `client` holds what must not."""

    def __init__(self, index: int, signer: SiteSigner, roster: Roster, *, fewest: int, released: Released) -> None:
        self.index, self.released, self.sign = index, released, signer.sign
        self._roster, self._fewest = roster, fewest
        self._groups = GroupMember(index, signer.sign)
        self._client: Client | None = None
        self._shared: ShareOrder | None = None
        self._sum: Sum | None = None
        self._ready: _Ready | None = None

    @property
    def declared_samples(self) -> int:
        """Our count of images as the roster declares it to everybody; 0 where it does not."""
        return next((each.samples or 0 for each in self._roster.entries if each.index == self.index), 0)

    @property
    def holds_secrets(self) -> bool:
        """Whether there are keys, shares or an update to lose."""
        return self._ready is not None or (self._client is not None and self._client.holds_secrets)

    def rejoin(self, roster: Roster) -> None:
        """Begin anew, with the roster as it is now."""
        self.forget()
        self._roster = roster

    def forget(self) -> None:
        """Drop every secret, and the update that was kept for another attempt."""
        self._end_slot()
        self._ready = None

    def commit(self, message: Message) -> Commitment:
        """Take part in the draw of a run's groups; raises TooFewMembers, and as `GroupMember.commit`."""
        return self._groups.commit(message, self._roster, fewest=self._fewest)

    def reveal(self, message: Message) -> Reveal:
        """Tell what we had drawn; raises as `GroupMember.reveal`."""
        return self._groups.reveal(message)

    def advertise(self, slot: Slot) -> Advert:
        """Fresh keys for this slot; what was left of another is dropped. Raises as `Client.advertise`."""
        self._end_slot()
        if self._ready is not None and (self._ready.moment.run, self._ready.moment.round) != (slot.run, slot.round):
            self._ready = None
        policy = Policy(fewest=self._fewest)
        # A client of its own for each slot: what must be remembered beyond one is in `released`, on disk.
        self._client = Client(self.index, self.sign, self._keys(), policy, random=os.urandom)
        return self._client.advertise(slot)

    def share(self, order: ShareOrder) -> Sealed:
        """Judge what the run is to be, then share our secrets.

        Raises:
            OtherTerms: the settings are not those that the terms name.
            NotOnRoster: the members are not the sites of this run by our roster.
            WrongGroup: they are not those of our group; or as `GroupMember.check`.
            SlotReused: we have opened another sum of this round.
        """
        with self._refusals_end_the_slot():
            terms, config = order.terms, order.config
            if digest_of(config, order.declared, order.groups) != terms.settings_sha256:
                raise OtherTerms("the settings are not those that the terms name")
            if config.secagg == "none" or len(order.declared) != len(terms.members):
                raise OtherTerms("the settings do not ask for this sum")
            expected = tuple(entry.index for entry in self._roster.first(config.sites).entries)
            if config.secagg == "full" and terms.members != expected:
                others = sorted(set(terms.members) ^ set(expected))
                raise NotOnRoster("the members are not the sites that our roster names for this run", sites=others)
            # The run's promise counts its colluders in; the core's own policy knows of none.
            Policy(fewest=self._fewest, colluders=config.secagg_colluders).check(terms, self.index, self._keys())
            if config.secagg == "grouped":
                self._groups.check(terms, order.groups, config, self._roster)
            sealed = self._part().share(terms, order.adverts)
            self._shared = order
            return sealed

    def mask(self, order: MaskedOrder, train: Train) -> tuple[Words, float | None]:
        """Train from the promised model and mask what comes of it; a second attempt at a round trains only once.

        It sends the very same words under other masks: noise that was drawn anew would be a second release of the
        same update, which no ledger has counted. Under other settings it trains again, and pays again.

        Returns:
            The masked words, and what the run has cost in privacy (ε) under DP-SGD.

        Raises:
            SlotMismatch, OtherTerms: another round, model or settings than the terms name.
            OutOfRange: our weight is not the one that was declared for us.
        """
        with self._refusals_end_the_slot():
            shared = self._expected(order.slot)
            terms = shared.terms
            if (order.order.run, order.order.round) != (terms.slot.run, terms.slot.round):
                raise SlotMismatch(f"an order for round {order.order.round} of run {order.order.run}")
            if order.order.model_sha256 != terms.model_sha256 or order.order.config != shared.config:
                raise OtherTerms("the model or the settings are not those that the terms name")
            moment, settings = Sum.of(terms, ()), terms.settings_sha256
            if self._ready is None or (self._ready.moment, self._ready.settings_sha256) != (moment, settings):
                trained = train(order.order)
                spent = trained.tally.metrics.get("dp-epsilon")
                self._ready = _Ready(moment, settings, self._encoded(trained, shared), spent)
            ready, words = self._ready, self._ready.words.copy()
            self._part().mask(order.inbox, words)
            return words, ready.epsilon

    def agree(self, slot: Slot, survivors: list[int]) -> Agreement:
        """Sign whose sum it is. Raises SlotReused, and as `Client.agree`."""
        with self._refusals_end_the_slot():
            chosen = Sum.of(self._expected(slot).terms, tuple(survivors))
            self.released.check(chosen)
            agreement = self._part().agree(survivors)
            self._sum = chosen
            return agreement

    def open(self, order: OpenOrder) -> Opening:
        """Open our shares; on return, it is written down whose sum they open, and all secrets are dropped."""
        with self._refusals_end_the_slot():
            self._expected(order.slot)
            if self._sum is None:
                raise WrongOrder("asked to open before the survivors are agreed on")
            opening = self._part().open(order.agreements)
            self.released.enter(self._sum)
            self.forget()
            return opening

    def _keys(self) -> dict[int, bytes]:
        """Identity keys of those who may take part, by index."""
        return {each.index: bytes.fromhex(each.identity_key) for each in self._roster.entries if not each.revoked}

    def _encoded(self, trained: Trained, shared: ShareOrder) -> Words:
        terms, config = shared.terms, shared.config
        layout = Layout.of(
            config,
            size=len(trained.update),
            members=len(terms.members),
            max_weight=terms.max_weight,
            model_sha256=terms.model_sha256,
        )
        if layout.words != terms.words:
            raise WrongVector(f"{terms.words} words", why=f"our update and what goes with it take {layout.words}")
        weight = self._weight(shared, trained.tally.images)
        rounding = rounding_seed(config, round=terms.slot.round, site=self.index)
        words = layout.encode(trained.update, weight, trained.tally, rounding=rounding)
        words[: layout.size] *= words.dtype.type(trained.times)
        return words

    def _weight(self, shared: ShareOrder, images: int) -> int:
        """Ours to know: a coordinator that could weigh one site over all others would see its update in the sum."""
        if shared.config.dp_distributed:
            return 1
        weight = self.declared_samples or images
        declared = shared.declared[shared.terms.members.index(self.index)]
        if declared not in (0, weight):
            raise OutOfRange(f"a weight of {declared} is declared for us", why=f"ours is {weight}")
        return weight

    def _expected(self, slot: Slot) -> ShareOrder:
        """What we shared our secrets for, if it was for this slot."""
        if self._shared is None:
            raise WrongOrder("asked to go on with a sum that we have no part in")
        if slot != self._shared.terms.slot:
            raise SlotMismatch(f"an order for {slot}", why=f"we take part in {self._shared.terms.slot}")
        return self._shared

    def _part(self) -> Client:
        if self._client is None:
            raise WrongOrder("asked to take part in a sum before we have advertised keys for it")
        return self._client

    def _end_slot(self) -> None:
        if self._client is not None:
            self._client.abort()
        self._client = self._shared = self._sum = None

    @contextmanager
    def _refusals_end_the_slot(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._end_slot()
            raise


def rounding_seed(config: RunConfig, *, round: int, site: int) -> bytes:
    """What a site rounds by, 32 bytes.

    Rounding hides nothing that the masks do not, so it may come from the run's seed, and a simulation can be repeated
    to the bit; in distributed differential privacy it is part of the noise.
    """
    if config.dp_distributed:
        return encoding_seed(config, round=round, site=site)
    return hashlib.sha256(f"secure-fl/rounding/1|{config.seed}|{round}|{site}".encode()).digest()
