"""Runs that train the classifier alone, and runs whose model is an average, with the real parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
from flwr.app import Message, MessageType

from secure_fl.app import client_app
from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.strategy import FedAvg
from secure_fl.config_sources import resolve
from secure_fl.data import site_sizes
from secure_fl.errors import ConfigError
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.models import ModelSpec, build_model, load_model
from secure_fl.runs import RunRecord

LIGHT = ModelSpec("light_cnn", 10, 16, "group", 16, "small-images", 1.0, 0.2)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A body to start from; that it has learned nothing does not matter here."""
    safetensors.torch.save_file(build_model(LIGHT, seed=7).state_dict(), tmp_path / "body.safetensors")
    return tmp_path / "body.safetensors"


def make(home: Path, *assignments: str) -> RunRecord:
    smoke = ("grid=local", "samples=240", "test-samples=60", *assignments)
    return RunRecord.create(home, resolve(flags={}, assignments=smoke, environ={}, preset="smoke"))


def ending(record: RunRecord) -> dict:
    return next(dict(event.fields) for event in reversed(record.events()) if event.kind == "run-finished")


@pytest.mark.parametrize("private", [(), ("dp-epsilon=8", "dp-delta=1e-3", "dp-sample-rate=0.5")])
def test_only_the_classifier_travels_and_the_body_stays_as_it_was(tmp_path, weights, private):
    record = make(tmp_path, "train-part=head", f"weights={weights}", *private)
    execute(record, tmp_path)
    assert record.summary().start["parameters"] == 96 * 10 + 10
    replies = [event for event in record.events() if event.kind == "reply-accepted"]
    assert len(replies) == 6 and all(event["bytes_up"] < 4 * 970 + 20_000 for event in replies)
    model, card = load_model(record.folder / "model.safetensors")
    given = safetensors.torch.load_file(weights)
    assert card.spec.trained == "head"
    for name, tensor in model.state_dict().items():
        assert tensor.equal(given[name]) == name.startswith("features"), name


def test_a_head_without_weights_or_with_augmentation_is_refused(weights):
    for assignments, words in (
        ((), "`weights` is empty"),
        ((f"weights={weights}", "augment=flip"), "`augment` is flip"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(flags={}, assignments=("train-part=head", *assignments), environ={}, preset="smoke")


def test_a_run_whose_model_is_an_average_ends_in_the_same_model_when_it_was_cut_off_and_resumed(tmp_path):
    settings = ("rounds=4", "average=0.6", "lr-schedule=linear")
    whole, last = make(tmp_path / "whole", *settings), make(tmp_path / "last", *settings[::2])
    execute(whole, tmp_path / "whole")
    execute(last, tmp_path / "last")
    record = make(tmp_path / "cut", *settings)

    def cut(message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and message.metadata.group_id == "3":
            raise ConnectionError("the SuperLink is away")
        return message

    with pytest.raises(ConnectionError):
        coordinate(
            LocalGrid(client_app.app, 3, fault=cut), record, open_roster(site_sizes(record.config)), FedAvg(),
            facts={"pid": 1},
        )  # fmt: skip
    execute(record, tmp_path / "cut")
    assert ending(record)["model_sha256"] == ending(whole)["model_sha256"] != ending(last)["model_sha256"]
    assert [row.accuracy for row in record.rounds()] == [row.accuracy for row in whole.rounds()]
