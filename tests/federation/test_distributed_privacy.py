"""Distributed DP in whole runs on the local grid: noise in shares, under real masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.leakage.noise import TOO_SMALL
from audit.leakage.summary import PrivacyVerdict
from secure_fl.app.site_privacy import ledger_file
from secure_fl.audited.leakage.claims import examine
from secure_fl.audited.leakage.noise import noise_in_models
from secure_fl.config_sources import resolve
from secure_fl.federation.launch import execute
from secure_fl.models import VectorSpec, load_model
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import client_event, planned, sample_event
from secure_fl.runs import RunRecord
from secure_fl.secagg.noise import DiscreteGaussian

CLIENT = ("dp-unit=client", "rounds=2", "model=tanh_cnn", "local-epochs=1")
GLOBAL = (
    "dp-sgd=distributed",
    "rounds=3",
    "model=tanh_cnn",
    "dp-sample-rate=0.5",
    "momentum=0.5",
    "dp-noise-multiplier=1",
)
PRIVATE = ("grid=local", "sites=5", "samples=200", "test-samples=40", "partition=iid", "secagg=full", "dp-delta=1e-4")


def made(home: Path, *assignments: str) -> RunRecord:
    # Noise of a seed: private it is not, and the statistical tests below say the same every time.
    assignments = (*PRIVATE, "dp-epsilon=8", "insecure-test-rng=true", *assignments)
    record = RunRecord.create(home, resolve(flags={}, assignments=assignments, environ={}, preset="smoke"))
    execute(record, home)
    return record


def spec_of(record: RunRecord) -> VectorSpec:
    return VectorSpec.of(load_model(record.folder / "model.safetensors")[0])


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> RunRecord:
    return made(tmp_path_factory.mktemp("client"), *CLIENT)


@pytest.fixture(scope="module")
def global_sgd(tmp_path_factory) -> RunRecord:
    return made(tmp_path_factory.mktemp("global"), *GLOBAL)


def test_sites_keep_their_own_account_of_what_protects_them_from_the_coordinator(client):
    home = client.folder.parents[1]
    for name in (*(f"site-{index}" for index in range(5)), "coordinator"):
        lines = Ledger(ledger_file(home, name)).spendings()
        assert [(each.round, each.unit, each.adjacency) for each in lines] == [
            (number, "client", "zero-out") for number in (1, 2)
        ]
        assert {each.event for each in lines} == {client_event(client.config)}


def test_the_record_says_what_is_spent_and_that_the_coordinator_is_not_trusted(client):
    spent = [row.client_epsilon for row in client.rounds()]
    (promise,) = client.summary().start["privacy"]
    assert spent[0] == 0.0 < spent[1] < spent[2] <= 8.0
    assert promise["epsilon"] == pytest.approx(spent[2]) and promise["protects_against"].startswith("the coordinator")
    assert promise["assumes"].startswith("of the 4 or more of 5 sites")


@pytest.mark.parametrize("run", ["client", "global_sgd"])
def test_nothing_that_was_measured_on_images_leaves_a_site(run, request):
    record = request.getfixturevalue(run)
    for event in record.events():
        assert event.kind != "site-evaluated"
        if event.kind == "reply-accepted":
            assert set(event.fields) <= {"round", "site", "weight", "elapsed_s", "bytes_up", "bytes_down"}
        if event.kind == "site-joined":
            assert event["data"].startswith("keyed:")
        if event.kind == "round-finished" and event["round"]:
            measured = {"train_loss": event["train_loss"], **event["secagg"]}
            assert all(measured.get(key) is None for key in ("train_loss", "clipped", "validation_loss"))
            assert len(event["accepted"]) == 5


def test_a_round_of_distributed_dp_sgd_is_one_step_in_every_ledger(global_sgd):
    config = planned(global_sgd.config)
    for index in range(5):
        lines = Ledger(ledger_file(global_sgd.folder.parents[1], f"site-{index}")).spendings()
        assert [each.event for each in lines] == [sample_event(config)] * 3
        assert lines[0].event.steps == 1
    spent = [row.epsilon for row in global_sgd.rounds()]
    assert spent == sorted(spent) and 0.0 == spent[0] < spent[1] < spent[-1] <= 8.0


@pytest.mark.parametrize("run", ["client", "global_sgd"])
def test_the_models_of_a_run_hold_the_noise_of_all_shares(run, request):
    record = request.getfixturevalue(run)
    found = noise_in_models(record, spec_of(record))
    assert found.flags == () and found.coordinates > 100


@pytest.mark.parametrize("assignments", [CLIENT, GLOBAL])
def test_sites_that_add_four_fifths_of_their_shares_are_found_out_from_the_record(tmp_path, monkeypatch, assignments):
    honest = DiscreteGaussian.sample

    def weak(noise: DiscreteGaussian, count: int, key: bytes):
        return honest(DiscreteGaussian(noise.variance * 0.64), count, key)

    monkeypatch.setattr(DiscreteGaussian, "sample", weak)
    record = made(tmp_path, *assignments)
    found = noise_in_models(record, spec_of(record))
    assert TOO_SMALL in found.flags and found.ratio == pytest.approx(0.8, abs=0.08)
    if assignments is CLIENT:  # the other's verdict is of the same test, and of a replay that takes its time
        assert examine(record, spec_of(record), (), seed=0, updates=None).verdict is PrivacyVerdict.VIOLATED
