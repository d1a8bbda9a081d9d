"""The same attacks against ours: what a server asks, and the named error by which the site refuses.

A site of ours has one list of survivors, not one of active and one of dead, so that nobody can be in both. What is left
to a server is to tell the victim's holders two stories; and it can show keys of its own, signed by itself, under the
name of a site or as a stranger's. Each function returns the codes of the refusals, or "" if one request was answered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_, or_

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.secagg import keys
from secure_fl.secagg.client import Client
from secure_fl.secagg.errors import SecAggError
from secure_fl.secagg.graph import threshold_of
from secure_fl.secagg.messages import Advert, SealedForMe
from secure_fl.secagg.terms import Policy, Slot, Terms

__all__ = [
    "Sites",
    "ask_for_both",
    "ask_twice",
    "invent_neighbours",
    "mask_seeds",
    "refusal_of",
    "sites_of",
    "varying_bits",
]

_WORDS = 1_000
_SLOT = Slot("attacked", 1, 0, 0)


@dataclass(frozen=True)
class Sites:
    """Honest sites by index, the terms of their sum, and what each is signed by."""

    clients: Mapping[int, Client]
    terms: Terms
    identities: Mapping[int, Ed25519PrivateKey]

    def advertised(self) -> dict[int, Advert]:
        """Keys of all sites."""
        return {index: client.advertise(self.terms.slot) for index, client in self.clients.items()}

    def run_until_masked(self, vectors: Mapping[int, np.ndarray]) -> None:
        """The trips up to the masked vectors with an honest server; masks are added in place."""
        adverts = self.advertised()
        sealed = {index: client.share(self.terms, adverts) for index, client in self.clients.items()}
        for index, client in self.clients.items():
            others = [owner for owner in sealed if owner != index]
            client.mask(
                SealedForMe.inbox({owner: sealed[owner].inbox([index])[index] for owner in others}), vectors[index]
            )


def sites_of(number: int) -> Sites:
    """So many sites on a roster, and terms for all of them."""
    identities = {index: Ed25519PrivateKey.generate() for index in range(number)}
    roster = {index: key.public_key().public_bytes_raw() for index, key in identities.items()}
    digest = hashlib.sha256(b"model").hexdigest()
    members = tuple(range(number))
    terms = Terms(_SLOT, members, threshold_of(number), number - 1, _WORDS, 32, 1.0, 1, digest, digest)
    policy = Policy(fewest=number)
    clients = {index: Client(index, key.sign, roster, policy, random=os.urandom) for index, key in identities.items()}
    return Sites(clients, terms, identities)


def ask_for_both() -> str:
    """Half of the sites are told that the victim survived, half that it did not; each half has the others' signatures.

    With five sites the threshold is four: both stories would need four signatures, and no honest site signs two.
    """
    sites = sites_of(5)
    sites.run_until_masked({index: np.zeros(_WORDS, np.uint32) for index in sites.clients})
    victim, told = 0, {1: True, 2: True, 3: False, 4: False}
    agreements = {
        index: sites.clients[index].agree([each for each in range(5) if survived or each != victim])
        for index, survived in told.items()
    }
    return refusal_of(*(lambda index=index: sites.clients[index].open(agreements) for index in told))


def ask_twice() -> str:
    """A site that has opened one share of each owner is asked to agree to another story, and to open again."""
    sites = sites_of(5)
    sites.run_until_masked({index: np.zeros(_WORDS, np.uint32) for index in sites.clients})
    agreements = {index: client.agree([0, 1, 2, 3]) for index, client in sites.clients.items() if index < 4}
    sites.clients[1].open(agreements)
    first, second = sites.clients[1], sites.clients[2]
    return refusal_of(
        lambda: first.agree([1, 2, 3, 4]), lambda: first.open(agreements), lambda: second.agree([1, 2, 3, 4])
    )


def invent_neighbours() -> str:
    """The victim is shown the server's keys: under the others' names, signed by the server, and as strangers' keys."""
    server = Ed25519PrivateKey.generate()
    under_their_names = sites_of(5)
    adverts = under_their_names.advertised()
    invented = {index: _invented(server, index) for index in range(1, 5)}
    victim = under_their_names.clients[0]
    first = refusal_of(lambda: victim.share(under_their_names.terms, {0: adverts[0], **invented}))
    with_strangers = sites_of(5)
    own = with_strangers.clients[0].advertise(_SLOT)
    strangers = {index: _invented(server, index) for index in range(5, 9)}
    terms = replace(with_strangers.terms, members=(0, *strangers))
    second = refusal_of(lambda: with_strangers.clients[0].share(terms, {0: own, **strangers}))
    return f"{first}, {second}" if first and second else ""


def _invented(server: Ed25519PrivateKey, index: int) -> Advert:
    mask_key, share_key = keys.public_of(os.urandom(32)), keys.public_of(os.urandom(32))
    return Advert(mask_key, share_key, server.sign(Advert.statement(_SLOT, index, mask_key, share_key)))


def mask_seeds(number: int) -> list[bytes]:
    """Seeds of the pairwise mask of two sites, in so many slots."""
    transcript, made = os.urandom(32), []
    for _ in range(number):
        mine, theirs = os.urandom(32), os.urandom(32)
        made.append(keys.mask_seed(mine, keys.public_of(theirs), transcript, 0, 1))
    return made


def varying_bits(seeds: Sequence[bytes]) -> int:
    """How many bit positions are not the same in all seeds."""
    numbers = [int.from_bytes(seed, "big") for seed in seeds]
    return (reduce(or_, numbers) & ~reduce(and_, numbers)).bit_count()


def refusal_of(*asks: Callable[[], object]) -> str:
    """The codes of the refusals of all of these; "" if one of them was answered."""
    codes = []
    for ask in asks:
        try:
            ask()
        except SecAggError as refusal:
            codes.append(refusal.code)
        else:
            return ""
    return ", ".join(dict.fromkeys(codes))
