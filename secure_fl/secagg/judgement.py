"""What site and coordinator judge alike: keys that are advertised, and consent to a set of survivors."""

from __future__ import annotations

from secure_fl.secagg import keys
from secure_fl.secagg.errors import DuplicateKeys, ForgedAdvert, ForgedAgreement, OtherSurvivors
from secure_fl.secagg.messages import Advert, Agreement
from secure_fl.secagg.terms import Slot

__all__ = ["judge_advert", "judge_agreement"]


def judge_advert(advert: Advert, slot: Slot, index: int, identity: bytes, *, seen: set[bytes]) -> None:
    """Judge the keys of the site `index`, and enter them among the keys `seen` in this slot.

    Raises:
        ForgedAdvert, WeakKey, DuplicateKeys.
    """
    if not advert.verify(slot, index, identity):
        raise ForgedAdvert(f"site {index} did not sign these keys for this slot", sites=[index])
    own = (advert.mask_key, advert.share_key)
    for key in own:
        keys.refuse_low_order(key, index)
    if len({*own} - seen) < len(own):
        raise DuplicateKeys(f"a key of site {index} has been shown before", sites=[index])
    seen.update(own)


def judge_agreement(agreement: Agreement, survivors: bytes, index: int, identity: bytes) -> None:
    """Judge what the site `index` signed, against the digest of the survivors that we know.

    Raises:
        ForgedAgreement; OtherSurvivors, which proves that two sites were shown different survivors.
    """
    if not agreement.verify(index, identity):
        raise ForgedAgreement(f"site {index} did not sign this", sites=[index])
    if agreement.survivors != survivors:
        raise OtherSurvivors(f"site {index} signed other survivors than those we know", sites=[index])
