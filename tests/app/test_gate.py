"""A step that spoils the model is undone before anybody trains on it, whatever was seen of the updates."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MessageType

from secure_fl.app.client_app import app as honest
from secure_fl.app.coordinator import coordinate
from secure_fl.app.distributed_privacy import GlobalSGD
from secure_fl.app.gate import ValidationGate
from secure_fl.app.identity import open_roster
from secure_fl.app.strategy import FedAvg
from secure_fl.config_sources import resolve
from secure_fl.data import site_sizes
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.privacy.regime import planned
from secure_fl.runs import RunRecord
from secure_fl.training.evaluation import Evaluation

from .conftest import Events

START = np.zeros(4, np.float32)


@dataclass
class Scores:
    """Accuracy of a model is 0.8 less what its first number says; remembers which models were measured."""

    loss: float = 1.0
    measured: list[float] = field(default_factory=list)

    def __call__(self, vector: Any) -> Evaluation:
        self.measured.append(float(vector[0]))
        accuracy = 0.8 - float(vector[0])
        loss = math.nan if not np.isfinite(vector).all() else self.loss
        return Evaluation(loss, accuracy, (accuracy,), (100,), 100)


def step(value: float) -> np.ndarray:
    return np.full(4, value, np.float32)


def test_a_step_that_costs_no_more_than_the_gate_is_taken_and_measured_once(events: Events) -> None:
    scores = Scores()
    gate = ValidationGate(scores, 0.25, events)
    offered = step(0.25)
    assert gate.judge(START, offered, round=1) is offered
    assert gate.judge(START + offered, step(-0.25), round=2)[0] == -0.25
    assert scores.measured == [0.0, 0.25, 0.0] and not events


def test_a_step_that_costs_more_becomes_no_step_and_the_record_says_why(events: Events) -> None:
    scores = Scores()
    gate = ValidationGate(scores, 0.25, events)
    undone = gate.judge(START, step(0.5), round=3)
    assert not undone.any()
    (told,) = events.of("round-rolled-back")
    assert (told["round"], told["reason"], told["most"], told["samples"]) == (3, "accuracy fell", 0.25, 100)
    assert told["accuracy_before"] == pytest.approx(0.8) and told["accuracy_after"] == pytest.approx(0.3)
    # The model that goes on is the one that was known: it is not measured again.
    gate.judge(START + undone, step(0.0), round=4)
    assert scores.measured == [0.0, 0.5, 0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_without_a_finite_loss_is_undone_whatever_its_accuracy(events: Events, bad: float) -> None:
    undone = ValidationGate(Scores(), 1.0, events).judge(START, step(bad), round=1)
    assert not undone.any()
    assert events.of("round-rolled-back")[0]["reason"] == "the loss is not finite"


def test_harm_below_the_gate_adds_up(events: Events) -> None:
    # What the gate does not promise, so that nobody reads it into it.
    gate, model = ValidationGate(Scores(), 0.125, events), START
    for number in range(1, 5):
        model = model + gate.judge(model, step(0.125), round=number)
    assert model[0] == 0.5 and not events


SMALL = ("grid=local", "sites=5", "samples=800", "test-samples=150", "partition=iid", "lr=0.05", "local-epochs=3")
HOSTILE = ("attack=scaled(factor=-10)", "attackers=1")


def make(home: Path, *assignments: str) -> RunRecord:
    return RunRecord.create(home, resolve(flags={}, assignments=(*SMALL, *assignments), environ={}, preset="smoke"))


def run(home: Path, *assignments: str) -> RunRecord:
    record = make(home, *assignments)
    execute(record, home)
    return record


def accuracy(record: RunRecord) -> list[float]:
    return [row.accuracy or 0.0 for row in record.rounds()]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The setting that starts a run from a model that has learned already."""
    record = run(tmp_path_factory.mktemp("honest"), "rounds=3")
    return f"weights={record.folder / 'model.safetensors'}"


@pytest.mark.parametrize("mode", ["secagg=none", "secagg=full"])
def test_ten_times_the_step_backwards_is_undone_and_without_the_gate_the_model_is_lost(
    home: Path, learned: str, mode: str
) -> None:
    kept = run(home, mode, learned, *HOSTILE, "rounds=2", "validation-gate=0.1", "root-samples=60")
    lost = run(home, mode, learned, *HOSTILE, "rounds=2")
    assert [row.rolled_back for row in kept.rounds()] == [None, "accuracy fell", "accuracy fell"]
    models = [kept.load_checkpoint(each) for each in kept.checkpoints()]
    assert np.array_equal(models[0], models[1]) and np.array_equal(models[0], models[2])
    assert [row.update_norm for row in kept.rounds()] == [0.0] * 3
    assert accuracy(kept)[-1] > 0.8 and accuracy(lost)[-1] < 0.3
    assert kept.status() == "succeeded"
    kept.verify()


def backwards(message: Message, context: Context) -> Message:
    """Site 0 sends ten times its step, backwards."""
    reply = honest(message=message, context=context)
    if message.metadata.message_type == MessageType.TRAIN and context.node_config["partition-id"] == 0:
        reply.content["update"] = ArrayRecord({"u": Array(-10 * reply.content["update"]["u"].numpy())})
    return reply


DISTRIBUTED = (
    "grid=local",
    "sites=5",
    "samples=200",
    "test-samples=80",
    "partition=iid",
    "model=tanh_cnn",
    "secagg=full",
    "dp-sgd=distributed",
    "dp-epsilon=12",
    "dp-delta=1e-4",
    "dp-sample-rate=0.5",
    "dp-noise-multiplier=1",
    "insecure-test-rng=true",
    "momentum=0.9",
    "rounds=6",
    "validation-gate=0.02",
    "root-samples=40",
)


def test_the_momentum_of_one_dp_sgd_over_all_sites_goes_on_as_if_an_undone_round_had_not_been(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[int, tuple[Any, Any]] = {}
    step_of = GlobalSGD.step

    def watched(steps: GlobalSGD, mean: Any, sites: Any, *, round: int) -> Any:
        opened[round] = mean, sites
        return step_of(steps, mean, sites, round=round)

    monkeypatch.setattr(GlobalSGD, "step", watched)
    record = make(home, *DISTRIBUTED)
    execute(record, home)
    undone = {row.round for row in record.rounds() if row.rolled_back}
    taken = set(opened) - undone
    assert len(opened) == 6 and any(after > before for before in undone for after in taken)

    images = dict(enumerate(site_sizes(record.config)))
    steps, model = GlobalSGD(planned(record.config), images), record.load_checkpoint(record.checkpoints()[0])
    for each in record.checkpoints()[1:]:
        if each.round in taken:
            mean, sites = opened[each.round]
            model = model + step_of(steps, mean, sites, round=each.round)
        assert np.array_equal(record.load_checkpoint(each), model)


def test_a_run_that_was_cut_off_goes_on_from_the_model_that_was_kept(home: Path, learned: str) -> None:
    settings = (learned, "validation-gate=0.1", "root-samples=60", "rounds=2")
    whole, parts = make(home, *settings), make(home, *settings)

    def stop_in_round_1(message: Message) -> Message:
        if message.metadata.group_id == "1":
            parts.request_stop()
        return message

    def on(record: RunRecord, grid: LocalGrid) -> None:
        coordinate(grid, record, open_roster(site_sizes(record.config)), FedAvg(), facts={"pid": os.getpid()})

    on(whole, LocalGrid(backwards, 5))
    on(parts, LocalGrid(backwards, 5, fault=stop_in_round_1))
    assert parts.last_checkpoint().round == 1
    parts.clear_stop()
    on(parts, LocalGrid(backwards, 5))
    for record in (whole, parts):
        assert [row.rolled_back for row in record.rounds()] == [None, "accuracy fell", "accuracy fell"]
    assert np.array_equal(*(each.load_checkpoint(each.last_checkpoint()) for each in (whole, parts)))
