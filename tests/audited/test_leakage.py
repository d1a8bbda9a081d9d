"""What finished runs give away: real runs, some of which were made to keep less than they promise."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.leakage.gaussian import audit_gaussian
from audit.leakage.noise import NoiseTest, judge_noise
from audit.leakage.summary import PrivacyVerdict
from secure_fl.app import client_app, client_privacy
from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import open_roster
from secure_fl.app.site_privacy import ledger_file
from secure_fl.app.strategy import FedAvg
from secure_fl.audited.leakage import measure_leakage
from secure_fl.audited.leakage.claims import examine
from secure_fl.audited.leakage.engine import replay_coordinator, replay_site
from secure_fl.audited.leakage.membership import Candidates, audit_model, candidates
from secure_fl.audited.leakage.models import check_models
from secure_fl.audited.leakage.noise import noise_in_models, noise_in_updates
from secure_fl.config_sources import resolve
from secure_fl.data import load_test, site_sizes
from secure_fl.federation.launch import execute
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.models import VectorSpec, flatten, load_model
from secure_fl.privacy import engine
from secure_fl.privacy.accounting import PrivacyEvent
from secure_fl.privacy.mechanism import gaussian_mechanism
from secure_fl.privacy.randomness import Randomness
from secure_fl.runs import RunRecord

SMALL = ("grid=local", "samples=240", "test-samples=60", "partition=iid", "model=tanh_cnn", "dropout=0", "seed=3")
# Noise from the seed: each of these tests would raise a false alarm once in a thousand times with noise of its own.
DP = ("dp-epsilon=8", "dp-delta=1e-4", "insecure-test-rng=true")
PRIVATE = (*SMALL, *DP, "rounds=6", "momentum=0.5", "lr-schedule=linear", "val-fraction=0")
AT_SITES = (*PRIVATE, "dp-sample-rate=1", "local-epochs=2", "dp-noise-multiplier=2.5")  # two steps a round
OF_SITES = (*PRIVATE, "dp-unit=client")
FEATURES = 16 * 16 + 1

Mechanism = Callable[..., object]


def made(home: Path, *assignments: str) -> RunRecord:
    return RunRecord.create(home, resolve(flags={}, assignments=assignments, environ={}, preset="smoke"))


def finished(home: Path, *assignments: str) -> RunRecord:
    record = made(home, *assignments)
    execute(record, home)
    return record


def weakened(ratio: float) -> Mechanism:
    """The mechanism with a bug: less noise than it is told."""

    def mechanism(values, *, sensitivity, noise_multiplier, randomness):
        return gaussian_mechanism(
            values, sensitivity=sensitivity, noise_multiplier=noise_multiplier * ratio, randomness=randomness
        )

    return mechanism


def spec_of(record: RunRecord) -> VectorSpec:
    return VectorSpec.of(load_model(record.folder / "model.safetensors")[0])


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return finished(tmp_path_factory.mktemp("private"), *AT_SITES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return finished(tmp_path_factory.mktemp("plain"), *SMALL)


def test_the_noise_of_a_private_run_is_in_its_models_as_promised(private):
    found = noise_in_models(private, spec_of(private))
    assert isinstance(found, NoiseTest)
    assert found.coordinates == 6 * FEATURES and found.flags == () and found.ratio == pytest.approx(1.0, abs=0.07)


def test_a_run_whose_sites_draw_too_little_noise_is_found_out_from_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "gaussian_mechanism", weakened(0.8))
    record = finished(tmp_path, *AT_SITES)
    monkeypatch.undo()
    found = noise_in_models(record, spec_of(record))
    assert isinstance(found, NoiseTest) and found.flags == ("noise-too-small",)
    assert found.ratio == pytest.approx(0.8, abs=0.06)
    examined = examine(record, spec_of(record), (), seed=0, updates=None)
    assert examined.verdict is PrivacyVerdict.VIOLATED
    assert {each.rule for each in examined.assessments["run, each image"].findings} == {
        "privacy/noise-too-small", "privacy/epsilon-exceeded",
    }  # fmt: skip
    assert examined.assessments["engine of the sites"].verdict is PrivacyVerdict.CONSISTENT  # the bug is undone


@pytest.mark.parametrize(("ratio", "flags"), [(1.0, ()), (0.8, ("noise-too-small",))])
def test_the_coordinators_noise_is_in_its_models_too(tmp_path, monkeypatch, ratio, flags):
    monkeypatch.setattr(client_privacy, "gaussian_mechanism", weakened(ratio))
    record = finished(tmp_path, *OF_SITES)
    found = noise_in_models(record, spec_of(record))
    assert isinstance(found, NoiseTest) and found.flags == flags
    assert found.coordinates == 6 * FEATURES and found.ratio == pytest.approx(ratio, abs=0.07)


class Keeping(FedAvg):
    """FedAvg that keeps what it was given, as an auditor of the wire would."""

    def __init__(self) -> None:
        self.updates: list[np.ndarray] = []

    def combine(self, updates, weights):
        self.updates += [each.copy() for each in updates]
        return super().combine(updates, weights)


def test_updates_off_the_wire_hold_more_of_the_noise_than_models_do(tmp_path):
    record, kept = made(tmp_path, *AT_SITES, "rounds=4"), Keeping()
    ledgers = [str(ledger_file(tmp_path, f"site-{index}")) for index in range(3)]
    configs = [{"privacy-ledger": ledger, "insecure-test-rng": True} for ledger in ledgers]
    sizes = site_sizes(record.config)
    grid = LocalGrid(client_app.app, 3, node_configs=configs)
    coordinate(grid, record, open_roster(sizes), kept, facts={"pid": 1})
    sites = sorted(site.site for site in record.rounds()[1].sites)
    assert len(set(sizes)) == 1  # so that it does not matter whose update is whose
    updates = {(1 + number // 3, sites[number % 3]): each for number, each in enumerate(kept.updates)}
    found = noise_in_updates(record, spec_of(record), updates)
    assert isinstance(found, NoiseTest) and found.coordinates == 12 * FEATURES and found.flags == ()
    halved = noise_in_updates(record, spec_of(record), {key: each * 0.9 for key, each in updates.items()})
    assert isinstance(halved, NoiseTest) and halved.flags == ("noise-too-small",)


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (SMALL, "no differential privacy"),
        ((*AT_SITES, "dp-unit=both"), "both sites and coordinator"),
        ((*AT_SITES, "defense=median", "byzantine=1"), "not a weighted mean"),
        ((*OF_SITES, "weight-decay=0.1"), "weight decay"),
        ((*OF_SITES, "attack=sign_flip", "attackers=1"), "do not follow the mechanism"),
    ],
)
def test_where_the_noise_cannot_be_told_the_reason_is_given(tmp_path, private, assignments, reason):
    found = noise_in_models(made(tmp_path, *assignments), spec_of(private))
    assert isinstance(found, str) and reason in found


def test_a_run_without_noise_at_its_sites_has_none_in_its_updates(plain):
    assert noise_in_updates(plain, spec_of(plain), {}) == "the sites do not train by DP-SGD"


def replayed(event: PrivacyEvent, canaries: int = 1_000):
    return replay_site(
        event, 0.7, canaries=canaries, coins=np.random.default_rng(0), randomness=Randomness.insecure_for_tests(1)
    )


def test_canaries_pass_the_engine_once_a_step_at_full_rate():
    found = replayed(PrivacyEvent("poisson-gaussian", 2.0, 1.0, 20))
    inside, outside = found.scores[found.included], found.scores[~found.included]
    width = 2.0 * np.sqrt(20)
    assert inside.mean() - outside.mean() == pytest.approx(20.0, abs=4 * width * np.sqrt(4 / 1_000))
    assert inside.std() == pytest.approx(width, rel=0.15) and judge_noise(found.noise, found.noise_std).flags == ()


def test_canaries_pass_the_engine_as_often_as_they_are_drawn():
    found = replayed(PrivacyEvent("poisson-gaussian", 1e-3, 0.3, 50))
    counts = found.scores[found.included].round()
    assert np.abs(found.scores[~found.included]).max() < 0.1
    assert counts.mean() == pytest.approx(15.0, abs=0.6) and counts.var() == pytest.approx(50 * 0.3 * 0.7, rel=0.25)


def test_an_engine_with_too_little_noise_is_found_out_by_its_canaries(monkeypatch):
    monkeypatch.setattr(engine, "gaussian_mechanism", weakened(0.5))
    event = PrivacyEvent("poisson-gaussian", 4.0, 1.0, 60)
    found = replayed(event)
    assert judge_noise(found.noise, found.noise_std).flags == ("noise-too-small",)
    claimed = audit_gaussian(found.scores, found.included, delta=1e-5)
    assert claimed.epsilon_low > 9.5  # ε of σ = 4 and 60 steps is 9.4


def test_the_coordinators_mechanism_is_replayed_as_well():
    found = replay_coordinator(
        PrivacyEvent("gaussian", 3.0, 1.0, 12), 2.0, canaries=2_000, coins=np.random.default_rng(0),
        randomness=Randomness.insecure_for_tests(1),
    )  # fmt: skip
    assert judge_noise(found.noise, found.noise_std).flags == ()
    shift = found.scores[found.included].mean() - found.scores[~found.included].mean()
    assert shift == pytest.approx(12.0, abs=4 * found.noise_std * np.sqrt(4 / 2_000))


def pixels(picture: dict) -> np.ndarray:
    shape = picture["height"], picture["width"], picture["channels"]
    return np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8).reshape(shape)


def test_a_private_run_is_measured_and_consistent_with_its_claim(private):
    document = measure_leakage(private, seed=0)
    json.dumps(document, allow_nan=False)
    assert document["privacy"]["verdict"] == "consistent" and document["findings"] == []
    tests = {each["test"]: each for each in document["privacy"]["bounds"]}
    noise = {"χ² of the noise, models of the run", "χ² of the noise, replayed mechanism"}
    assert {"one run", "Gaussian mechanism", *noise} <= set(tests)
    assert all(each["lower"] is None or each["lower"] <= each["claimed"] for each in tests.values())
    assert 5.0 < tests["χ² of the noise, models of the run"]["claimed"] <= 8.0


@pytest.fixture(scope="module")
def document(plain) -> dict[str, Any]:
    return measure_leakage(plain, seed=5)


def test_a_plain_run_shows_its_members_and_its_picture_and_claims_nothing(plain, document):
    json.dumps(document, allow_nan=False)
    assert document["privacy"]["verdict"] == "not tested" and "claims no differential" in document["privacy"]["note"]
    assert [each["attack"] for each in document["membership"]] == ["loss threshold", "RMIA, 2 reference models"]
    for attack in document["membership"]:
        members = sum(site["train_images"] for site in plain.data["sites"])
        assert (attack["members"], attack["non_members"]) == (members, 60)
        assert attack["auc_low"] < attack["auc"] < attack["auc_high"] and attack["at"] == []
    assert document["manifest"]["outcome"] == "consistent"
    assert document["manifest"]["expected_sha256"] == document["manifest"]["seen_sha256"]
    inversion = document["inversion"]
    bare, noised, summed = inversion["reconstructions"]
    assert bare["psnr_db"] > 30 > 15 > noised["psnr_db"] and summed["psnr_db"] < bare["psnr_db"] - 10
    test, _ = load_test(plain.config)
    assert any((pixels(inversion["original"]) == image).all() for image in test.images)  # never a site's
    assert "does not use" in noised["protection"]


def test_a_trap_among_the_models_of_a_run_is_found_by_its_round(private, monkeypatch):
    network, card = load_model(private.folder / "model.safetensors")
    trapped = network.state_dict()["classifier.1.weight"]
    trapped[:] = trapped[0]
    monkeypatch.setattr(private, "load_checkpoint", lambda checkpoint: flatten(network))
    found = check_models(private, network, card.spec)
    assert found.models == 7 and [number for number, _ in found.findings] == list(range(7))
    assert {each.rule for _, each in found.findings} == {"trap/parallel-rows"}


def test_equal_seeds_judge_members_equally(plain):
    model, _ = load_model(plain.folder / "model.safetensors")
    given = candidates(plain.config, 100, np.random.default_rng(0))
    assert isinstance(given, Candidates) and given.member.sum() == 100
    one, again = (audit_model(model, given, delta=1e-5, confidence=0.999, seed=1) for _ in range(2))
    assert one == again and [each.members for each in one] == [100, 100]


def test_images_too_few_or_too_large_are_not_judged(plain):
    config = plain.config
    found = candidates(replace(config, test_samples=20), 1_000, np.random.default_rng(0))
    assert isinstance(found, str) and "20 others are too few" in found
    found = candidates(config, 29, np.random.default_rng(0))
    assert isinstance(found, str) and "too large to be measured in time" in found
