"""Groups are drawn by all sites together, and nothing that was said can be changed, left out or said twice."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.secagg.convening import Convener, Participant
from secure_fl.secagg.errors import (
    CommitmentChanged,
    ForeignSite,
    Malformed,
    OwnCommitmentAltered,
    RevealMismatch,
    RevealMissing,
    SecondGrouping,
    TooFewToGroup,
    WrongGroup,
)
from secure_fl.secagg.grouping import Commitment, Groups, Plan, Reveal, Transcript, commitments_digest, deal, groups_of

PLAN = Plan("run-1", 2)
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number + 1] * 32)) for number in range(9)]
ROSTER = {number: key.public_key().public_bytes_raw() for number, key in enumerate(KEYS[:7])}


def participant(index: int, random: Callable[[int], bytes] = os.urandom) -> Participant:
    return Participant(index, KEYS[index].sign, ROSTER, fewest=5, random=random)


def drawn(random: Callable[[int], bytes] = os.urandom) -> tuple[list[Participant], Transcript, Groups]:
    """An undisturbed grouping of seven sites in twos."""
    sites, convener = [participant(index, random) for index in ROSTER], Convener(PLAN, ROSTER, fewest=5)
    for index, site in enumerate(sites):
        convener.take_commitment(index, site.commit(PLAN))
    said = convener.close_commitments()
    for index, site in enumerate(sites):
        convener.take_reveal(index, site.reveal(said))
    return sites, *convener.close()


def test_all_sites_and_the_coordinator_compute_the_same_groups_from_the_bytes_that_are_sent() -> None:
    sites, transcript, groups = drawn()
    data = transcript.to_bytes()
    assert all(site.groups(data) == groups for site in sites)
    assert sorted(itertools.chain(*groups.members)) == list(range(7))
    assert [len(group) for group in groups.members] == [3, 2, 2]
    assert Transcript.from_bytes(data) == transcript
    assert len(data) == 16 + len("run-1") + 4 + 200 * 7


def test_one_other_number_gives_another_draw() -> None:
    streams = [lambda n, fixed=fixed: bytes([fixed]) * n for fixed in (1, 2)]
    assert drawn(streams[0])[2] == drawn(streams[0])[2] != drawn(streams[1])[2]


@given(st.binary(min_size=32, max_size=32), st.sets(st.integers(0, 500), min_size=2, max_size=60), st.integers(2, 9))
def test_groups_are_a_partition_into_as_many_as_fit_that_differ_by_at_most_one_site(beacon, members, size) -> None:
    if len(members) < size:
        with pytest.raises(ValueError, match="groups of"):
            deal(beacon, sorted(members), size)
        return
    groups = deal(beacon, sorted(members), size)
    assert sorted(itertools.chain(*groups)) == sorted(members)
    assert len(groups) == len(members) // size
    lengths = [len(each) for each in groups]
    assert min(lengths) >= size and max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)


def test_who_is_grouped_with_whom_is_uniform() -> None:
    draws, pairs = 3000, Counter[tuple[int, ...]]()
    for number in range(draws):
        pairs.update(deal(number.to_bytes(32, "big"), range(6), 2))
    expected = draws * 3 / 15
    # χ² with 14 degrees of freedom is over 36.1 once in a thousand times; the draws are fixed.
    assert len(pairs) == 15 and sum((seen - expected) ** 2 / expected for seen in pairs.values()) < 36.1


def first_commitment(**changes: object) -> Callable[[Transcript], Transcript]:
    return lambda t: replace(t, commitments=(replace(t.commitments[0], **changes), *t.commitments[1:]))


def first_reveal(**changes: object) -> Callable[[Transcript], Transcript]:
    return lambda t: replace(t, reveals=(replace(t.reveals[0], **changes), *t.reveals[1:]))


def resigned(transcript: Transcript) -> Transcript:
    """Site 0, or whoever holds its key, opens its commitment with another number and signs that."""
    reveal = replace(transcript.reveals[0], nonce=bytes(32))
    signature = KEYS[0].sign(reveal.statement(PLAN, commitments_digest(transcript.commitments)))
    return replace(transcript, reveals=(replace(reveal, signature=signature), *transcript.reveals[1:]))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (first_commitment(digest=bytes(32)), CommitmentChanged),
        (first_commitment(signature=bytes(64)), CommitmentChanged),
        (first_commitment(index=6), CommitmentChanged),
        (first_commitment(index=8), ForeignSite),
        (lambda t: replace(t, plan=Plan("run-2", 2)), CommitmentChanged),
        (lambda t: replace(t, plan=Plan("run-1", 3)), CommitmentChanged),
        (lambda t: replace(t, commitments=(t.commitments[1], *t.commitments[1:])), ForeignSite),
        (first_reveal(nonce=bytes(32)), RevealMismatch),
        (first_reveal(signature=bytes(64)), RevealMismatch),
        (resigned, RevealMismatch),
        (first_reveal(index=8), ForeignSite),
        (lambda t: replace(t, reveals=(t.reveals[1], *t.reveals[1:])), RevealMissing),
    ],
)
def test_a_transcript_in_which_anything_was_changed_is_refused_by_name(change, refusal) -> None:
    with pytest.raises(refusal):
        groups_of(change(drawn()[1]), ROSTER, fewest=5)


def test_reveals_over_other_commitments_do_not_add_up_to_a_grouping() -> None:
    # The coordinator shows the commitment of site 6 to half of the sites only.
    sites = [participant(index) for index in ROSTER]
    said = tuple(site.commit(PLAN) for site in sites)
    told = tuple(site.reveal(said[:6] if index < 3 else said) for index, site in enumerate(sites))
    for shown in (Transcript(PLAN, said, told), Transcript(PLAN, said[:6], told[:6])):
        with pytest.raises(RevealMismatch, match="not revealed over these"):
            groups_of(shown, ROSTER, fewest=5)


def test_a_site_does_not_reveal_before_it_has_committed_or_where_its_own_commitment_is_another() -> None:
    site, others = participant(0), [participant(index).commit(PLAN) for index in range(1, 7)]
    with pytest.raises(SecondGrouping, match="not agreed"):
        site.reveal(others)
    own = site.commit(PLAN)
    for shown in ([replace(own, digest=bytes(32)), *others], others):
        with pytest.raises(OwnCommitmentAltered):
            site.reveal(shown)
    with pytest.raises(CommitmentChanged):
        site.reveal([own, replace(others[0], digest=bytes(32)), *others[1:]])
    assert site.reveal([own, *others]).index == 0


def test_a_site_does_not_take_part_when_most_others_are_left_out() -> None:
    # One honest site among accomplices of the coordinator would be a group of its own.
    sites = [participant(index) for index in range(4)]
    said = [site.commit(PLAN) for site in sites]
    with pytest.raises(TooFewToGroup, match="at least 5"):
        sites[0].reveal(said)
    convener = Convener(PLAN, ROSTER, fewest=5)
    convener.take_commitment(0, said[0])
    with pytest.raises(TooFewToGroup):
        convener.close_commitments()


def test_a_site_takes_part_in_one_grouping_a_run() -> None:
    sites, transcript, _ = drawn()
    site, data = sites[0], transcript.to_bytes()
    site.groups(data)
    with pytest.raises(SecondGrouping):
        site.commit(Plan("run-1", 3))
    with pytest.raises(SecondGrouping):
        site.reveal(transcript.commitments[:6])
    with pytest.raises(SecondGrouping):
        site.groups(drawn()[1].to_bytes())
    unaware = participant(0)
    unaware.commit(PLAN)
    unaware.reveal([unaware.commit(PLAN), *transcript.commitments[1:]])
    with pytest.raises(SecondGrouping):
        unaware.groups(data)


def test_a_site_that_is_asked_the_same_again_says_the_same_again() -> None:
    sites, transcript, _ = drawn()
    assert sites[0].commit(PLAN) == transcript.commitments[0]
    assert sites[0].reveal(transcript.commitments) == transcript.reveals[0]


def test_a_process_that_was_started_anew_knows_its_groups_from_its_own_signatures() -> None:
    _, transcript, groups = drawn()
    assert participant(3).groups(transcript.to_bytes()) == groups
    roster = {**ROSTER, 7: KEYS[7].public_key().public_bytes_raw()}
    newcomer = Participant(7, KEYS[7].sign, roster, fewest=5, random=os.urandom)
    with pytest.raises(ForeignSite, match="in no group"):
        newcomer.groups(transcript.to_bytes())


def test_the_coordinator_takes_from_each_site_only_its_own_words() -> None:
    convener = Convener(PLAN, ROSTER, fewest=5)
    commitment = participant(0).commit(PLAN)
    with pytest.raises(ForeignSite, match="commits itself as"):
        convener.take_commitment(1, commitment)
    with pytest.raises(CommitmentChanged):
        convener.take_commitment(0, replace(commitment, digest=bytes(32)))
    with pytest.raises(ForeignSite, match="reveals as"):
        convener.take_reveal(1, Reveal(0, bytes(32), bytes(64)))


def test_whoever_withholds_ends_the_grouping_and_nothing_else() -> None:
    convener, sites = Convener(PLAN, ROSTER, fewest=5), [participant(index) for index in ROSTER]
    for index, site in enumerate(sites):
        convener.take_commitment(index, site.commit(PLAN))
    said = convener.close_commitments()
    for index, site in enumerate(sites[:6]):
        convener.take_reveal(index, site.reveal(said))
    with pytest.raises(RevealMissing, match="site 6"):
        convener.close()


GROUPS = Groups(((0, 3, 4), (1, 2)))


@pytest.mark.parametrize(
    ("number", "members"),
    [(1, (0, 3, 4)), (0, (0, 3, 4, 1)), (0, (3, 4)), (0, (0,)), (0, (0, 0)), (1, (1, 2)), (2, (0, 3))],
)
def test_a_sum_over_others_than_the_own_group_is_refused(number, members) -> None:
    with pytest.raises(WrongGroup):
        GROUPS.check(0, number, members, fewest=2)


def test_a_group_may_miss_some_of_its_members() -> None:
    GROUPS.check(0, 0, (0, 3, 4), fewest=2)
    GROUPS.check(0, 0, (0, 4), fewest=2)
    with pytest.raises(WrongGroup, match="at least 3"):
        GROUPS.check(0, 0, (0, 4), fewest=3)


@pytest.mark.parametrize(
    "data",
    [b"", b"123", bytes(8), bytes(99), drawn()[1].to_bytes()[:-1], drawn()[1].to_bytes() + b"0"],
    ids=["empty", "short", "no run", "odd", "cut", "longer"],
)
def test_bytes_that_are_not_a_grouping_are_refused(data) -> None:
    for kind in (Transcript, Commitment, Reveal):
        with pytest.raises(Malformed):
            kind.from_bytes(data)


@pytest.mark.parametrize(("run", "size"), [("", 2), ("x" * 256, 2), ("run", 1)])
def test_a_plan_names_its_run_and_hides_each_site_among_others(run, size) -> None:
    with pytest.raises(ValueError, match="groups of"):
        Plan(run, size)
