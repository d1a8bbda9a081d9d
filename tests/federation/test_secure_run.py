"""Secure aggregation in real runs: exact sums over TLS, sites that die at any trip, a coordinator that crashes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType

from secure_fl.app.client_app import app
from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.secagg import wire
from secure_fl.app.secagg.layout import Layout, Tally
from secure_fl.app.secagg.site import rounding_seed
from secure_fl.app.strategy import FedAvg
from secure_fl.config_sources import resolve
from secure_fl.data import site_sizes
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.runs import Event, RunRecord
from tests.federation.adversaries import honest
from tests.federation.conftest import SMALL, Federation, MakeRecord
from tests.federation.test_deployment import LAUNCH, final

Federate = Callable[..., Federation]

FIVE = ("sites=5", "samples=250", "secagg=full")
TRIPS = (wire.ADVERTISE, wire.SHARE, wire.MASKED, wire.AGREE, wire.OPEN)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The run of five sites to which those that were cut off must come."""
    home = tmp_path_factory.mktemp("undisturbed")
    resolved = resolve(flags={}, assignments=(*SMALL, "grid=local", *FIVE, "rounds=2"), environ={}, preset="smoke")
    record = RunRecord.create(home, resolved, command=("test",))
    execute(record, home)
    return record


def of_kind(record: RunRecord, kind: str, **fields: object) -> list[Event]:
    events = [event for event in record.events() if event.kind == kind]
    return [event for event in events if all(event.get(name) == value for name, value in fields.items())]


def model_after(record: RunRecord, number: int) -> np.ndarray:
    return record.load_checkpoint(next(each for each in record.checkpoints() if each.round == number))


def plain_updates(record: RunRecord) -> list[np.ndarray]:
    """Run the record, which has no secure aggregation, in this process; the updates that its coordinator saw."""
    seen = {}

    def watching(message: Message, context: Context) -> Message:
        reply = app(message=message, context=context)
        if message.metadata.message_type == MessageType.TRAIN:
            seen[int(context.node_config["partition-id"])] = reply.content["update"]["u"].numpy().copy()
        return reply

    roster = open_roster(site_sizes(record.config))
    coordinate(LocalGrid(watching, record.config.sites), record, roster, FedAvg(), facts={"pid": os.getpid()})
    return [seen[index] for index in sorted(seen)]


@pytest.mark.parametrize("sites", [5, 10])
def test_the_opened_sum_is_the_clear_ring_sum_to_the_bit_and_the_model_is_the_unprotected_one_within_rounding(
    make_record: MakeRecord, home: Path, sites: int
):
    smallest = (f"sites={sites}", f"samples={12 * sites}", "rounds=1", "partition=iid", "test-samples=20")
    settings = ("model=mobilenet_v2", *smallest)
    protected = make_record("grid=deployment", "secagg=full", *settings)
    execute(protected, home)
    plain = make_record("grid=local", *settings)
    updates, weights = plain_updates(plain), site_sizes(plain.config)

    config = protected.config
    digest = of_kind(protected, "secagg-slot")[0]["terms"]
    layout = Layout.of(config, size=updates[0].size, members=sites, max_weight=max(weights), model_sha256="0" * 64)
    total = np.zeros(layout.words, np.uint32)
    for index, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        rounding = rounding_seed(config, round=1, site=index)
        total += layout.encode(update, weight, Tally(weight, 0, {}), rounding=rounding)
    step = layout.decode(total, sum(weights))[0]
    np.testing.assert_array_equal(model_after(protected, 1), model_after(protected, 0) + step)
    assert layout.words.to_bytes(8, "big").hex() in digest

    ours, theirs = model_after(protected, 1), model_after(plain, 1)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) <= 2e-5
    assert protected.rounds()[1].accuracy == plain.rounds()[1].accuracy

    told = of_kind(protected, "reply-accepted")
    assert len(told) == sites and not any("train_loss" in each.fields or "samples" in each.fields for each in told)
    # A masked vector is as long as the update in float32, and 72 counter words and the headers of Flower's records.
    assert max(each["bytes_up"] for each in told) <= 1.001 * 4 * updates[0].size
    assert protected.rounds()[1].train_loss == pytest.approx(plain.rounds()[1].train_loss, abs=1e-5)


class Dying:
    """An honest site that dies in its n-th life at trip n: at that message it is gone, and it answers nothing."""

    class Dead(BaseException):
        """Not an error that a site would report."""

    def __init__(self) -> None:
        self.died_in: list[int] = []

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == TRIPS[len(self.died_in)]:
            self.died_in.append(int(message.metadata.group_id))
            raise Dying.Dead
        return honest(message, context)


def test_a_site_dies_at_each_trip_and_a_process_is_killed_and_every_round_comes_through(federate: Federate, home: Path):
    running = federate(*FIVE, "remote-sites=1", "rounds=2000", "round-timeout-s=40", "join-timeout-s=60")
    dying = Dying()
    for life in range(5):
        ended = running.join(4, dying)
        assert isinstance(ended.exception(120), Dying.Dead)
        running.wait_for("round-finished", round=dying.died_in[life])
    running.join(4, honest)
    back = running.wait_for("site-joined", site="site-4", count=6)[5]
    whole = running.wait_for("reply-accepted", site="site-4", after=back.seq)[0]["round"]
    running.wait_for("round-finished", round=whole)
    os.kill(running.pid("site-1"), signal.SIGKILL)
    without = running.wait_for("reply-missing", site="site-1")[0]["round"]
    running.wait_for("round-finished", round=without + 1)
    running.record.request_stop()
    with contextlib.suppress(Exception):
        running.result()

    finished = {event["round"]: event for event in running.find("round-finished") if event["round"]}
    assert not any("void" in event["secagg"] for event in finished.values())
    for number in dying.died_in[:3]:
        assert finished[number]["accepted"] == ["site-0", "site-1", "site-2", "site-3"]
    for number in dying.died_in[3:]:  # its vector had arrived: it is in the sum, and the others open its mask
        assert len(finished[number]["accepted"]) == 5
    assert finished[without]["update_norm"] > 0 and "site-1" not in finished[without + 1]["accepted"]

    written = b"\0".join(path.read_bytes() for path in running.record.folder.rglob("*") if path.is_file())
    for key in (home / "federation").rglob("*.key"):
        assert b"".join(key.read_bytes().splitlines()[1:-1])[20:60] not in written


def test_a_coordinator_that_crashed_between_opening_and_saving_repeats_the_round(
    make_record: MakeRecord, home: Path, undisturbed: RunRecord
):
    record = make_record("grid=deployment", *FIVE, "rounds=2")
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(record.folder), str(home)])
    try:
        reader = record.follow()
        seen: list[Event] = []
        while not any(event.kind == "secagg-slot" and event["round"] == 1 for event in seen):
            assert process.poll() is None
            seen += reader.poll()
            time.sleep(0.01)  # the round is saved only after the next one's first two trips
    finally:
        process.kill()
        process.wait()
    assert record.last_checkpoint().round == 0
    opened = home / "federation" / "sites" / "site-0" / "opened-sums.jsonl"
    before = [json.loads(line)["round"] for line in opened.read_text().splitlines()]
    execute(record, home)
    after = [json.loads(line)["round"] for line in opened.read_text().splitlines()]
    assert (before, after) == ([1], [1, 2])
    assert {each["attempt"] for each in of_kind(record, "secagg-slot", round=1)} == {1, 3}
    assert final(record)["model_sha256"] == final(undisturbed)["model_sha256"]


def test_the_same_seed_gives_the_same_model_though_all_keys_differ_and_ten_sites_sum_as_five(make_record, home):
    ten = ("grid=local", "sites=10", "samples=250", "partition=iid", "rounds=2")
    first, again, plain = make_record(*ten, "secagg=full"), make_record(*ten, "secagg=full"), make_record(*ten)
    for record in (first, again, plain):
        execute(record, home)
    assert final(first)["model_sha256"] == final(again)["model_sha256"]
    assert [row.train_loss for row in first.rounds()] == [row.train_loss for row in again.rounds()]
    transcripts = [of_kind(record, "secagg-slot")[0]["transcript"] for record in (first, again)]
    assert transcripts[0] != transcripts[1]
    ours, theirs = model_after(first, 2), model_after(plain, 2)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) <= 2e-5
    assert not of_kind(first, "site-evaluated") and of_kind(plain, "site-evaluated")
    started = of_kind(first, "run-started")[0]
    assert started["secagg"]["mode"] == "full" and started["secagg"]["privacy_set"] == 7
    assert started["site_identities"] is False


def test_a_round_that_is_cut_off_before_its_opening_goes_on_when_the_run_is_resumed(make_record, home, undisturbed):
    record = make_record("grid=local", *FIVE, "rounds=2")

    def interrupted(message: Message) -> Message:
        if message.metadata.message_type == wire.AGREE and message.metadata.group_id == "2":
            raise ConnectionError("the coordinator is cut off")
        return message

    import secure_fl.federation.simulation as simulation

    original = simulation.LocalGrid
    simulation.LocalGrid = lambda *arguments, **named: original(*arguments, **named, fault=interrupted)
    try:
        with pytest.raises(ConnectionError):
            execute(record, home)
    finally:
        simulation.LocalGrid = original
    execute(record, home)
    assert final(record)["model_sha256"] == final(undisturbed)["model_sha256"]
