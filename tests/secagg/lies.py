"""Sites that lie in messages that they sign as they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from secure_fl.secagg import keys
from secure_fl.secagg.client import Client
from secure_fl.secagg.dealing import commitments_to
from secure_fl.secagg.messages import Advert, Agreement, Opening, Sealed
from secure_fl.secagg.terms import Terms


class Liar(Client):
    """An honest site but for what it is told to falsify.

    false_commitments_to: holders whose commitments do not fit their shares. false_shares_to: holders whose shares are
    of no polynomial of ours, under commitments that fit. unreadable_to: holders whose seals do not open. false_secret:
    the commitment to the self seed is to another. opens_falsely: owners of whom a false share is opened.
    """

    false_commitments_to: Iterable[int] = ()
    false_shares_to: Iterable[int] = ()
    unreadable_to: Iterable[int] = ()
    false_secret = False
    opens_falsely: Iterable[int] = ()

    def share(self, terms: Terms, adverts: Mapping[int, Advert]) -> Sealed:
        private: bytes = self._state.share_private  # type: ignore[union-attr]
        sealed = super().share(terms, adverts)
        ciphertexts, commitments = dict(sealed.ciphertexts), dict(sealed.commitments)
        for holder in self.false_commitments_to:
            commitments[holder] = b"\5" * len(commitments[holder])
        for holder in self.false_shares_to:
            pair = bytes(66)
            secret = keys.shared_secret(private, adverts[holder].share_key)
            key = keys.sealing_key(secret, sealed.transcript, self._index, holder)
            ciphertexts[holder] = keys.seal(key, pair, sealed.transcript, self._index, holder)
            commitments[holder] = commitments_to(sealed.transcript, self._index, holder, pair)
        for holder in self.unreadable_to:
            ciphertexts[holder] = bytes(len(ciphertexts[holder]))
        secret_commitment = b"\5" * 32 if self.false_secret else sealed.secret
        return signed_sealed(
            self, replace(sealed, secret=secret_commitment, ciphertexts=ciphertexts, commitments=commitments)
        )

    def open(self, agreements: Mapping[int, Agreement]) -> Opening:
        digest: bytes = self._state.digest  # type: ignore[union-attr]
        opening = super().open(agreements)
        shares = dict(opening.self_shares), dict(opening.key_shares)
        for owner in self.opens_falsely:
            for opened in shares:
                if owner in opened:
                    opened[owner] = b"\0" + opened[owner][:-1]
        return signed_opening(self, digest, replace(opening, self_shares=shares[0], key_shares=shares[1]))


def signed_sealed(client: Client, sealed: Sealed) -> Sealed:
    """With the signature that the site itself would give it."""
    parts = sealed.transcript, client._index, sealed.secret, sealed.ciphertexts, sealed.commitments
    return replace(sealed, signature=client._sign(Sealed.statement(*parts)))


def signed_opening(client: Client, survivors: bytes, opening: Opening) -> Opening:
    """With the signature that the site itself would give it, for survivors of this digest."""
    parts = survivors, client._index, opening.self_shares, opening.key_shares, opening.disputed
    return replace(opening, signature=client._sign(Opening.statement(*parts)))


def liar(sites: Any, index: int, **lies: Any) -> Liar:
    """A site of the federation that lies in these ways."""
    client = sites.client(index, Liar)
    for lie, value in lies.items():
        assert hasattr(Liar, lie)
        setattr(client, lie, value)
    return client
