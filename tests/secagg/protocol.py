"""A federation in one process for the protocol's tests: real keys and signatures, reproducible randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.secagg.client import Client
from secure_fl.secagg.graph import shape_of
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.ring import Words
from secure_fl.secagg.server import SecureSum, Server, Trip
from secure_fl.secagg.terms import Policy, Slot, Terms

MODEL, SETTINGS = "0a" * 32, "0b" * 32


class Draws:
    """n to n bytes, the same for the same name; everything drawn is remembered."""

    def __init__(self, name: str) -> None:
        self._name, self.drawn = name, list[bytes]()

    def __call__(self, count: int) -> bytes:
        seed = f"{self._name}/{len(self.drawn)}".encode()
        self.drawn.append(hashlib.shake_256(seed).digest(count))
        return self.drawn[-1]


@dataclass
class Federation:
    """Sites 0 … n − 1 (or the indexes given) of one roster, each with a client."""

    indexes: tuple[int, ...]
    policy: Policy = field(default_factory=lambda: Policy(fewest=2))

    def __post_init__(self) -> None:
        self.identities = {i: Ed25519PrivateKey.from_private_bytes(_seed(f"identity {i}")) for i in self.indexes}
        self.roster = {i: key.public_key().public_bytes_raw() for i, key in self.identities.items()}
        self.draws = {i: Draws(f"draws {i}") for i in self.indexes}
        self.clients = {i: self.client(i) for i in self.indexes}

    def client(self, index: int, kind: type[Client] = Client) -> Client:
        return kind(index, self.identities[index].sign, self.roster, self.policy, random=self.draws[index])

    def terms(self, **changes: Any) -> Terms:
        shape = shape_of(len(self.indexes))
        usual: dict[str, Any] = {
            "slot": Slot("run", 1, 0, 0),
            "members": tuple(sorted(self.indexes)),
            "threshold": shape.threshold,
            "neighbours": shape.neighbours,
            "words": 7,
            "ring_bits": 32,
            "clip": 1.0,
            "max_weight": 100,
            "model_sha256": MODEL,
            "settings_sha256": SETTINGS,
        }
        return Terms(**{**usual, **changes})


def federation(sites: int, **settings: Any) -> Federation:
    return Federation(tuple(range(sites)), **settings)


@dataclass
class Slotted:
    """One slot of a federation, played trip by trip; a site in `absent[trip]` falls silent from that trip on."""

    sites: Federation
    terms: Terms
    absent: Mapping[Trip, Iterable[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = Server(self.terms, self.sites.roster)
        self.clients = dict(self.sites.clients)
        self.vectors = {i: vector_of(self.terms, i) for i in self.terms.members}
        self.alive = list(self.terms.members)
        self.adverts: Mapping[int, Advert] = {}
        self.sealed: dict[int, Sealed] = {}
        self.inboxes: Mapping[int, Mapping[int, SealedForMe]] = {}
        self.masked: dict[int, Words] = {}
        self.survivors: tuple[int, ...] = ()
        self.agreements: Mapping[int, Agreement] = {}
        self.openings: dict[int, Opening] = {}

    def advertise(self) -> None:
        for index in self._present(Trip.ADVERTS):
            self.server.take_advert(index, self.clients[index].advertise(self.terms.slot))
        self.adverts = self.server.close_adverts()

    def share(self) -> None:
        for index in self._present(Trip.SHARES):
            self.sealed[index] = self.clients[index].share(self.terms, self.adverts)
            self.server.take_sealed(index, self.sealed[index])
        self.inboxes = {index: SealedForMe.inbox(rows) for index, rows in self.server.close_sealed().items()}

    def mask(self) -> None:
        for index in self._present(Trip.VECTORS):
            self.masked[index] = self.vectors[index].copy()
            self.clients[index].mask(self.inboxes[index], self.masked[index])
            self.server.take_masked(index, self.masked[index])
        self.survivors = self.server.close_masked()

    def agree(self) -> None:
        for index in self._present(Trip.CONSENT):
            self.server.take_agreement(index, self.clients[index].agree(self.survivors))
        self.agreements = self.server.close_agreements()

    def open(self) -> SecureSum:
        for index in self._present(Trip.OPENINGS):
            self.openings[index] = self.clients[index].open(self.agreements)
            self.server.take_opening(index, self.openings[index])
        return self.server.close()

    def play(self, until: Trip = Trip.DONE) -> SecureSum | None:
        """All trips before `until`; the sum if that is the end."""
        steps: list[Callable[[], SecureSum | None]] = [self.advertise, self.share, self.mask, self.agree, self.open]
        result = None
        for step in steps[:until]:
            result = step()
        return result

    def expected(self) -> Words:
        """The clear sum of the survivors' vectors, in Python's integers."""
        modulus = 1 << self.terms.ring_bits
        rows = [self.vectors[i].tolist() for i in self.survivors]
        return np.array([sum(column) % modulus for column in zip(*rows, strict=True)], self._dtype())

    def _dtype(self) -> str:
        return f"uint{self.terms.ring_bits}"

    def _present(self, trip: Trip) -> list[int]:
        gone = set(self.absent.get(trip, ()))
        self.alive = [index for index in self.alive if index not in gone]
        return self.alive


def vector_of(terms: Terms, index: int) -> Words:
    """Any vector of the ring, the same for the same site."""
    rng = np.random.default_rng((index, terms.slot.round, terms.words))
    return rng.integers(0, 1 << terms.ring_bits, terms.words, dtype=f"uint{terms.ring_bits}")


def started(sites: int = 5, until: Trip = Trip.DONE, **changes: Any) -> Slotted:
    """A slot of a fresh federation, played up to a trip."""
    fresh = federation(sites)
    slotted = Slotted(fresh, fresh.terms(**changes))
    slotted.play(until)
    return slotted


def _seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
