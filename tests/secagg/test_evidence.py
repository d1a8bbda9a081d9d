"""The evidence of honest sums stands; each thing that a coordinator could have done otherwise is a fault by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secure_fl.secagg.errors import Malformed
from secure_fl.secagg.evidence import SlotEvidence, judge
from secure_fl.secagg.messages import Agreement
from secure_fl.secagg.terms import Policy, Slot
from tests.secagg.witnessed import Federation

SITES, WORDS = 5, 16


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation(SITES)


@pytest.fixture(scope="module")
def rounds(federation: Federation) -> list[SlotEvidence]:
    """Two rounds; in the second, site 3 drops out after it has shared."""
    vectors = [np.full(WORDS, index, np.uint32) for index in range(SITES)]
    return [
        federation.sum(vectors, Slot("run", 1, 0, 0)).evidence,
        federation.sum(vectors, Slot("run", 2, 0, 0), silent=[3]).evidence,
    ]


def faults(federation: Federation, *slots: SlotEvidence) -> list[str]:
    return [each.what for each in judge(slots, federation.roster, federation.policy)]


def test_honest_rounds_stand_with_and_without_a_site_that_dropped_out(
    federation: Federation, rounds: list[SlotEvidence]
) -> None:
    assert faults(federation, *rounds) == []
    assert rounds[1].survivors == (0, 1, 2, 4) and rounds[1].opened
    kinds = {owner: kind for kinds in rounds[1].released.values() for owner, kind in kinds.items()}
    assert kinds == {0: "self", 1: "self", 2: "self", 3: "key", 4: "self"}


def test_evidence_goes_through_json_and_back_and_holds_no_share(rounds: list[SlotEvidence]) -> None:
    for slot in rounds:
        text = json.dumps(slot.to_mapping())
        assert SlotEvidence.from_mapping(json.loads(text)) == slot
        assert len(text) < 6_000  # of five sites


def altered(byte: bytes) -> bytes:
    return byte[:-1] + bytes([byte[-1] ^ 1])


def other_survivors(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, survivors=(0, 1, 2, 3))


def both_kinds(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, released={**slot.released, 2: {**slot.released[2], 1: "key"}})


def key_of_a_survivor(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, released={holder: {**kinds, 1: "key"} for holder, kinds in slot.released.items()})


def forged_advert(slot: SlotEvidence) -> SlotEvidence:
    advert = replace(slot.adverts[2], mask_key=altered(slot.adverts[2].mask_key))
    return replace(slot, adverts={**slot.adverts, 2: advert})


def swapped_adverts(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, adverts={**slot.adverts, 1: slot.adverts[2], 2: slot.adverts[1]})


def forged_agreement(slot: SlotEvidence) -> SlotEvidence:
    agreement = replace(slot.agreements[1], signature=altered(slot.agreements[1].signature))
    return replace(slot, agreements={**slot.agreements, 1: agreement})


def too_few_agreements(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, agreements={index: slot.agreements[index] for index in (0, 1, 2)})


def other_model(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, terms=replace(slot.terms, model_sha256="0" * 64))


def lower_threshold(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, terms=replace(slot.terms, threshold=3))


def no_survivors(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, survivors=())


def few_survivors(slot: SlotEvidence) -> SlotEvidence:
    return replace(slot, survivors=(0, 1))


@pytest.mark.parametrize(
    ("alter", "fault"),
    [
        (other_survivors, "a signature under other survivors"),
        (both_kinds, "both kinds of share were opened"),
        (key_of_a_survivor, "a share of kind 'key' was opened, which the survivors do not call for"),
        (forged_advert, "keys that their site did not sign for this slot"),
        (swapped_adverts, "keys that their site did not sign for this slot"),
        (forged_agreement, "a signature under the survivors that is not that of a survivor"),
        (too_few_agreements, "opened with 3 signatures; 4 are needed"),
        (other_model, "the transcript is not that of these terms and keys"),
        (lower_threshold, "terms that no site should accept: 3 of 5 holders open a secret of one of 5 members"),
        (no_survivors, "shares were opened, or signatures given, without survivors"),
        (few_survivors, "a sum over 2 sites; at least 4 have to survive"),
    ],
)
def test_each_alteration_is_a_fault_by_name(
    federation: Federation, rounds: list[SlotEvidence], alter: Callable[[SlotEvidence], SlotEvidence], fault: str
) -> None:
    assert fault in faults(federation, alter(rounds[0]))


def test_signatures_of_other_identities_do_not_stand(federation: Federation, rounds: list[SlotEvidence]) -> None:
    found = judge(rounds, Federation(SITES, seed=9).roster, federation.policy)
    assert {each.sites for each in found if "keys" in each.what} == {(index,) for index in range(SITES)}


def test_a_site_outside_of_the_roster_is_named(federation: Federation, rounds: list[SlotEvidence]) -> None:
    roster = {index: key for index, key in federation.roster.items() if index != 4}
    found = judge(rounds[:1], roster, federation.policy)
    assert ("keys of others than its members", (4,)) in {(each.what, each.sites) for each in found}


def test_the_same_slot_twice_and_the_same_keys_twice_are_faults(
    federation: Federation, rounds: list[SlotEvidence]
) -> None:
    found = faults(federation, rounds[0], rounds[0])
    assert "the slot comes twice" in found and found.count("a key that was used before") == 2 * SITES


def test_a_round_that_is_opened_again_over_other_survivors_is_a_fault_and_over_the_same_is_not(
    federation: Federation, rounds: list[SlotEvidence]
) -> None:
    vectors = [np.zeros(WORDS, np.uint32)] * SITES
    again = Federation(SITES)
    first = again.sum(vectors, Slot("run", 1, 1, 0)).evidence
    other = Federation(SITES, seed=0)
    second = other.sum(vectors, Slot("run", 1, 2, 0), silent=[0]).evidence
    wanted = "its round was opened before, over other survivors or from another model"
    assert wanted not in faults(federation, rounds[0], first)
    assert wanted in faults(federation, rounds[0], second)


def test_an_abandoned_slot_stands_with_what_it_got_to(federation: Federation, rounds: list[SlotEvidence]) -> None:
    slot = rounds[0]
    given_up = SlotEvidence(slot.terms, slot.adverts, slot.transcript)
    assert faults(federation, given_up) == []
    unopened = replace(slot, released={})
    assert not unopened.opened and faults(federation, unopened) == []


def test_the_policy_is_the_judges_own(federation: Federation, rounds: list[SlotEvidence]) -> None:
    found = judge(rounds[:1], federation.roster, Policy(fewest=6))
    assert [each.what for each in found] == ["terms that no site should accept: a sum over 5 members"]
    assert found[0].slot == "round 1, attempt 0, group 0"


@pytest.mark.parametrize("field", ["terms", "adverts", "survivors", "agreements", "released", "transcript"])
def test_what_is_no_evidence_is_refused(rounds: list[SlotEvidence], field: str) -> None:
    plain = rounds[0].to_mapping()
    for wrong in (None, "zz", [["x"]], 7):
        with pytest.raises(Malformed):
            SlotEvidence.from_mapping({**plain, field: wrong})
    with pytest.raises(Malformed):
        SlotEvidence.from_mapping({key: value for key, value in plain.items() if key != field})


def test_an_agreement_is_over_the_survivors_in_any_order(rounds: list[SlotEvidence]) -> None:
    slot = rounds[0]
    assert Agreement.digest(slot.transcript, [4, 2, 0, 1, 3]) == slot.agreements[0].survivors
