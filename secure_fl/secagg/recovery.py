"""From opened shares to secrets, past holders and owners that lie.

What is checked rests on what the owner signed in trip 1: a commitment to each share and one to the self seed (its mask
key has a public half, which does the same). A holder that took its pair of shares checked it against that signature,
so a share that does not fit is the holder's lie and is left out; shares that fit but open to something else are the
owner's. t true shares open a secret; where an owner dealt some from another polynomial, each run of t neighbouring
holders is tried, which gets past any single one if there are more than t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secure_fl.secagg import keys, shamir
from secure_fl.secagg.dealing import secret_commitment
from secure_fl.secagg.encoding import DIGEST
from secure_fl.secagg.errors import FalseSecrets, TooFewSites
from secure_fl.secagg.messages import Opening, Sealed

__all__ = ["Recovery"]


class Recovery:
    """The secrets of one slot, asked for one by one; `liars` (index to what it lied about) fills up on the way.

    sealed: what each owner signed. openings: by holder; their signatures and form have been judged.
    """

    def __init__(
        self, transcript: bytes, threshold: int, sealed: Mapping[int, Sealed], openings: Mapping[int, Opening]
    ) -> None:
        self._transcript, self._threshold = transcript, threshold
        self._sealed, self._openings = sealed, openings
        self.liars: dict[int, str] = {}

    def self_seed(self, owner: int) -> bytes:
        """The seed of the self mask of a survivor; raises TooFewSites or FalseSecrets."""
        committed = self._sealed[owner].secret
        opened = {h: each.self_shares[owner] for h, each in self._openings.items() if owner in each.self_shares}
        true = self._true(owner, "self share", opened)
        return self._secret(owner, true, lambda seed: secret_commitment(self._transcript, owner, seed) == committed)

    def mask_private(self, owner: int, mask_key: bytes) -> bytes:
        """The private half of the mask key of a site that dropped out; raises TooFewSites or FalseSecrets."""
        opened = {h: each.key_shares[owner] for h, each in self._openings.items() if owner in each.key_shares}
        true = self._true(owner, "key share", opened)
        return self._secret(owner, true, lambda private: keys.public_of(private) == mask_key)

    def _true(self, owner: int, kind: str, opened: Mapping[int, bytes]) -> dict[int, bytes]:
        """Shares, by holder, that are what the owner signed for; holders of others are liars."""
        part = slice(DIGEST) if kind == "self share" else slice(DIGEST, None)
        true = {}
        for holder in sorted(opened):
            found = shamir.commitment(kind, self._transcript, owner, holder, opened[holder])
            if found == self._sealed[owner].commitments[holder][part]:
                true[holder] = opened[holder]
            else:
                self.liars[holder] = f"opened a false {kind} of site {owner}"
        return true

    def _secret(self, owner: int, true: Mapping[int, bytes], is_the_one: Callable[[bytes], bool]) -> bytes:
        holders, needed = tuple(true), self._threshold
        if len(holders) < needed:
            self._refuse(owner, len(holders))
        starts = range(len(holders) if len(holders) > needed else 1)
        for start in starts:
            chosen = (holders + holders)[start : start + needed]
            secret = shamir.combine({holder: true[holder] for holder in chosen})
            if secret is not None and is_the_one(secret):
                if start:
                    self.liars[owner] = "dealt shares that do not open to one secret"
                return secret
        raise FalseSecrets(f"site {owner} dealt shares of another secret than it committed itself to", sites=[owner])

    def _refuse(self, owner: int, found: int) -> None:
        disputing = sum(owner in opening.disputed for opening in self._openings.values())
        # With `needed` honest holders, this many disputes take at least one honest holder's.
        if disputing > len(self._sealed[owner].commitments) - self._threshold:
            raise FalseSecrets(f"site {owner} dealt shares that {disputing} holders dispute", sites=[owner])
        raise TooFewSites(
            f"{found} true shares of site {owner}", why=f"{self._threshold} open its secret", sites=[owner]
        )
