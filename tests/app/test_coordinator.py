"""The round loop on the local grid, with real training of the smallest kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType

from secure_fl.app.client_app import app as honest
from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.strategy import FedAvg
from secure_fl.config_sources import resolve
from secure_fl.data import site_sizes
from secure_fl.errors import QuorumError
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.models import flatten, load_model
from secure_fl.runs import RunRecord

SMALL = ("grid=local", "samples=150", "test-samples=60", "sites=3", "min-size=5", "local-epochs=1")


def make(home: Path, *assignments: str) -> RunRecord:
    return RunRecord.create(home, resolve(flags={}, assignments=(*SMALL, *assignments), environ={}, preset="smoke"))


def outcome(record: RunRecord) -> dict:
    return next(dict(event.fields) for event in reversed(record.events()) if event.kind == "run-finished")


def run_on(grid: LocalGrid, record: RunRecord) -> None:
    coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": os.getpid()})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunRecord:
    """A run as it should be; nobody writes into it."""
    home = tmp_path_factory.mktemp("finished")
    record = make(home)
    execute(record, home)
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunRecord:
    """The uninterrupted run with which resumed ones are compared."""
    home = tmp_path_factory.mktemp("whole")
    record = make(home, "rounds=4")
    execute(record, home)
    return record


def test_the_same_seed_gives_the_same_model_and_another_seed_another(home, finished):
    records = [make(home, "seed=1") for _ in range(2)]
    for record in records:
        execute(record, home)
    first, again, other = (outcome(record)["model_sha256"] for record in (*records, finished))
    assert first == again != other and finished.config.seed != 1
    assert [r.loss for r in records[0].rounds()] == [r.loss for r in records[1].rounds()]


def test_the_model_file_is_the_last_checkpoint_and_names_its_run(finished):
    model, card = load_model(finished.folder / "model.safetensors")
    checkpoint = finished.last_checkpoint()
    np.testing.assert_array_equal(flatten(model), finished.load_checkpoint(checkpoint))
    assert (card.run_id, card.round, checkpoint.round) == (finished.id, 2, 2)
    finished.verify()


def test_every_round_is_evaluated_by_the_coordinator_and_by_each_site(finished):
    events = finished.events()
    rounds = [e for e in events if e.kind == "round-finished"]
    assert [e["round"] for e in rounds] == [0, 1, 2]
    assert all(len(e["per_class_accuracy"]) == 10 and e["samples"] == 60 for e in rounds)
    replies = [e for e in events if e.kind == "reply-accepted"]
    assert len(replies) == 6
    for name in (
        "train_loss",
        "validation_loss",
        "validation_accuracy",
        "received_validation_loss",
        "cpu_s",
        "compute_s",
    ):
        assert all(e[name] >= 0 for e in replies)
    assert all(e["memory_bytes"] > 1 << 20 and e["bytes_up"] > 4 * 10_000 for e in replies)
    assert {e["site"] for e in events if e.kind == "site-evaluated"} == {"site-0", "site-1", "site-2"}


def test_a_round_is_closed_before_the_next_begins_but_after_its_orders_are_out(home):
    record = make(home, "rounds=3")
    closed_when_ordered = {}

    def watch(message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN:
            closed = [e["round"] for e in record.events() if e.kind == "round-finished"]
            closed_when_ordered[int(message.metadata.group_id)] = closed[-1]
        return message

    run_on(LocalGrid(honest_call, 3, fault=watch), record)
    assert closed_when_ordered == {1: 0, 2: 0, 3: 1}
    order = [(e.kind, e["round"]) for e in record.events() if e.kind in ("round-started", "round-finished")]
    assert order == [("round-finished", 0)] + [
        (kind, number) for number in (1, 2, 3) for kind in ("round-started", "round-finished")
    ]


def test_a_complete_round_is_saved_when_the_next_one_fails(home):
    record = make(home, "rounds=3", "quorum=1.0")

    def fail_in_round_2(message: Message, context: Context) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and message.metadata.group_id == "2":
            raise RuntimeError("no")
        return honest(message=message, context=context)

    with pytest.raises(QuorumError):
        run_on(LocalGrid(fail_in_round_2, 3), record)
    assert record.last_checkpoint().round == 1 and outcome(record)["round"] == 1


def test_a_complete_round_is_saved_when_the_network_fails_at_the_next_orders(home):
    record = make(home, "rounds=3")

    def cut(message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and message.metadata.group_id == "2":
            raise ConnectionError("the SuperLink is away")
        return message

    with pytest.raises(ConnectionError):
        run_on(LocalGrid(honest_call, 3, fault=cut), record)
    assert record.last_checkpoint().round == 1 and outcome(record)["round"] == 1


def test_a_site_that_fails_in_one_round_is_missing_in_that_round_only(home):
    record = make(home, "rounds=3")

    def sometimes(message: Message, context: Context) -> Message:
        train = message.metadata.message_type == MessageType.TRAIN
        if train and context.node_config["partition-id"] == 1 and message.metadata.group_id == "2":
            raise OSError("the network share is away")
        return honest(message=message, context=context)

    run_on(LocalGrid(sometimes, 3), record)
    finished = {e["round"]: e["accepted"] for e in record.events() if e.kind == "round-finished"}
    assert finished[2] == ["site-0", "site-2"] and finished[1] == finished[3] == ["site-0", "site-1", "site-2"]


def test_a_lost_message_costs_the_time_limit_and_the_round_goes_on(home):
    record = make(home, "rounds=1", "round-timeout-s=1")

    def lose(message: Message) -> Message | None:
        lost = message.metadata.message_type == MessageType.TRAIN and message.metadata.dst_node_id == 1002
        return None if lost else message

    run_on(LocalGrid(honest_call, 3, fault=lose), record)
    missing = [e for e in record.events() if e.kind == "reply-missing"]
    assert [(e["site"], e["reason"]) for e in missing] == [("site-2", "timeout")]
    assert outcome(record)["status"] == "succeeded"


def honest_call(message: Message, context: Context) -> Message:
    return honest(message=message, context=context)


def test_below_the_quorum_the_run_fails_and_the_record_says_why_and_how_to_go_on(home):
    record = make(home, "quorum=1.0")

    def fail(message: Message, context: Context) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and context.node_config["partition-id"] == 0:
            raise RuntimeError("no")
        return honest(message=message, context=context)

    with pytest.raises(QuorumError, match="2 usable replies, 3 are needed"):
        run_on(LocalGrid(fail, 3), record)
    error = outcome(record)["error"]
    assert error["code"] == "QUORUM_LOST" and "runs resume" in error["fix"]


def test_a_stop_request_ends_after_the_round_and_a_resumed_run_ends_in_the_same_model(home, whole):
    parts = make(home, "rounds=4")

    def stop_in_round_2(message: Message) -> Message:
        if message.metadata.group_id == "2":
            parts.request_stop()
        return message

    run_on(LocalGrid(honest_call, 3, fault=stop_in_round_2), parts)
    stopped = outcome(parts)
    assert (stopped["status"], stopped["round"]) == ("interrupted", 2)
    assert load_model(parts.folder / "model.safetensors")[1].round == 2
    parts.clear_stop()
    execute(parts, home)
    assert outcome(parts)["model_sha256"] == outcome(whole)["model_sha256"]
    assert [row.loss for row in parts.rounds()] == [row.loss for row in whole.rounds()]


# While the orders of a round go out, the round before is not saved yet.
DEATHS = {("training", "1"): 0, ("training", "3"): 2, ("sending", "3"): 1}

# One process imports torch and Flower, and forks one for each death.
KILLED = """
import os, signal, sys
from pathlib import Path
from flwr.app import MessageType
from secure_fl.runs import RunRecord
from tests.app.test_coordinator import honest_call, run_on
from secure_fl.federation.local_grid import LocalGrid
def drive(folder, moment, group):
    def kill_in(now, message):
        if (now, message.metadata.group_id) == (moment, group) and message.metadata.dst_node_id == 1001:
            os.kill(os.getpid(), signal.SIGKILL)
        return message
    def train(message, context):
        return honest_call(kill_in("training", message), context)
    run_on(LocalGrid(train, 3, fault=lambda message: kill_in("sending", message)), RunRecord.open(Path(folder)))
for case in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            drive(*case.split("|"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, case
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> dict[tuple[str, str], RunRecord]:
    """A record for each of DEATHS, whose process was killed then."""
    records = {death: make(tmp_path_factory.mktemp("killed"), "rounds=4") for death in DEATHS}
    cases = ["|".join((str(record.folder), *death)) for death, record in records.items()]
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, *cases], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return records


@pytest.mark.parametrize(("death", "resumed_from"), DEATHS.items())
def test_after_kill_9_a_resumed_run_ends_in_exactly_the_model_of_an_uninterrupted_one(
    killed, whole, death, resumed_from
):
    broken = killed[death]
    assert broken.status() == "interrupted"
    execute(broken, broken.folder.parents[1])
    resumed = [e["resumed_from_round"] for e in broken.events() if e.kind == "run-started"]
    assert resumed == [0, resumed_from]
    assert outcome(broken)["model_sha256"] == outcome(whole)["model_sha256"]
    broken.verify()


def test_two_processes_cannot_drive_one_record(home):
    record = make(home)
    with record.driving(), pytest.raises(Exception, match="another process drives"):
        execute(record, home)


def test_the_record_describes_settings_environment_and_data(finished):
    data = json.loads((finished.folder / "data.json").read_text())
    joined = {e["site"]: e["data"] for e in finished.events() if e.kind == "site-joined"}
    described = {f"site-{i}": site["fingerprint"] for i, site in enumerate(data["sites"])}
    assert joined == described, "each site holds what the partition says"
    assert json.loads((finished.folder / "environment.json").read_text())
    assert (finished.folder / "plots" / "convergence.png").stat().st_size > 10_000
