"""What a coordinator writes down of a secure sum, and what anybody with the roster can check of it later, offline.

For each slot: the terms, the signed keys, the survivors with the signatures under them, and which *kind* of share each
holder opened of each owner. Never a share: with the masked vectors they would open what the sum hides. From these,
`judge` proves without any secret that honest sites could have taken part:

    the terms are such as a site's own policy accepts, and each key is signed by its site for this very slot
    the transcript is that of the terms and the keys; a quorum signed one set of survivors under this transcript
    of no owner were both kinds of share opened, taken over all holders (Bonawitz et al., CCS 2017, section 6.1)
    no slot comes twice, no key serves two slots, and no group was opened twice in a round, unless for the same model
      and survivors: two sums of the same updates over different survivors differ by what single sites sent

It shows what was written down. A coordinator that obtained more and is silent about it needs sites that gave more, and
that honest ones do not is enforced by their own checks (`client`), not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secure_fl.secagg.errors import Malformed, SecAggError
from secure_fl.secagg.messages import Advert, Agreement, transcript_of
from secure_fl.secagg.terms import Policy, Slot, Terms

__all__ = ["Fault", "SlotEvidence", "judge"]


@dataclass(frozen=True)
class SlotEvidence:
    """One attempt at one sum. An abandoned one has what it got to: later fields are empty.

    adverts, agreements: by roster index. released: by holder and owner, of which secret a share was opened: "self" (the
    seed of the owner's own mask) or "key" (its private mask key). liars: reasons by index.
    """

    terms: Terms
    adverts: Mapping[int, Advert]
    transcript: bytes = b""
    survivors: tuple[int, ...] = ()
    agreements: Mapping[int, Agreement] = field(default_factory=dict)
    released: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    liars: Mapping[int, str] = field(default_factory=dict)

    @property
    def opened(self) -> bool:
        """Whether so many sites opened shares that the sum can have been had."""
        return len(self.released) >= self.terms.threshold

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for an event of a run record: bytes are hexadecimal."""
        return {
            "terms": self.terms.to_bytes().hex(),
            "adverts": {str(index): each.to_bytes().hex() for index, each in self.adverts.items()},
            "transcript": self.transcript.hex(),
            "survivors": list(self.survivors),
            "agreements": {str(index): each.to_bytes().hex() for index, each in self.agreements.items()},
            "released": {
                str(holder): {str(owner): kind for owner, kind in kinds.items()}
                for holder, kinds in self.released.items()
            },
            "liars": {str(index): reason for index, reason in self.liars.items()},
        }

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> SlotEvidence:
        """The reverse; other fields are ignored. Raises SecAggError where a value is not what `to_mapping` writes."""
        try:
            released = {
                int(holder): {int(owner): str(kind) for owner, kind in kinds.items()}
                for holder, kinds in plain["released"].items()
            }
            return cls(
                terms=Terms.from_bytes(bytes.fromhex(plain["terms"])),
                adverts={int(key): Advert.from_bytes(bytes.fromhex(each)) for key, each in plain["adverts"].items()},
                transcript=bytes.fromhex(plain["transcript"]),
                survivors=tuple(int(each) for each in plain["survivors"]),
                agreements={
                    int(key): Agreement.from_bytes(bytes.fromhex(each)) for key, each in plain["agreements"].items()
                },
                released=released,
                liars={int(key): str(reason) for key, reason in plain["liars"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Malformed("this is no evidence of a secure sum", why=f"{type(error).__name__}: {error}") from None


@dataclass(frozen=True, order=True)
class Fault:
    """What an honest site would not have taken part in. `sites`: whose signature or share it is about."""

    slot: str  # "round 3, attempt 0, group 0"
    what: str
    sites: tuple[int, ...] = ()


def judge(slots: Sequence[SlotEvidence], roster: Mapping[int, bytes], policy: Policy) -> list[Fault]:
    """All faults in the evidence of one run, in its order; none if it stands.

    roster: index to Ed25519 public key, as the sites know it. policy: the least that a site should have accepted.
    """
    faults: list[Fault] = []
    for slot in slots:
        for what, sites in (*_terms_faults(slot, roster, policy), *_key_faults(slot, roster)):
            faults.append(Fault(_named(slot), what, sites))
        for what, sites in (*_survivor_faults(slot, roster), *_release_faults(slot)):
            faults.append(Fault(_named(slot), what, sites))
    return [*faults, *_faults_between(slots)]


_Found = Iterable[tuple[str, tuple[int, ...]]]


def _terms_faults(slot: SlotEvidence, roster: Mapping[int, bytes], policy: Policy) -> _Found:
    try:
        policy.check(slot.terms, slot.terms.members[0], roster)
    except SecAggError as error:
        yield f"terms that no site should accept: {error.what}", error.sites


def _key_faults(slot: SlotEvidence, roster: Mapping[int, bytes]) -> _Found:
    strangers = tuple(sorted(slot.adverts.keys() - set(slot.terms.members) | slot.adverts.keys() - roster.keys()))
    if strangers:
        yield "keys of others than its members", strangers
    for index, advert in slot.adverts.items():
        if index in roster and not advert.verify(slot.terms.slot, index, roster[index]):
            yield "keys that their site did not sign for this slot", (index,)
    if slot.transcript and slot.transcript != transcript_of(slot.terms, slot.adverts):
        yield "the transcript is not that of these terms and keys", ()


def _survivor_faults(slot: SlotEvidence, roster: Mapping[int, bytes]) -> _Found:
    if not slot.survivors:
        if slot.agreements or slot.released:
            yield "shares were opened, or signatures given, without survivors", ()
        return
    survivors = set(slot.survivors)
    if len(survivors) < len(slot.survivors) or not survivors <= slot.adverts.keys():
        yield "survivors that are listed twice or never showed keys", tuple(sorted(survivors - slot.adverts.keys()))
    if len(survivors) < slot.terms.quorum:
        yield f"a sum over {len(survivors)} sites; at least {slot.terms.quorum} have to survive", ()
    agreed = Agreement.digest(slot.transcript, survivors)
    for index, agreement in slot.agreements.items():
        if index not in survivors or not agreement.verify(index, roster.get(index, b"")):
            yield "a signature under the survivors that is not that of a survivor", (index,)
        elif agreement.survivors != agreed:
            yield "a signature under other survivors", (index,)
    if slot.released and len(slot.agreements) < slot.terms.quorum:
        yield f"opened with {len(slot.agreements)} signatures; {slot.terms.quorum} are needed", ()


def _release_faults(slot: SlotEvidence) -> _Found:
    opened: dict[int, set[str]] = {}
    for kinds in slot.released.values():
        for owner, kind in kinds.items():
            opened.setdefault(owner, set()).add(kind)
    for owner, both in sorted(opened.items()):
        if len(both) > 1:
            yield "both kinds of share were opened", (owner,)
        elif both != {"self" if owner in slot.survivors else "key"}:
            yield f"a share of kind {both.pop()!r} was opened, which the survivors do not call for", (owner,)


def _faults_between(slots: Sequence[SlotEvidence]) -> list[Fault]:
    """What no slot shows alone."""
    faults: list[Fault] = []
    seen: set[Slot] = set()
    keys: set[bytes] = set()
    opened: dict[tuple[str, int, int], tuple[str, frozenset[int]]] = {}
    for slot in slots:
        name, where = _named(slot), slot.terms.slot
        if where in seen:
            faults.append(Fault(name, "the slot comes twice"))
        seen.add(where)
        about = slot.terms.model_sha256, frozenset(slot.survivors)
        if slot.opened and opened.setdefault((where.run, where.round, where.group), about) != about:
            faults.append(Fault(name, "its round was opened before, over other survivors or from another model"))
        for index, advert in slot.adverts.items():
            for key in (advert.mask_key, advert.share_key):
                if key in keys:
                    faults.append(Fault(name, "a key that was used before", (index,)))
                keys.add(key)
    return faults


def _named(slot: SlotEvidence) -> str:
    where = slot.terms.slot
    return f"round {where.round}, attempt {where.attempt}, group {where.group}"
