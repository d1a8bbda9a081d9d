"""Write the test vectors of secure aggregation: whole slots with every message, statement and secret, in hex.

Run `python -m tools.secagg_vectors` after a change of the protocol, which then needs another version in
`secure_fl.secagg.encoding.PROTOCOL`; tests/secagg/test_vectors.py fails until you do. The vectors are made so that
another implementation can be checked step by step: it takes `random` for its own draws and compares what follows.

Keys and draws are digests of their names: nothing here is a secret of anybody's.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.secagg import encoding, keys
from secure_fl.secagg.client import Client
from secure_fl.secagg.graph import neighbourhoods, shape_of
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.ring import Words
from secure_fl.secagg.server import SecureSum, Server
from secure_fl.secagg.shamir import split
from secure_fl.secagg.terms import Policy, Slot, Terms

__all__ = ["FOLDER", "main", "vectors"]

FOLDER = Path("tests") / "vectors" / "secagg"
_WORDS = 16


@dataclass
class _Draws:
    """A reproducible source of "random" bytes that remembers what it gave."""

    name: str
    drawn: list[bytes] = field(default_factory=list)

    def __call__(self, count: int) -> bytes:
        self.drawn.append(hashlib.shake_256(f"{self.name}/{len(self.drawn)}".encode()).digest(count))
        return self.drawn[-1]


@dataclass
class _Case:
    """One slot: who takes part, whose vector does not arrive, who falls silent after its vector."""

    name: str
    members: tuple[int, ...]
    ring_bits: int
    no_vector: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()

    def terms(self) -> Terms:
        shape = shape_of(len(self.members))
        return Terms(
            slot=Slot(self.name, 1, 0, 0),
            members=self.members,
            threshold=shape.threshold,
            neighbours=shape.neighbours,
            words=_WORDS,
            ring_bits=self.ring_bits,
            clip=1.5,
            max_weight=1000,
            model_sha256=hashlib.sha256(b"model").hexdigest(),
            settings_sha256=hashlib.sha256(b"settings").hexdigest(),
        )


_CASES = (
    _Case("three-sites", (1, 2, 7), 32),
    _Case("five-sites-lost-before-the-vector", (0, 2, 5, 9, 11), 32, no_vector=(5,)),
    _Case("five-sites-lost-after-the-vector", (0, 2, 5, 9, 11), 16, silent=(9,)),
)


class _Played:
    """A slot that was played, with all there is to tell of it."""

    def __init__(self, case: _Case) -> None:
        self.terms = case.terms()
        members = case.members
        self.identities = {i: Ed25519PrivateKey.from_private_bytes(_digest(case, "identity", i)) for i in members}
        self.roster = {i: key.public_key().public_bytes_raw() for i, key in self.identities.items()}
        self.draws = {i: _Draws(f"{case.name}/site {i}") for i in members}
        clients = {
            i: Client(i, self.identities[i].sign, self.roster, Policy(fewest=2), random=self.draws[i]) for i in members
        }
        server = Server(self.terms, self.roster)
        for i, client in clients.items():
            server.take_advert(i, client.advertise(self.terms.slot))
        self.adverts = server.close_adverts()
        self.sealed: dict[int, Sealed] = {}
        for i, client in clients.items():
            self.sealed[i] = client.share(self.terms, self.adverts)
            server.take_sealed(i, self.sealed[i])
        self.inboxes = {i: SealedForMe.inbox(rows) for i, rows in server.close_sealed().items()}
        self.vectors = {i: self._vector(case, i) for i in members}
        self.masked: dict[int, Words] = {}
        for i in (i for i in members if i not in case.no_vector):
            self.masked[i] = self.vectors[i].copy()
            clients[i].mask(self.inboxes[i], self.masked[i])
            server.take_masked(i, self.masked[i])
        survivors = server.close_masked()
        for i in (i for i in survivors if i not in case.silent):
            server.take_agreement(i, clients[i].agree(survivors))
        self.agreements = server.close_agreements()
        self.openings: dict[int, Opening] = {}
        for i in self.agreements:
            self.openings[i] = clients[i].open(self.agreements)
            server.take_opening(i, self.openings[i])
        self.result: SecureSum = server.close()

    def _vector(self, case: _Case, index: int) -> Words:
        data = hashlib.shake_256(_digest(case, "vector", index)).digest(_WORDS * self.terms.ring_bits // 8)
        return np.frombuffer(data, f"<u{self.terms.ring_bits // 8}").astype(f"uint{self.terms.ring_bits}")

    def document(self) -> dict[str, Any]:
        """Everything, bytes in hex and words as numbers."""
        survivors = Agreement.digest(self.result.transcript, self.result.survivors)
        return {
            "protocol": encoding.PROTOCOL.decode(),
            "terms": {**asdict(self.terms), "bytes": self.terms.to_bytes(), "context": self.terms.context()},
            "roster": self.roster,
            "transcript": self.result.transcript,
            "survivors": self.result.survivors,
            "survivors_digest": survivors,
            "dropped": self.result.dropped,
            "sites": {index: self._site(index, survivors) for index in self.terms.members},
            "sum": self.result.words,
        }

    def _site(self, me: int, survivors: bytes) -> dict[str, Any]:
        mask_private, share_private, self_seed, of_self, of_key = self.draws[me].drawn
        advert, sealed, holders = self.adverts[me], self.sealed[me], self.terms.members
        threshold = self.terms.threshold
        told: dict[str, Any] = {
            "random": self.draws[me].drawn,
            "identity_private": self.identities[me].private_bytes_raw(),
            "mask_private": mask_private,
            "share_private": share_private,
            "self_seed": self_seed,
            "advert": {
                "statement": Advert.statement(self.terms.slot, me, advert.mask_key, advert.share_key),
                "bytes": advert.to_bytes(),
            },
            "self_shares": split(self_seed, threshold, holders, random=lambda _: of_self),
            "key_shares": split(mask_private, threshold, holders, random=lambda _: of_key),
            "pairs": {other: self._pair(me, other) for other in holders if other != me},
            "secret_commitment": sealed.secret,
            "commitments": sealed.commitments,
            "sealed": {
                "statement": Sealed.statement(
                    sealed.transcript, me, sealed.secret, sealed.ciphertexts, sealed.commitments
                ),
                "bytes": sealed.to_bytes(),
            },
            "inbox": {sender: message.to_bytes() for sender, message in self.inboxes[me].items()},
            "vector": self.vectors[me],
        }
        if me in self.masked:
            told["masked"] = self.masked[me]
        if me in self.agreements:
            told["agreement"] = {
                "statement": Agreement.statement(me, survivors),
                "bytes": self.agreements[me].to_bytes(),
            }
        if me in self.openings:
            each = self.openings[me]
            shares = each.self_shares, each.key_shares
            told["opening"] = {
                "statement": Opening.statement(survivors, me, *shares, each.disputed),
                "bytes": each.to_bytes(),
            }
        return told

    def _pair(self, me: int, other: int) -> dict[str, bytes]:
        mask_private, share_private, *_ = self.draws[me].drawn
        theirs, transcript = self.adverts[other], self.result.transcript
        share_secret = keys.shared_secret(share_private, theirs.share_key)
        return {
            "mask_secret": keys.shared_secret(mask_private, theirs.mask_key),
            "mask_seed": keys.mask_seed(mask_private, theirs.mask_key, transcript, me, other),
            "share_secret": share_secret,
            "sealing_key": keys.sealing_key(share_secret, transcript, me, other),
            "ciphertext": self.sealed[me].ciphertexts[other],
        }


def vectors() -> dict[str, str]:
    """The text of each file, by its name."""
    transcript = hashlib.sha256(b"transcript").digest()
    graph = {"transcript": transcript, "neighbours": 14, "graph": neighbourhoods(range(40), 14, transcript)}
    documents = {case.name: _Played(case).document() for case in _CASES} | {"sparse-graph": graph}
    return {f"{name}.json": json.dumps(_plain(each), indent=1) + "\n" for name, each in documents.items()}


def _digest(case: _Case, what: str, index: int) -> bytes:
    return hashlib.sha256(f"{case.name}/{what} {index}".encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def main() -> int:
    """Rewrite this checkout's vectors."""
    folder = Path(__file__).resolve().parent.parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in vectors().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
