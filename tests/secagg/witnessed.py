"""Secure sums in memory, with all that a coordinator sees and writes down of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.secagg.client import Client
from secure_fl.secagg.evidence import SlotEvidence
from secure_fl.secagg.graph import shape_of
from secure_fl.secagg.messages import SealedForMe
from secure_fl.secagg.ring import Words
from secure_fl.secagg.server import Server
from secure_fl.secagg.terms import Policy, Slot, Terms

MODEL = hashlib.sha256(b"model").hexdigest()


@dataclass(frozen=True)
class Witnessed:
    """What the coordinator has when a sum is done: each vector as it came, the sum, and the evidence."""

    received: Mapping[int, Words]
    words: Words
    evidence: SlotEvidence


class Federation:
    """Sites with identities of a seed; `random_bytes` is where their secrets come from."""

    def __init__(self, sites: int, *, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        identities = [Ed25519PrivateKey.from_private_bytes(self.random_bytes(32)) for _ in range(sites)]
        self.sites = sites
        self.roster = {index: each.public_key().public_bytes_raw() for index, each in enumerate(identities)}
        self.policy = Policy(fewest=sites)
        self.clients = [
            Client(index, each.sign, self.roster, self.policy, random=self.random_bytes)
            for index, each in enumerate(identities)
        ]

    def random_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def terms(self, slot: Slot, words: int, *, bits: int = 32) -> Terms:
        shape = shape_of(self.sites)
        members = tuple(range(self.sites))
        return Terms(slot, members, shape.threshold, shape.neighbours, words, bits, 1.0, 1, MODEL, MODEL)

    def sum(
        self,
        vectors: Sequence[Words],
        slot: Slot | None = None,
        *,
        silent: Sequence[int] = (),
        mask: Callable[[Client, Mapping, Words], None] = Client.mask,
    ) -> Witnessed:
        """One sum. silent: sites that drop out after sharing. mask: what a site does with its vector."""
        terms = self.terms(slot or Slot("run", 1, 0, 0), len(vectors[0]), bits=8 * vectors[0].itemsize)
        server, clients = Server(terms, self.roster), self.clients
        for index, client in enumerate(clients):
            server.take_advert(index, client.advertise(terms.slot))
        adverts = server.close_adverts()
        for index, client in enumerate(clients):
            server.take_sealed(index, client.share(terms, adverts))
        received = {}
        for index, inbox in server.close_sealed().items():
            words = np.array(vectors[index])
            mask(clients[index], SealedForMe.inbox(inbox), words)
            if index not in silent:
                received[index] = words
                server.take_masked(index, words)
        survivors = server.close_masked()
        for index in survivors:
            server.take_agreement(index, clients[index].agree(survivors))
        agreements = dict(server.close_agreements())
        for index in survivors:
            server.take_opening(index, clients[index].open(agreements))
        total = server.close()
        evidence = SlotEvidence(
            terms, dict(adverts), total.transcript, survivors, agreements, total.released, total.liars
        )
        return Witnessed(received, total.words, evidence)
