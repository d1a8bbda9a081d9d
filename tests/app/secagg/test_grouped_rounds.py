"""Runs on the local grid in which only sums of groups are seen: draw, vote, drop-outs, hostile sites, resumption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message

import secure_fl.federation.simulation as simulation
from secure_fl.config_sources import resolve
from secure_fl.errors import QuorumError, SecureFLError
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.runs import RunRecord

SMALL = (
    "grid=local", "partition=iid", "samples=360", "test-samples=150", "min-size=5", "sites=6", "rounds=2",
    "secagg=grouped", "secagg-group-size=2", "defense=nnm+trimmed_mean", "byzantine=1", "round-timeout-s=4",
    "lr=0.05", "local-epochs=2",
)  # fmt: skip


def make(home: Path, *assignments: str) -> RunRecord:
    return RunRecord.create(home, resolve(flags={}, assignments=(*SMALL, *assignments), environ={}, preset="smoke"))


def run(home: Path, *assignments: str) -> RunRecord:
    record = make(home, *assignments)
    execute(record, home)
    return record


def fields(record: RunRecord, kind: str) -> list[dict]:
    return [dict(event.fields) for event in record.events() if event.kind == kind]


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Message], Message | None]], None]:
    """Let a fault see every message of the next runs on the local grid."""

    def install(fault: Callable[[Message], Message | None]) -> None:
        monkeypatch.setattr(
            simulation, "LocalGrid", lambda *given, **named: LocalGrid(*given, **{**named, "fault": fault})
        )

    return install


def test_a_run_in_groups_learns_and_says_what_it_hides_and_tolerates(home: Path) -> None:
    record = run(home, "validation-gate=0.5", "root-samples=30")
    (groups,) = (each["groups"] for each in fields(record, "groups-formed"))
    assert sorted(name for group in groups for name in group) == [f"site-{i}" for i in range(6)]
    assert [len(group) for group in groups] == [2, 2, 2]
    (started,) = fields(record, "run-started")
    assert started["protection"].endswith("each site hidden among at least 2; 1 hostile site is tolerated")
    assert started["rule"].startswith("nnm+trimmed_mean over 3 group means: robust to 1 hostile site")
    slots = fields(record, "secagg-slot")
    assert [(each["round"], each["group"]) for each in slots] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    rows = record.rounds()
    assert (rows[-1].accuracy or 0) > 0.3 and len(rows[-1].accepted) == 6
    assert all(row.validation_accuracy is None for row in rows[-1].sites), "nothing of a single site is told"
    record.verify()


def test_a_run_that_was_cut_off_goes_on_in_groups(home: Path, through) -> None:
    record = make(home)

    def stop_in_round_1(message: Message) -> Message:
        if message.metadata.group_id == "1":
            record.request_stop()
        return message

    through(stop_in_round_1)
    execute(record, home)
    assert record.last_checkpoint().round == 1
    record.clear_stop()
    execute(record, home)
    assert record.status() == "succeeded" and len(record.rounds()) == 3
    # Each execution on the local grid makes identities of its own, which have drawn nothing yet.
    assert len(fields(record, "groups-formed")) == len(list(record.folder.glob("groups-*.transcript"))) == 2
    record.verify()


def test_a_site_that_is_gone_costs_its_group_and_the_vote_goes_on(home: Path, through) -> None:
    def lose_site_5(message: Message) -> Message | None:
        away = message.metadata.message_type == "train.secagg_masked" and message.metadata.dst_node_id == 1005
        return None if away else message

    through(lose_site_5)
    record = run(home, "rounds=1", "byzantine=0", "defense=median")
    (missing,) = fields(record, "group-missing")
    assert "site-5" in missing["sites"] and missing["round"] == 1
    assert len(record.rounds()[-1].accepted) == 4


def test_too_few_groups_end_the_run_and_say_so(home: Path, through) -> None:
    def lose_site_5(message: Message) -> Message | None:
        away = message.metadata.message_type == "train.secagg_masked" and message.metadata.dst_node_id == 1005
        return None if away else message

    through(lose_site_5)
    with pytest.raises(QuorumError, match="2 usable sums of groups, 3 are needed"):
        run(home, "rounds=1")


def test_a_coordinator_that_shows_a_changed_commitment_gets_no_groups(home: Path, through) -> None:
    def swap(message: Message) -> Message:
        if message.metadata.message_type == "query.secagg_reveal":
            record = dict(message.content["secagg"])
            said = [bytes(each) for each in record["commitments"]]
            said[0] = said[0][:4] + bytes(32) + said[0][36:]
            message.content["secagg"] = ConfigRecord({**record, "commitments": said})
        return message

    through(swap)
    record = make(home, "rounds=1")
    with pytest.raises(SecureFLError, match="has not revealed"):
        execute(record, home)
    reasons = {each["detail"].split(":")[0] for each in fields(record, "reply-rejected")}
    assert "SECAGG_OWN_COMMITMENT_ALTERED" in str(reasons) and "SECAGG_COMMITMENT_CHANGED" in str(reasons)


def test_a_coordinator_that_adds_up_others_than_were_drawn_gets_no_shares(home: Path, through) -> None:
    def another_group(message: Message) -> Message:
        if message.metadata.message_type == "query.secagg_share":
            record = dict(message.content["secagg"])
            proof = record["groups"]
            message.content["secagg"] = ConfigRecord({**record, "groups": proof[:-1] + bytes([proof[-1] ^ 1])})
        return message

    through(another_group)
    record = make(home, "rounds=1")
    with pytest.raises(SecureFLError):
        execute(record, home)
    assert fields(record, "reply-accepted") == [], "nobody trains for a sum that it has not agreed to"


def test_ten_times_the_step_backwards_is_outvoted_in_groups(home: Path) -> None:
    settings = ("sites=12", "byzantine=2", "samples=720", "rounds=3")
    hostile = ("attack=scaled(factor=-10)", "attackers=2")
    clean, attacked = run(home, *settings), run(home, *settings, *hostile)
    collapsed = run(
        home, *settings, *hostile, "secagg=full", "secagg-group-size=0", "defense=fedavg", "byzantine=0", "rounds=2"
    )
    found = [record.rounds()[-1].accuracy or 0.0 for record in (clean, attacked, collapsed)]
    assert found[1] > found[0] - 0.1 and found[2] < 0.25
    assert np.isfinite(attacked.load_checkpoint(attacked.last_checkpoint())).all()
