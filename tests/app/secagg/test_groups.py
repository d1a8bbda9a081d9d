"""A site takes part in one draw a run, and adds up with nobody but those whom it was drawn with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.app.identity import Roster, RosterEntry
from secure_fl.app.secagg.groups import COMMIT, REVEAL, Draw, GroupMember, groups_on_record
from secure_fl.config import RunConfig
from secure_fl.secagg.convening import Convener
from secure_fl.secagg.errors import (
    Malformed,
    OwnCommitmentAltered,
    SecondGrouping,
    TooFewMembers,
    TooFewToGroup,
    WrongGroup,
)
from secure_fl.secagg.graph import shape_of
from secure_fl.secagg.grouping import Plan, Transcript, groups_of
from secure_fl.secagg.terms import Slot, Terms

from ..conftest import signer_of

RUN, N = "20261124-000000-abcd", 8
ROSTER = Roster(tuple(RosterEntry(f"site-{i}", i, signer_of(i).public_hex, "", "") for i in range(N)))
KEYS = {entry.index: bytes.fromhex(entry.identity_key) for entry in ROSTER.entries}
DRAW = Draw(RUN, 2, N)
CONFIG = RunConfig(sites=N, secagg="grouped", secagg_group_size=2, defense="median", byzantine=1)


def order(kind: str, **fields: Any) -> Message:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
    return Message(RecordDict({"secagg": ConfigRecord(fields)}), dst_node_id=1000, message_type=kind, group_id="0")


def asked(run: str = RUN, size: int = 2, sites: int = N) -> Message:
    return order(COMMIT, run=run, size=size, sites=sites)


def member(index: int) -> GroupMember:
    return GroupMember(index, signer_of(index).sign)


def drawn() -> tuple[list[GroupMember], Transcript]:
    sites, convener = [member(index) for index in range(N)], Convener(DRAW.plan, KEYS, fewest=DRAW.fewest)
    for index, site in enumerate(sites):
        convener.take_commitment(index, site.commit(asked(), ROSTER, fewest=2))
    shown = [each.to_bytes() for each in convener.close_commitments()]
    for index, site in enumerate(sites):
        convener.take_reveal(index, site.reveal(order(REVEAL, run=RUN, commitments=shown)))
    return sites, convener.close()[0]


def terms(members: tuple[int, ...], group: int, run: str = RUN) -> Terms:
    shape = shape_of(len(members))
    return Terms(
        slot=Slot(run, 1, 1, group),
        members=members,
        threshold=shape.threshold,
        neighbours=shape.neighbours,
        words=10,
        ring_bits=32,
        clip=5.0,
        max_weight=10,
        model_sha256="0" * 64,
        settings_sha256="0" * 64,
    )


def test_each_site_accepts_its_own_group_and_no_other() -> None:
    sites, transcript = drawn()
    proof = transcript.to_bytes()
    groups = groups_of_file(proof)
    for number, members in enumerate(groups):
        for index in range(N):
            if index in members:
                sites[index].check(terms(members, number), proof, CONFIG, ROSTER)
            else:
                with pytest.raises(WrongGroup):
                    sites[index].check(terms(members, number), proof, CONFIG, ROSTER)
    mixed = tuple(sorted((groups[0][0], groups[1][0])))
    with pytest.raises(WrongGroup):
        sites[groups[0][0]].check(terms(mixed, 0), proof, CONFIG, ROSTER)


def groups_of_file(proof: bytes) -> tuple[tuple[int, ...], ...]:
    return groups_of(Transcript.from_bytes(proof), KEYS, fewest=DRAW.fewest).members


def test_the_terms_must_be_of_the_run_and_the_size_that_were_drawn_for() -> None:
    sites, transcript = drawn()
    proof = transcript.to_bytes()
    group = groups_of_file(proof)[0]
    with pytest.raises(WrongGroup, match="the terms are of"):
        sites[group[0]].check(terms(group, 0, run="another"), proof, CONFIG, ROSTER)
    with pytest.raises(WrongGroup, match="the terms are of"):
        sites[group[0]].check(terms(group, 0), proof, CONFIG.changed({"sites": 12, "secagg-group-size": 3}), ROSTER)


def test_a_site_started_anew_accepts_the_transcript_that_it_has_signed() -> None:
    _, transcript = drawn()
    proof = transcript.to_bytes()
    group = groups_of_file(proof)[0]
    member(group[0]).check(terms(group, 0), proof, CONFIG, ROSTER)


def test_another_draw_in_the_same_run_is_refused() -> None:
    sites, _ = drawn()
    for again in (asked(size=3), asked(sites=7)):
        with pytest.raises(SecondGrouping):
            sites[0].commit(again, ROSTER, fewest=2)
    sites[0].commit(asked(run="another run"), ROSTER, fewest=2)


def test_a_site_hides_among_as_many_as_it_says_itself() -> None:
    with pytest.raises(TooFewMembers, match="at least 4"):
        member(0).commit(asked(), ROSTER, fewest=4)


def test_a_site_does_not_reveal_where_its_commitment_was_changed_or_most_sites_left_out() -> None:
    sites = [member(index) for index in range(N)]
    said = [site.commit(asked(), ROSTER, fewest=2) for site in sites]
    altered = [replace(said[0], digest=bytes(32)), *said[1:]]
    with pytest.raises(OwnCommitmentAltered):
        sites[0].reveal(order(REVEAL, run=RUN, commitments=[each.to_bytes() for each in altered]))
    with pytest.raises(TooFewToGroup, match="at least 6"):
        sites[0].reveal(order(REVEAL, run=RUN, commitments=[each.to_bytes() for each in said[:5]]))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"run": RUN, "size": 1, "sites": N},
        {"run": "", "size": 2, "sites": N},
        {"run": RUN, "size": "2", "sites": N},
    ],
)
def test_an_order_to_commit_that_is_none_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises((Malformed, TooFewMembers)):
        member(0).commit(order(COMMIT, **message), ROSTER, fewest=2)


def test_nobody_reveals_for_a_draw_that_was_not_asked_for() -> None:
    with pytest.raises(Malformed, match="no draw of ours"):
        member(0).reveal(order(REVEAL, run=RUN, commitments=[]))


def test_a_resumed_run_has_the_groups_that_it_had_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    assert groups_on_record(KEYS, DRAW, folder=tmp_path).members == ()
    _, transcript = drawn()
    keys = b"".join(KEYS[index] for index in sorted(KEYS))
    file = tmp_path / f"groups-{hashlib.sha256(keys).hexdigest()[:12]}.transcript"
    file.write_bytes(transcript.to_bytes())
    kept = groups_on_record(KEYS, DRAW, folder=tmp_path)
    assert kept.members == groups_of_file(transcript.to_bytes()) and kept.proof == transcript.to_bytes()
    file.write_bytes(replace(transcript, plan=Plan(RUN, 3)).to_bytes())
    with pytest.raises(Exception, match="not what it signed"):
        groups_on_record(KEYS, DRAW, folder=tmp_path)
