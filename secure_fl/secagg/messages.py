"""What sites and coordinator send each other, each with its bytes and with the statement that its sender signs.

    trip        from a site                                        to a site
    0 adverts   Advert: two public keys                            all adverts
    1 shares    Sealed: shares for each neighbour, commitments     SealedForMe from each neighbour
    2 vectors   the masked words (numeric, not here)               the survivors
    3 consent   Agreement on the survivors                         all agreements
    4 opening   Opening: one share of each owner                   —

Who signed what decides who can be blamed. An owner signs the commitments to all its shares together with their
ciphertexts, and each holder gets that signature: it can tell an owner's lie from the coordinator's, and is never asked
for a share other than the one that its owner signed for. A holder signs what it opens. Bytes are strict: one encoding
a message, each length checked, nothing behind the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from secure_fl.secagg import encoding, keys, shamir
from secure_fl.secagg.encoding import DIGEST
from secure_fl.secagg.errors import Malformed
from secure_fl.secagg.terms import Slot, Terms

__all__ = ["CIPHERTEXT", "COMMITMENTS", "Advert", "Agreement", "Opening", "Sealed", "SealedForMe", "transcript_of"]

CIPHERTEXT = 2 * shamir.SHARE + keys.TAG
"""Bytes of a sealed pair of shares: of the self seed and of the private mask key."""
COMMITMENTS = 2 * DIGEST
"""Bytes of the commitments to such a pair."""


@dataclass(frozen=True)
class Advert:
    """A site's public keys for one slot. It does not depend on the model, so that it can be sent a round ahead."""

    mask_key: bytes
    share_key: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _require(keys.KEY, self.mask_key, self.share_key)
        _require(keys.SIGNATURE, self.signature)

    @staticmethod
    def statement(slot: Slot, index: int, mask_key: bytes, share_key: bytes) -> bytes:
        """What the site signs."""
        return encoding.statement("advert", slot.to_bytes(), encoding.index_bytes(index), mask_key, share_key)

    def verify(self, slot: Slot, index: int, identity: bytes) -> bool:
        """Whether the identity signed these keys as `index`, for this slot."""
        signed = self.statement(slot, index, self.mask_key, self.share_key)
        return keys.verify(identity, signed, self.signature)

    def to_bytes(self) -> bytes:
        """The same advert, the same bytes."""
        return encoding.pack(self.mask_key, self.share_key, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Advert:
        """Raises Malformed."""
        return cls(*encoding.unpack(data, 3))


def transcript_of(terms: Terms, adverts: Mapping[int, Advert]) -> bytes:
    """Digest of the terms and of all members' keys (32 bytes): who computes the same was told the same."""
    rows = {index: advert.mask_key + advert.share_key for index, advert in adverts.items()}
    return encoding.digest("transcript", terms.context(), encoding.table(rows))


@dataclass(frozen=True)
class SealedForMe:
    """What one neighbour sealed to one recipient, with what it takes to verify the neighbour's signature over all."""

    transcript: bytes
    secret: bytes
    ciphertext: bytes
    commitments: bytes
    other_leaves: Mapping[int, bytes]
    signature: bytes

    def __post_init__(self) -> None:
        _require(DIGEST, self.transcript, self.secret)
        _require(CIPHERTEXT, self.ciphertext)
        _require(COMMITMENTS, self.commitments)
        _require_rows(DIGEST, self.other_leaves)
        _require(keys.SIGNATURE, self.signature)

    def verify(self, sender: int, recipient: int, identity: bytes) -> bool:
        """Whether the identity signed this as `sender`, for `recipient`."""
        leaves = {**self.other_leaves, recipient: _leaf(self.ciphertext, self.commitments)}
        signed = _sealed_statement(self.transcript, sender, self.secret, leaves)
        return recipient not in self.other_leaves and keys.verify(identity, signed, self.signature)

    def to_bytes(self) -> bytes:
        """The same message, the same bytes."""
        leaves = encoding.table(self.other_leaves)
        return encoding.pack(self.transcript, self.secret, self.ciphertext, self.commitments, leaves, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedForMe:
        """Raises Malformed."""
        transcript, secret, ciphertext, commitments, leaves, signature = encoding.unpack(data, 6)
        return cls(transcript, secret, ciphertext, commitments, encoding.from_table(leaves, DIGEST), signature)

    @classmethod
    def inbox(cls, rows: Mapping[int, bytes]) -> dict[int, SealedForMe]:
        """What one recipient was sealed, by sender; raises Malformed."""
        return {sender: cls.from_bytes(data) for sender, data in rows.items()}


@dataclass(frozen=True)
class Sealed:
    """An owner's shares, sealed to each neighbour, and its commitments.

    secret: commitment to the self seed. ciphertexts: by neighbour. commitments: to both shares of each holder, that is
    of each neighbour and of the owner itself, which keeps a pair of shares without sealing it.
    """

    transcript: bytes
    secret: bytes
    ciphertexts: Mapping[int, bytes]
    commitments: Mapping[int, bytes]
    signature: bytes

    def __post_init__(self) -> None:
        _require(DIGEST, self.transcript, self.secret)
        _require_rows(CIPHERTEXT, self.ciphertexts)
        _require_rows(COMMITMENTS, self.commitments)
        _require(keys.SIGNATURE, self.signature)

    @staticmethod
    def statement(
        transcript: bytes,
        owner: int,
        secret: bytes,
        ciphertexts: Mapping[int, bytes],
        commitments: Mapping[int, bytes],
    ) -> bytes:
        """What the owner signs."""
        return _sealed_statement(transcript, owner, secret, _leaves(ciphertexts, commitments))

    @cached_property
    def _leaves(self) -> encoding.Table:
        return encoding.Table(encoding.table(_leaves(self.ciphertexts, self.commitments)), DIGEST)

    def verify(self, owner: int, identity: bytes) -> bool:
        """Whether the identity signed all of this as `owner`."""
        signed = _sealed_statement(self.transcript, owner, self.secret, self._leaves)
        return keys.verify(identity, signed, self.signature)

    def inbox(self, recipients: Iterable[int]) -> dict[int, bytes]:
        """What each recipient, one of those sealed to, gets to see: the bytes of its SealedForMe.

        Not the message itself: the coordinator carries n² of them and reads none.
        """
        head, signature = encoding.pack(self.transcript, self.secret), encoding.pack(self.signature)
        rows = {}
        for recipient in recipients:
            leaves = self._leaves.without(recipient).data
            middle = encoding.pack(self.ciphertexts[recipient], self.commitments[recipient], leaves)
            rows[recipient] = head + middle + signature
        return rows

    def to_bytes(self) -> bytes:
        """The same message, the same bytes."""
        ciphertexts, commitments = encoding.table(self.ciphertexts), encoding.table(self.commitments)
        return encoding.pack(self.transcript, self.secret, ciphertexts, commitments, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sealed:
        """Raises Malformed."""
        transcript, secret, ciphertexts, commitments, signature = encoding.unpack(data, 5)
        return cls(
            transcript,
            secret,
            encoding.from_table(ciphertexts, CIPHERTEXT),
            encoding.from_table(commitments, COMMITMENTS),
            signature,
        )


@dataclass(frozen=True)
class Agreement:
    """A site's word that it opens for these survivors and for no others: their digest, signed."""

    survivors: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _require(DIGEST, self.survivors)
        _require(keys.SIGNATURE, self.signature)

    @staticmethod
    def digest(transcript: bytes, survivors: Iterable[int]) -> bytes:
        """Of a set of survivors in one slot: 32 bytes."""
        return encoding.digest("survivors", transcript, encoding.index_list(sorted(survivors)))

    @staticmethod
    def statement(index: int, survivors: bytes) -> bytes:
        """What the site `index` signs, of that digest."""
        return encoding.statement("agreement", encoding.index_bytes(index), survivors)

    def verify(self, index: int, identity: bytes) -> bool:
        """Whether the identity signed this digest as `index`; compare it with `digest` of the set that you know."""
        return keys.verify(identity, self.statement(index, self.survivors), self.signature)

    def to_bytes(self) -> bytes:
        """The same agreement, the same bytes."""
        return encoding.pack(self.survivors, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Agreement:
        """Raises Malformed."""
        return cls(*encoding.unpack(data, 2))


@dataclass(frozen=True)
class Opening:
    """One share of each owner that a holder holds shares of: of a survivor's self seed, of another's mask key.

    disputed: owners whose shares did not fit what they had signed; none of theirs is opened.
    """

    self_shares: Mapping[int, bytes]
    key_shares: Mapping[int, bytes]
    disputed: tuple[int, ...]
    signature: bytes

    def __post_init__(self) -> None:
        _require_rows(shamir.SHARE, self.self_shares)
        _require_rows(shamir.SHARE, self.key_shares)
        _require(keys.SIGNATURE, self.signature)

    @staticmethod
    def statement(
        survivors: bytes,
        holder: int,
        self_shares: Mapping[int, bytes],
        key_shares: Mapping[int, bytes],
        disputed: Iterable[int],
    ) -> bytes:
        """What the holder signs; `survivors` is the digest that it agreed to."""
        shares = encoding.table(self_shares), encoding.table(key_shares)
        parts = encoding.index_bytes(holder), *shares, encoding.index_list(disputed)
        return encoding.statement("opening", survivors, *parts)

    def verify(self, survivors: bytes, holder: int, identity: bytes) -> bool:
        """Whether the identity signed all of this as `holder`, for survivors of this digest."""
        signed = self.statement(survivors, holder, self.self_shares, self.key_shares, self.disputed)
        return keys.verify(identity, signed, self.signature)

    def to_bytes(self) -> bytes:
        """The same opening, the same bytes."""
        shares = encoding.table(self.self_shares), encoding.table(self.key_shares)
        return encoding.pack(*shares, encoding.index_list(self.disputed), self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Opening:
        """Raises Malformed."""
        self_shares, key_shares, disputed, signature = encoding.unpack(data, 4)
        return cls(
            encoding.from_table(self_shares, shamir.SHARE),
            encoding.from_table(key_shares, shamir.SHARE),
            encoding.from_index_list(disputed),
            signature,
        )


_leaf = encoding.pair_digest("leaf", widths=(CIPHERTEXT, COMMITMENTS))


def _leaves(ciphertexts: Mapping[int, bytes], commitments: Mapping[int, bytes]) -> dict[int, bytes]:
    """By holder; the owner's own pair has no ciphertext, and a ciphertext without commitments is no holder's."""
    holders = ciphertexts.keys() | commitments.keys()
    return {holder: _leaf(ciphertexts.get(holder, b""), commitments.get(holder, b"")) for holder in holders}


def _sealed_statement(transcript: bytes, owner: int, secret: bytes, leaves: Mapping[int, bytes]) -> bytes:
    return encoding.statement("sealed", transcript, encoding.index_bytes(owner), secret, encoding.table(leaves))


def _require(length: int, *values: bytes) -> None:
    for value in values:
        if len(value) != length:
            raise Malformed(f"a field has {len(value)} bytes instead of {length}")


def _require_rows(width: int, rows: Mapping[int, bytes]) -> None:
    if type(rows) is encoding.Table and rows.width == width:
        return
    _require(width, *rows.values())
