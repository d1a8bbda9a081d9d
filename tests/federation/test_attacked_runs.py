"""Attacks and defenses in real runs: the same model on both grids, the offender named, the mark that stays."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Message

from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.robust import aggregator_of
from secure_fl.data import site_sizes
from secure_fl.errors import ConfigError
from secure_fl.federation import simulation
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.models import SIMULATION_MARK, load_model
from secure_fl.runs import Event, RunRecord
from tests.federation.adversaries import OnlyThese
from tests.federation.conftest import Federation, MakeRecord

# By attacker, what the record says of its reply; None: the honest reply counts, once.
WIRE = {
    "nan": "not-finite",
    "inf": "not-finite",
    "huge": "norm-cap",
    "wrong_shape": "wrong-shape",
    "wrong_dtype": "wrong-dtype",
    "wrong_spec": "spec-mismatch",
    "missing_key": "missing-array",
    "extra_key": "missing-array",
    "sample_lie": "sample-count",
    "huge_payload": "too-large",
    "stale": "stale-round",
    "duplicate": None,
    "sybil": None,
    "sybil(twins=1)": None,
}
AT_THE_DOOR = {
    "duplicate": "answers a message that it has answered",
    "sybil": "node key is not in the roster",
    "sybil(twins=1)": "its node key is not registered, or its former connection still counts",
}


def find(record: RunRecord, kind: str) -> list[Event]:
    return [event for event in record.events() if event.kind == kind]


def _clock_offset_s() -> float:
    """By how much the time of day is ahead of the clock that nobody sets."""
    return time.time() - time.monotonic()


def model(record: RunRecord) -> str:
    outcome = find(record, "run-finished")[-1]
    assert outcome["status"] == "succeeded"
    return str(outcome["model_sha256"])


def with_only(indexes: tuple[int, ...], record: RunRecord) -> RunRecord:
    """Run `record` on the local grid; the sites of other indexes answer with errors only."""
    grid, roster = LocalGrid(OnlyThese(indexes), record.config.sites), open_roster(site_sizes(record.config))
    coordinate(grid, record, roster, aggregator_of(record.config), facts={"pid": os.getpid()})
    return record


def test_an_attack_that_sees_all_and_the_rule_against_it_end_in_the_same_model_on_both_grids(
    make_record: MakeRecord, home: Path, federate: Callable[..., Federation]
) -> None:
    case = ("sites=5", "defense=trimmed_mean", "byzantine=1", "attack=opt_alie", "attackers=2", "quorum=0.6")
    running = federate(*case)
    running.result()
    local = [make_record("grid=local", *case) for _ in range(2)]
    for record in local:
        execute(record, home)
    assert model(running.record) == model(local[0]) == model(local[1])
    execute(plain := make_record("grid=local", *case[:3], "quorum=0.6"), home)
    assert model(plain) != model(local[0]), "the attack did nothing"
    for record in (running.record, *local):
        started = find(record, "run-started")[0]
        assert started["simulation"] == {"attack": "opt_alie", "attackers": ["site-3", "site-4"]}
        assert started["rule"].startswith("trimmed_mean")
        assert load_model(record.folder / "model.safetensors")[1].extra[SIMULATION_MARK] == "opt_alie by 2 of 5 sites"
        assert not (record.folder / "board").exists()
    assert find(plain, "run-started")[0]["simulation"] is None
    assert SIMULATION_MARK not in load_model(plain.folder / "model.safetensors")[1].extra


def test_the_record_says_which_sites_the_rule_let_in_and_with_what_weight(make_record: MakeRecord, home: Path) -> None:
    record = make_record(
        "grid=local", "sites=5", "partition=iid", "defense=multi_krum", "byzantine=1", "attack=gaussian", "attackers=1"
    )
    execute(record, home)
    for row in record.rounds()[1:]:
        assert row.accepted == tuple(f"site-{index}" for index in range(5))
        assert "site-4" in row.left_out and row.masked == ()
        assert row.kept and row.weights is not None
        assert {site for site, weight in row.weights.items() if weight} == set(row.kept)
        assert sum(row.weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("attack", ["free_rider", "neurotoxin"])
def test_a_run_that_is_resumed_ends_in_the_same_model_although_the_attacker_remembers(
    make_record: MakeRecord, home: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    case = ("grid=local", "rounds=4", f"attack={attack}", "attackers=1")
    whole, parts = make_record(*case), make_record(*case)
    execute(whole, home)

    def stop_in_round_2(message: Message) -> Message:
        if message.metadata.group_id == "2":
            parts.request_stop()
        return message

    with monkeypatch.context() as patched:
        patched.setattr(simulation, "LocalGrid", functools.partial(LocalGrid, fault=stop_in_round_2))
        execute(parts, home)
    assert find(parts, "run-finished")[-1]["status"] == "interrupted"
    parts.clear_stop()
    execute(parts, home)
    assert model(parts) == model(whole)


def test_a_run_under_a_rule_with_a_memory_is_not_resumed_as_if_nothing_had_happened(
    make_record: MakeRecord, home: Path
) -> None:
    record = make_record("grid=local", "defense=centered_clipping(tau=1)")
    execute(record, home)
    before = len(record.events())
    with pytest.raises(ConfigError, match="remembers the rounds before"):
        execute(record, home)
    assert len(record.events()) == before


def test_each_attack_on_the_wire_is_carried_out_by_a_process_and_named_and_moves_the_model_by_nothing(
    make_record: MakeRecord, federate: Callable[..., Federation]
) -> None:
    kinds = list(WIRE)
    case = (f"sites={3 + len(kinds)}", "samples=420", "partition=iid", "quorum=0.2")
    clock = _clock_offset_s()
    running = federate(*case, f"attack={'+'.join(kinds)}", f"attackers={len(kinds)}")
    running.result()
    name_of = {kind: f"site-{index}" for index, kind in enumerate(kinds, start=3)}
    rejected = {(event["site"], event["round"]): event["reason"] for event in running.find("reply-rejected")}
    assert rejected == {(name_of[kind], round_): why for kind, why in WIRE.items() if why for round_ in (1, 2)}
    honest = (0, 1, 2, *(index for index, kind in enumerate(kinds, start=3) if WIRE[kind] is None))
    for row in running.record.rounds()[1:]:
        assert row.accepted == tuple(f"site-{index}" for index in honest)
    refused = {(event["who"], event["reason"]) for event in running.find("site-refused")}
    if abs(_clock_offset_s() - clock) > 1:  # the clock was set meanwhile: what was under way then is no attack
        refused = {(who, reason) for who, reason in refused if "its clock and ours differ" not in reason}
    assert refused == {(name_of[kind], why) for kind, why in AT_THE_DOOR.items()}
    assert model(running.record) == model(with_only(honest, make_record("grid=local", *case)))


def test_a_late_site_costs_its_own_vote_and_one_time_limit(
    make_record: MakeRecord, federate: Callable[..., Federation]
) -> None:
    case = ("sites=4", "partition=iid", "round-timeout-s=15", "defense=median", "byzantine=1", "quorum=0.75")
    running = federate(*case, "attack=late(delay_s=18)", "attackers=1")
    running.result()
    assert running.find("reply-missing", site="site-3", reason="timeout", round=1)
    assert running.record.rounds()[1].accepted == ("site-0", "site-1", "site-2")
    assert model(running.record) == model(with_only((0, 1, 2), make_record("grid=local", *case)))


def test_rubbish_cannot_end_a_run_whose_rule_needs_every_reply(make_record: MakeRecord, home: Path) -> None:
    case = ("grid=local", "sites=5", "defense=nnm+trimmed_mean", "byzantine=2")
    record = make_record(*case, "attack=nan+wrong_shape", "attackers=2")
    assert record.config.quorum_sites == 5
    execute(record, home)
    assert model(record)
    assert [row.accepted for row in record.rounds()[1:]] == [("site-0", "site-1", "site-2")] * 2


def test_fltrust_compares_with_an_update_that_the_coordinator_trains_on_root_images(
    make_record: MakeRecord, home: Path
) -> None:
    case = ("grid=local", "sites=5", "defense=fltrust", "byzantine=2", "root-samples=40", "attack=sign_flip")
    execute(record := make_record(*case, "attackers=2"), home)
    for row in record.rounds()[1:]:
        assert row.samples == 60, "root images are not test images"
        assert row.weights is not None and row.weights["site-3"] == row.weights["site-4"] == 0.0
    execute(again := make_record(*case, "attackers=2"), home)
    assert model(record) == model(again)
