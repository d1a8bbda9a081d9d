"""How an owner deals its two secrets to its neighbours, and what a holder makes of what it is dealt.

The secrets are the seed of the owner's self mask, opened if its vector arrives, and its private mask key, opened if it
does not; whoever had both could read the vector (Bonawitz et al., CCS 2017, section 4.2). A holder gets one share of
each, in one seal; the pair is kept in one piece of 66 bytes, self share first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from secure_fl.secagg import keys, shamir
from secure_fl.secagg.errors import ForgedShares, OtherTerms
from secure_fl.secagg.graph import neighbourhoods
from secure_fl.secagg.messages import Advert, Sealed, SealedForMe, transcript_of
from secure_fl.secagg.terms import Terms

__all__ = ["Dealt", "commitments_to", "deal", "receive", "secret_commitment"]


@dataclass(frozen=True, repr=False)
class Dealt:
    """What an owner keeps: the seeds of its masks, keys that unseal by sender, and its own pair of shares."""

    transcript: bytes
    self_seed: bytes
    pair_seeds: Mapping[int, bytes]
    unsealing: Mapping[int, bytes]
    own_shares: bytes


def secret_commitment(transcript: bytes, owner: int, self_seed: bytes) -> bytes:
    """What the owner signs of its self seed; of its mask key, the public half does the same."""
    return shamir.commitment("self secret", transcript, owner, owner, self_seed)


def commitments_to(transcript: bytes, owner: int, holder: int, shares: bytes) -> bytes:
    """What the owner signs of a pair of shares: 32 bytes for each."""
    of_self = shamir.commitment("self share", transcript, owner, holder, shares[: shamir.SHARE])
    return of_self + shamir.commitment("key share", transcript, owner, holder, shares[shamir.SHARE :])


def deal(
    owner: int,
    mask_private: bytes,
    share_private: bytes,
    terms: Terms,
    adverts: Mapping[int, Advert],
    *,
    sign: Callable[[bytes], bytes],
    random: Callable[[int], bytes],
) -> tuple[Dealt, Sealed]:
    """Share both secrets among the neighbours and the owner itself; adverts are those that take part, judged.

    random is asked for 32 bytes, the self seed, and then by `shamir.split` for each polynomial, self seed's first.
    """
    transcript = transcript_of(terms, adverts)
    neighbours = neighbourhoods(adverts, terms.neighbours, transcript)[owner]
    holders = sorted((owner, *neighbours))
    self_seed = random(keys.KEY)
    of_self = shamir.split(self_seed, terms.threshold, holders, random=random)
    of_key = shamir.split(mask_private, terms.threshold, holders, random=random)
    pairs = {holder: of_self[holder] + of_key[holder] for holder in holders}
    masking, sharing = keys.loaded(mask_private), keys.loaded(share_private)
    pair_seeds, unsealing, ciphertexts = {}, {}, {}
    for other in neighbours:
        theirs = adverts[other]
        pair_seeds[other] = keys.mask_seed(masking, theirs.mask_key, transcript, owner, other)
        secret = keys.shared_secret(sharing, theirs.share_key)
        unsealing[other] = keys.sealing_key(secret, transcript, other, owner)
        sealing = keys.sealing_key(secret, transcript, owner, other)
        ciphertexts[other] = keys.seal(sealing, pairs[other], transcript, owner, other)
    committed = secret_commitment(transcript, owner, self_seed)
    commitments = {holder: commitments_to(transcript, owner, holder, pairs[holder]) for holder in holders}
    signature = sign(Sealed.statement(transcript, owner, committed, ciphertexts, commitments))
    dealt = Dealt(transcript, self_seed, pair_seeds, unsealing, pairs[owner])
    return dealt, Sealed(transcript, committed, ciphertexts, commitments, signature)


def receive(dealt: Dealt, sealed: SealedForMe, sender: int, recipient: int, identity: bytes) -> bytes | None:
    """The pair of shares that the sender dealt; None where it signed what is not a pair that it committed itself to.

    Raises:
        ForgedShares: the sender did not sign this.
        OtherTerms: it did, under another transcript.
    """
    if not sealed.verify(sender, recipient, identity):
        raise ForgedShares(f"site {sender} did not sign these shares as they stand", sites=[sender])
    transcript = dealt.transcript
    if sealed.transcript != transcript:
        raise OtherTerms(f"site {sender} was given other terms, another model or other keys", sites=[sender])
    shares = keys.unseal(dealt.unsealing[sender], sealed.ciphertext, transcript, sender, recipient)
    if shares is None or commitments_to(transcript, sender, recipient, shares) != sealed.commitments:
        return None
    return shares
