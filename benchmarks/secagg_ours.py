"""One round of our secure sum, both state machines in this process, with the CPU seconds of either side.

Every message goes to bytes and back, as over a wire; the time of that counts for the side that does it. Every site
encodes and masks its own vector. The sum has to be equal, word for word, to the sum of the survivors' unmasked
encodings, else the round is an error: the speed of a wrong result is of no interest.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.secagg.client import Client
from secure_fl.secagg.counters import Counters
from secure_fl.secagg.graph import Shape, threshold_of
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.ring import Ring, Vector, Words
from secure_fl.secagg.server import SecureSum, Server
from secure_fl.secagg.terms import Policy, Slot, Terms

__all__ = ["Codec", "OurCost", "complete", "our_round", "plain_s"]


class Codec(Protocol):
    """FixedPoint, or what encodes and decodes as it does."""

    @property
    def ring(self) -> Ring: ...
    @property
    def members(self) -> int: ...
    @property
    def clip(self) -> float: ...
    @property
    def max_weight(self) -> int: ...
    def encode(self, update: Vector, weight: int, out: Words, *, rounding: bytes) -> float: ...
    def decode(self, words: Words, total_weight: int) -> Vector: ...


@dataclass(frozen=True)
class OurCost:
    """CPU seconds of the coordinator and of one site (the mean over survivors), all bytes that the site which sends
    most has sent, and the mean that came out."""

    server_s: float
    client_s: float
    uplink: int
    mean: Vector


def complete(n: int) -> Shape:
    """The graph in which every site shares masks with every other: what Flower's side has at any n."""
    return Shape(n - 1, threshold_of(n))


def our_round(
    updates: Sequence[Vector], weights: Sequence[int], codec: Codec, *, dropped: int, graph: Shape | None = None
) -> OurCost:
    """All five trips, on the complete graph unless another is given.

    The last `dropped` sites fall silent after they have dealt their shares.
    """
    return _Round(updates, weights, codec, graph or complete(len(updates))).run(len(updates) - dropped)


def plain_s(updates: Sequence[Vector], weights: Sequence[int]) -> float:
    """CPU seconds of the same weighted mean in the clear, in NumPy: multiply and add in place, then divide."""
    started = time.process_time()
    total, weighted = np.zeros_like(updates[0]), np.empty_like(updates[0])
    for update, weight in zip(updates, weights, strict=True):
        np.multiply(update, np.float32(weight), out=weighted)
        total += weighted
    total /= np.float32(sum(weights))
    return time.process_time() - started


class _Round:
    def __init__(self, updates: Sequence[Vector], weights: Sequence[int], codec: Codec, graph: Shape) -> None:
        n, self._d = len(updates), updates[0].size
        self._updates, self._weights, self._codec = updates, weights, codec
        self._counters = Counters(("images",), n, codec.ring)
        self._terms = Terms(
            slot=Slot("benchmark", 1, 0, 0),
            members=tuple(range(n)),
            threshold=graph.threshold,
            neighbours=graph.neighbours,
            words=self._d + self._counters.words,
            ring_bits=codec.ring.bits,
            clip=codec.clip,
            max_weight=codec.max_weight,
            model_sha256="0" * 64,
            settings_sha256="0" * 64,
        )
        identities = [Ed25519PrivateKey.generate() for _ in range(n)]
        roster = {index: each.public_key().public_bytes_raw() for index, each in enumerate(identities)}
        policy = Policy(fewest=min(5, n))
        self._clients = [
            Client(index, each.sign, roster, policy, random=os.urandom) for index, each in enumerate(identities)
        ]
        self._server = Server(self._terms, roster)
        self._spent: dict[str | int, float] = defaultdict(float)
        self._sent: dict[int, int] = defaultdict(int)

    @contextmanager
    def _on(self, side: str | int) -> Iterator[None]:
        started = time.process_time()
        yield
        self._spent[side] += time.process_time() - started

    def run(self, survivors: int) -> OurCost:
        everyone, there = range(len(self._clients)), range(survivors)
        for i in everyone:
            with self._on(i):
                data = self._clients[i].advertise(self._terms.slot).to_bytes()
            self._take(self._server.take_advert, Advert, i, data)
        with self._on("server"):
            adverts = {i: each.to_bytes() for i, each in self._server.close_adverts().items()}
        for i in everyone:
            with self._on(i):
                shown = {j: Advert.from_bytes(each) for j, each in adverts.items()}
                data = self._clients[i].share(self._terms, shown).to_bytes()
            self._take(self._server.take_sealed, Sealed, i, data)
        with self._on("server"):
            inboxes = self._server.close_sealed()
        clear: Words = np.zeros(self._terms.words, self._codec.ring.dtype)
        vectors = {i: self._masked(i, inboxes[i], clear) for i in there}
        with self._on("server"):
            for i, data in vectors.items():
                self._server.take_masked(i, np.frombuffer(data, clear.dtype.type))
            listed = self._server.close_masked()
        for i in there:
            with self._on(i):
                data = self._clients[i].agree(listed).to_bytes()
            self._take(self._server.take_agreement, Agreement, i, data)
        with self._on("server"):
            agreements = {i: each.to_bytes() for i, each in self._server.close_agreements().items()}
        for i in there:
            with self._on(i):
                data = self._clients[i].open({j: Agreement.from_bytes(a) for j, a in agreements.items()}).to_bytes()
            self._take(self._server.take_opening, Opening, i, data)
        with self._on("server"):
            mean, opened = self._decoded(self._server.close())
        if not np.array_equal(opened.words, clear) or opened.survivors != tuple(there):
            raise RuntimeError("the secure sum is not the sum of the survivors' encodings")
        client_s = sum(self._spent[i] for i in there) / survivors
        return OurCost(self._spent["server"], client_s, max(self._sent.values()), mean)

    def _take(self, take: Any, kind: Any, index: int, data: bytes) -> None:
        self._sent[index] += len(data)
        with self._on("server"):
            take(index, kind.from_bytes(data))

    def _masked(self, i: int, inbox: Mapping[int, bytes], clear: Words) -> bytes:
        """One site's masked vector; its unmasked words are added to `clear`, untimed."""
        with self._on(i):
            words = np.empty(self._terms.words, clear.dtype)
            self._codec.encode(self._updates[i], self._weights[i], words[: self._d], rounding=os.urandom(32))
            words[self._d :] = self._counters.encode({"images": self._weights[i]})
        clear += words
        with self._on(i):
            self._clients[i].mask(SealedForMe.inbox(inbox), words)
            data = words.tobytes()
        self._sent[i] += len(data)
        return data

    def _decoded(self, opened: SecureSum) -> tuple[Vector, SecureSum]:
        total = self._counters.decode(opened.words[self._d :])["images"]
        return self._codec.decode(opened.words[: self._d], total), opened
