"""Runs under differential privacy, on the grids, with the real parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from flwr.app import Message, MessageType

from secure_fl.app import client_app
from secure_fl.app.client_privacy import ClientPrivacy
from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.site_privacy import ledger_file
from secure_fl.app.strategy import FedAvg
from secure_fl.config_sources import resolve
from secure_fl.data import site_sizes
from secure_fl.errors import BudgetError
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import planned
from secure_fl.runs import RunRecord

PRIVATE = ("grid=local", "samples=240", "test-samples=60", "dp-epsilon=8", "dp-delta=1e-4", "partition=iid")
MEASURED = {"train_loss", "validation_loss", "validation_accuracy", "per_class_accuracy", "compute_s", "cpu_s"}


def make(home: Path, *assignments: str) -> RunRecord:
    return RunRecord.create(home, resolve(flags={}, assignments=(*PRIVATE, *assignments), environ={}, preset="smoke"))


def ending(record: RunRecord) -> dict:
    return next(dict(event.fields) for event in reversed(record.events()) if event.kind == "run-finished")


def ledgers(home: Path) -> list[Ledger]:
    return [Ledger(ledger_file(home, f"site-{index}")) for index in range(3)]


@pytest.fixture(scope="module")
def private(tmp_path_factory) -> RunRecord:
    """A run as it should be, at a home of its own; nobody writes into it."""
    home = tmp_path_factory.mktemp("private")
    record = make(home)
    execute(record, home)
    return record


@pytest.fixture(scope="module")
def of_a_seed(tmp_path_factory) -> RunRecord:
    """The same run with noise that anybody can repeat."""
    home = tmp_path_factory.mktemp("seed")
    record = make(home, "insecure-test-rng=true")
    execute(record, home)
    return record


def test_each_round_is_in_each_sites_ledger_and_epsilon_is_in_the_record_and_the_plots(private):
    spent = [row.epsilon for row in private.rounds()]
    assert spent[0] == 0.0 < spent[1] < spent[2] <= 8.0
    for ledger in ledgers(private.folder.parents[1]):
        ledger.verify()
        assert [(each.run, each.round, each.unit) for each in ledger.spendings()] == [
            (private.id, number, "sample") for number in (1, 2)
        ]
    (promise,) = private.summary().start["privacy"]
    assert promise["unit"] == "image" and promise["adjacency"] == "add-remove" and promise["accountant"] == "prv"
    assert promise["epsilon"] == pytest.approx(spent[2]) and "not_private" not in promise
    assert (private.folder / "plots" / "privacy.png").stat().st_size > 5_000


def test_nothing_measured_on_images_leaves_a_site_under_dp_sgd(private):
    replies = [event for event in private.events() if event.kind == "reply-accepted"]
    assert len(replies) == 6
    for reply in replies:
        assert not MEASURED & set(reply.fields), reply.fields
        assert reply["steps"] == 10 and reply["dp_epsilon"] > 0
    assert not [event for event in private.events() if event.kind == "site-evaluated"]
    assert all(event["data"].startswith("keyed:") for event in private.events() if event.kind == "site-joined")


def test_noise_is_of_no_seed_unless_that_is_asked_for_and_then_the_run_says_that_it_is_not_private(
    tmp_path, private, of_a_seed
):
    again = []
    for name, assignments in (("real", ()), ("seed", ("insecure-test-rng=true",))):
        again.append(make(tmp_path / name, *assignments))
        execute(again[-1], tmp_path / name)
    runs = (private, again[0], of_a_seed, again[1])
    ends = [(ending(record)["model_sha256"], "not_private" in record.summary().start["privacy"][0]) for record in runs]
    assert ends[0][0] != ends[1][0] and ends[2][0] == ends[3][0]
    assert [marked for _, marked in ends] == [False, False, True, True]


class Keeping(FedAvg):
    """FedAvg that keeps what it was given."""

    def __init__(self) -> None:
        self.updates: list[np.ndarray] = []

    def combine(self, updates, weights):
        self.updates += [each.astype(np.float64) for each in updates]
        return super().combine(updates, weights)


def test_the_noise_in_the_updates_of_a_real_run_is_the_noise_that_its_ledger_says(tmp_path):
    """With so much noise the images' part of an update is a thousandth of its energy; what is left is the mechanism."""
    record = make(
        tmp_path, "rounds=10", "local-epochs=1", "dp-sample-rate=1.0", "dp-noise-multiplier=30", "dp-clip=0.5",
        "lr=1.0", "momentum=0.0", "model=tanh_cnn", "dropout=0.0", "val-fraction=0.0",
    )  # fmt: skip
    configs = [{"privacy-ledger": str(ledger_file(tmp_path, f"site-{index}"))} for index in range(3)]
    kept = Keeping()
    coordinate(
        LocalGrid(client_app.app, 3, node_configs=configs), record, open_roster(site_sizes(record.config)), kept,
        facts={"pid": 1},
    )  # fmt: skip
    (event,) = {each.event for ledger in ledgers(tmp_path) for each in ledger.spendings()}
    assert (event.noise_multiplier, event.sample_rate, event.steps) == (30.0, 1.0, 1)
    samples = site_sizes(record.config)
    assert len(kept.updates) == 30 and len(set(samples)) == 1
    drawn = np.concatenate(kept.updates) * samples[0] / 0.5  # one step at rate 1: update = -(sum + noise) / N
    assert drawn.std() == pytest.approx(event.noise_multiplier, rel=0.01)
    error = event.noise_multiplier / np.sqrt(2 * len(drawn))
    assert abs(drawn.std() - 0.95 * event.noise_multiplier) > 20 * error  # noise of 0.95 σ would be found out
    assert scipy.stats.kstest(drawn / drawn.std(), "norm").pvalue > 1e-4
    together = np.corrcoef(np.stack(kept.updates)) - np.eye(30)
    assert np.abs(together).max() < 6 / np.sqrt(len(kept.updates[0]))  # sites and rounds draw noise of their own


def test_a_site_counts_test_noise_and_says_that_it_protects_nobody(private, of_a_seed):
    for record, marked in ((of_a_seed, True), (private, False)):
        spent = [each for ledger in ledgers(record.folder.parents[1]) for each in ledger.spendings()]
        assert spent and all(each.test_rng is marked for each in spent)


def test_when_the_budget_is_spent_the_run_stops_before_the_step_and_keeps_its_model(tmp_path):
    """A resumed run repeats a round that was counted already, so that its last round is one too many."""
    record = make(tmp_path, "rounds=3")

    def cut(message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and message.metadata.group_id == "3":
            raise ConnectionError("the SuperLink is away")
        return message

    configs = [{"privacy-ledger": str(ledger_file(tmp_path, f"site-{index}"))} for index in range(3)]
    grid = LocalGrid(client_app.app, 3, node_configs=configs, fault=cut)
    with pytest.raises(ConnectionError):
        coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": 1})
    # Round 2 counts again: as after a crash between its training and its checkpoint.
    for ledger in ledgers(tmp_path):
        last = ledger.spendings()[-1]
        ledger.spend(last.event, run=last.run, round=last.round, unit="sample", data=last.data)
    with pytest.raises(BudgetError, match="the privacy budget ends the run before round 3") as refused:
        execute(record, tmp_path)
    assert refused.value.exit_code == 3
    assert (record.folder / "model.safetensors").is_file() and record.last_checkpoint().round == 2
    assert [len(ledger.spendings()) for ledger in ledgers(tmp_path)] == [3, 3, 3]


def test_a_run_that_no_site_can_afford_is_refused_before_anything_is_spent(tmp_path):
    record = make(tmp_path)
    configs = [
        {"privacy-ledger": str(ledger_file(tmp_path, f"site-{index}")), "privacy-budget": 1.0} for index in range(3)
    ]
    grid = LocalGrid(client_app.app, 3, node_configs=configs)
    with pytest.raises(BudgetError, match="3 of 3 sites cannot afford this run"):
        coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": 1})
    assert not [event for event in record.events() if event.kind == "round-started"]
    assert all(not ledger.spendings() for ledger in ledgers(tmp_path))


def test_a_site_that_cannot_afford_the_run_stays_out_and_the_others_train(tmp_path):
    record = make(tmp_path, "quorum=0.5")
    configs = [{"privacy-ledger": str(ledger_file(tmp_path, f"site-{index}"))} for index in range(3)]
    configs[1] |= {"privacy-budget": 1.0}
    grid = LocalGrid(client_app.app, 3, node_configs=configs)
    coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": 1})
    assert all(row.accepted == ("site-0", "site-2") for row in record.rounds()[1:])


# One process imports torch and Flower, and forks one for each moment.
KILLED = """
import os, signal, sys
from pathlib import Path
from secure_fl.app import client_app, messages
from secure_fl.federation.launch import execute
from secure_fl.privacy import engine
from secure_fl.runs import RunRecord
def die(*args, **named):
    os.kill(os.getpid(), signal.SIGKILL)
def drive(where, folder):
    if where == "before the first noise":
        engine.PrivateOptimizer.add_noise = die
    elif where == "after training":
        client_app.update_reply = die
    record = RunRecord.open(Path(folder))
    execute(record, record.folder.parents[1])
for case in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            drive(*case.split("|"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, case
"""
MOMENTS = ("before the first noise", "after training")


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> dict[str, RunRecord]:
    """A record for each of MOMENTS, whose process was killed then."""
    records = {where: make(tmp_path_factory.mktemp("killed")) for where in MOMENTS}
    command = [sys.executable, "-c", KILLED, *(f"{where}|{record.folder}" for where, record in records.items())]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return records


@pytest.mark.parametrize("where", MOMENTS)
def test_a_crash_between_ledger_noise_and_send_never_counts_too_little(killed, where):
    record = killed[where]
    counted = [ledger.spendings() for ledger in ledgers(record.folder.parents[1])]
    # Sites train one after the other here: the first had touched its images, the others had not.
    assert [len(each) for each in counted] == [1, 0, 0]
    assert (counted[0][0].run, counted[0][0].round) == (record.id, 1)


def test_client_level_privacy_clips_each_site_noises_the_sum_and_has_a_ledger_of_its_own(tmp_path):
    record = make(tmp_path, "dp-unit=client", "dp-client-clip=0.5")
    execute(record, tmp_path)
    spent = [row.client_epsilon for row in record.rounds()]
    assert spent[1] < spent[2] <= 8.0
    ledger = Ledger(ledger_file(tmp_path, "coordinator"))
    assert [each.unit for each in ledger.spendings()] == ["client", "client"]
    noise = ledger.spendings()[0].event.noise_multiplier
    # The noise dwarfs three clipped updates, so that a round's step has its size: sigma S sqrt(d) / n.
    expected = noise * 0.5 * np.sqrt(10_170) / 3
    assert record.rounds()[1].update_norm == pytest.approx(expected, rel=0.05)


def test_a_repeated_round_of_client_level_privacy_counts_against_the_runs_budget(tmp_path):
    record = make(tmp_path, "dp-unit=client")
    execute(record, tmp_path)
    config = planned(record.config)
    mechanism = ClientPrivacy.of(config, record, open_roster(site_sizes(config)))
    with pytest.raises(BudgetError, match="round 2 would exceed the run's privacy budget of ε = 8 for each site"):
        mechanism.combine([np.zeros(4, np.float32)], round=2)
    assert len(mechanism.ledger.spendings()) == 2


def test_both_units_at_once_are_two_promises(tmp_path):
    record = make(tmp_path, "dp-unit=both", "rounds=1")
    execute(record, tmp_path)
    assert [each["unit"] for each in record.summary().start["privacy"]] == ["image", "site"]
    assert record.rounds()[1].epsilon > 0 and record.rounds()[1].client_epsilon > 0
