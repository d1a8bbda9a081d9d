"""The frozen vectors are what our code makes, and enough for another team: here they are recomputed without our code.

`Another` follows the protocol's description with hashlib, hmac and the primitives of `cryptography` only; what it
computes from the draws of each site has to be what the vectors say, byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tools.secagg_vectors import FOLDER, vectors

ROOT = Path(__file__).resolve().parents[2]
P = 2**256 + 297
MADE = vectors()
SLOTS = [name for name in MADE if name != "sparse-graph.json"]


def read(name: str) -> Any:
    return json.loads((ROOT / FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MADE)
def test_our_code_makes_the_frozen_vectors_byte_for_byte(name: str) -> None:
    assert (ROOT / FOLDER / name).read_text(encoding="utf-8") == MADE[name]


def test_there_are_no_other_vectors() -> None:
    assert {path.name for path in (ROOT / FOLDER).iterdir()} == set(MADE)


def pack(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def statement(label: bytes, *parts: bytes) -> bytes:
    return pack(b"secure-fl secagg v1", label, *parts)


def digest(label: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(statement(label, *parts)).digest()


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def rows(table: dict[int, bytes]) -> bytes:
    return b"".join(u32(index) + table[index] for index in sorted(table))


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def stream(seed: bytes, words: int, width: int) -> list[int]:
    encryptor = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    data = encryptor.update(bytes(words * width))
    return [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]


class Another:
    """Another implementation of a site and of the coordinator's arithmetic, fed from one file of vectors."""

    def __init__(self, document: Any) -> None:
        self.terms = document["terms"]
        self.members: list[int] = self.terms["members"]
        self.sites = {index: document["sites"][str(index)] for index in self.members}
        self.document = document
        self.private = {i: [bytes.fromhex(draw) for draw in site["random"]] for i, site in self.sites.items()}
        self.identity = {
            i: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(site["identity_private"]))
            for i, site in self.sites.items()
        }
        self.slot = self.encoded_slot()
        self.mask_key, self.share_key = ({i: self.public(i, which) for i in self.members} for which in (0, 1))
        keys = {i: self.mask_key[i] + self.share_key[i] for i in self.members}
        self.transcript = digest(b"transcript", digest(b"context", self.encoded_terms()), rows(keys))

    def encoded_slot(self) -> bytes:
        slot = self.terms["slot"]
        numbers = (struct.pack(">Q", slot[each]) for each in ("round", "attempt", "group"))
        return pack(slot["run"].encode(), *numbers)

    def encoded_terms(self) -> bytes:
        names = ("threshold", "neighbours", "words", "ring_bits", "max_weight")
        numbers = [struct.pack(">Q", self.terms[each]) for each in names]
        digests = [bytes.fromhex(self.terms[each]) for each in ("model_sha256", "settings_sha256")]
        return pack(self.slot, u32(*self.members), *numbers, struct.pack(">d", self.terms["clip"]), *digests)

    def public(self, index: int, which: int) -> bytes:
        return X25519PrivateKey.from_private_bytes(self.private[index][which]).public_key().public_bytes_raw()

    def agreed(self, me: int, other: int, which: int) -> bytes:
        theirs = (self.mask_key, self.share_key)[which][other]
        mine = X25519PrivateKey.from_private_bytes(self.private[me][which])
        return mine.exchange(X25519PublicKey.from_public_bytes(theirs))

    def mask_seed(self, me: int, other: int) -> bytes:
        low, high = sorted((me, other))
        return hkdf(self.agreed(me, other, 0), self.transcript, statement(b"mask", u32(low, high)))

    def sealing_key(self, me: int, other: int) -> bytes:
        return hkdf(self.agreed(me, other, 1), self.transcript, statement(b"seal", u32(me, other)))

    def shares(self, me: int, which: int) -> dict[int, bytes]:
        """Of the self seed (0) or of the private mask key (1)."""
        secret, drawn = (self.private[me][2], self.private[me][0])[which], self.private[me][3 + which]
        coefficients = [int.from_bytes(drawn[at : at + 48], "big") for at in range(0, len(drawn), 48)]
        assert len(coefficients) == self.terms["threshold"] - 1
        polynomial = [int.from_bytes(secret, "big"), *coefficients]
        return {
            holder: (sum(a * pow(holder + 1, k, P) for k, a in enumerate(polynomial)) % P).to_bytes(33, "big")
            for holder in self.members
        }

    def sealed(self, me: int) -> tuple[bytes, bytes, dict[int, bytes], dict[int, bytes]]:
        """Statement, commitment to the seed, ciphertexts, commitments to shares."""
        of_self, of_key = self.shares(me, 0), self.shares(me, 1)
        ciphertexts, commitments = {}, {}
        for holder in self.members:
            labelled = ((b"self share", of_self), (b"key share", of_key))
            commitments[holder] = b"".join(
                digest(label, self.transcript, u32(me, holder), shares[holder]) for label, shares in labelled
            )
            if holder != me:
                both, aad = of_self[holder] + of_key[holder], self.transcript + u32(me, holder)
                ciphertexts[holder] = AESGCM(self.sealing_key(me, holder)).encrypt(bytes(12), both, aad)
        leaves = {h: digest(b"leaf", ciphertexts.get(h, b""), commitments[h]) for h in self.members}
        committed = digest(b"self secret", self.transcript, u32(me, me), self.private[me][2])
        signed = statement(b"sealed", self.transcript, u32(me), committed, rows(leaves))
        return signed, committed, ciphertexts, commitments

    def masked(self, me: int) -> list[int]:
        width, words = self.terms["ring_bits"] // 8, self.terms["words"]
        values = list(self.sites[me]["vector"])
        streams = [(1, self.private[me][2])]
        streams += [(1 if me < other else -1, self.mask_seed(me, other)) for other in self.members if other != me]
        for sign, seed in streams:
            values = [v + sign * m for v, m in zip(values, stream(seed, words, width), strict=True)]
        return [value % 2 ** self.terms["ring_bits"] for value in values]


@pytest.mark.parametrize("name", SLOTS)
def test_another_implementation_comes_to_the_same_keys_and_signatures(name: str) -> None:
    other = Another(read(name))
    assert other.encoded_terms().hex() == other.terms["bytes"]
    assert digest(b"context", other.encoded_terms()).hex() == other.terms["context"]
    assert other.transcript.hex() == other.document["transcript"]
    for me, site in other.sites.items():
        assert other.document["roster"][str(me)] == other.identity[me].public_key().public_bytes_raw().hex()
        signed = statement(b"advert", other.slot, u32(me), other.mask_key[me], other.share_key[me])
        assert signed.hex() == site["advert"]["statement"]
        advert = pack(other.mask_key[me], other.share_key[me], other.identity[me].sign(signed))
        assert advert.hex() == site["advert"]["bytes"]


@pytest.mark.parametrize("name", SLOTS)
def test_another_implementation_comes_to_the_same_shares_and_seals(name: str) -> None:
    other = Another(read(name))
    for me, site in other.sites.items():
        for which, field in ((0, "self_shares"), (1, "key_shares")):
            assert {str(h): share.hex() for h, share in other.shares(me, which).items()} == site[field]
        signed, committed, ciphertexts, commitments = other.sealed(me)
        assert signed.hex() == site["sealed"]["statement"]
        signature = other.identity[me].sign(signed)
        sealed = pack(other.transcript, committed, rows(ciphertexts), rows(commitments), signature)
        assert sealed.hex() == site["sealed"]["bytes"]
        for peer, pair in site["pairs"].items():
            assert pair["mask_seed"] == other.mask_seed(me, int(peer)).hex()
            assert pair["sealing_key"] == other.sealing_key(me, int(peer)).hex()
            assert pair["ciphertext"] == ciphertexts[int(peer)].hex()
            leaves = {h: digest(b"leaf", ciphertexts.get(h, b""), commitments[h]) for h in other.members}
            del leaves[int(peer)]
            shown = (ciphertexts[int(peer)], commitments[int(peer)], rows(leaves), signature)
            assert pack(other.transcript, committed, *shown).hex() == other.sites[int(peer)]["inbox"][str(me)]


@pytest.mark.parametrize("name", SLOTS)
def test_another_implementation_comes_to_the_same_masks_openings_and_sum(name: str) -> None:
    other = Another(read(name))
    document, modulus = other.document, 2 ** other.terms["ring_bits"]
    survivors = document["survivors"]
    agreed = digest(b"survivors", other.transcript, u32(*survivors))
    assert agreed.hex() == document["survivors_digest"]
    for me, site in other.sites.items():
        if me in survivors:
            assert other.masked(me) == site["masked"]
        assert ("opening" in site) == ("agreement" in site)
        if "agreement" in site:
            signed = statement(b"agreement", u32(me), agreed)
            assert pack(agreed, other.identity[me].sign(signed)).hex() == site["agreement"]["bytes"]
            of_self = {owner: other.shares(owner, 0)[me] for owner in survivors}
            of_key = {owner: other.shares(owner, 1)[me] for owner in document["dropped"]}
            signed = statement(b"opening", agreed, u32(me), rows(of_self), rows(of_key), b"")
            opening = pack(rows(of_self), rows(of_key), b"", other.identity[me].sign(signed))
            assert opening.hex() == site["opening"]["bytes"]
    columns = zip(*(other.sites[me]["vector"] for me in survivors), strict=True)
    assert document["sum"] == [sum(column) % modulus for column in columns]


def test_both_ways_of_dropping_out_are_there() -> None:
    before, after = (read(f"five-sites-lost-{when}-the-vector.json") for when in ("before", "after"))
    assert (before["dropped"], len(before["survivors"])) == ([5], 4)
    assert (after["dropped"], len(after["survivors"])) == ([], 5)
    assert [index for index, site in after["sites"].items() if "opening" not in site] == ["9"]


def test_another_implementation_draws_the_same_sparse_graph() -> None:
    document = read("sparse-graph.json")
    transcript, half = bytes.fromhex(document["transcript"]), document["neighbours"] // 2
    circle = sorted(range(40), key=lambda index: digest(b"place", transcript, u32(index)))
    for at, index in enumerate(circle):
        near = [circle[(at + step) % 40] for step in range(-half, half + 1) if step]
        assert document["graph"][str(index)] == sorted(near)
