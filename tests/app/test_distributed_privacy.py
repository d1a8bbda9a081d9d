"""Distributed DP in a run: both ends' encoding, and one DP-SGD over all sites against the same on pooled images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from secure_fl.app.distributed_privacy import (
    ClientSteps,
    GlobalSGD,
    codec_of,
    encoding_seed,
    shared_noise,
    stepper_of,
)
from secure_fl.app.identity import open_roster
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import ConfigError
from secure_fl.models import flatten, flatten_by_parameter
from secure_fl.privacy.engine import clipped_gradient_sum
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import client_event, planned
from secure_fl.runs import RunRecord

CLIENT = RunConfig(secagg="full", dp_epsilon=8.0, dp_unit="client", dp_client_clip=2.0, rounds=3)
GLOBAL = planned(
    RunConfig(secagg="full", dp_epsilon=8.0, dp_sgd="distributed", dp_delta=1e-4, rounds=30, momentum=0.6, lr=0.5)
)


def record_of(config: RunConfig, home) -> RunRecord:
    return RunRecord.create(home, ResolvedConfig(config, {}), command=("test",))


def test_without_distributed_noise_there_is_no_codec_and_no_stepper(tmp_path):
    for config in (
        RunConfig(secagg="full"),
        RunConfig(dp_epsilon=8.0, dp_unit="client"),
        RunConfig(secagg="full", dp_epsilon=8.0),
    ):
        assert codec_of(config, members=5, quorum=4, parameters=100) is None
        assert stepper_of(config, record_of(config, tmp_path), open_roster([9] * 5), parameters=100) is None


def test_client_noise_is_made_for_the_survivors_that_are_sure_to_be_honest():
    codec = codec_of(CLIENT, members=5, quorum=4, parameters=100)
    trusted = codec_of(CLIENT.changed({"secagg-colluders": 2}), members=5, quorum=4, parameters=100)
    assert trusted.noise.variance == pytest.approx(2 * codec.noise.variance, rel=1e-6)
    assert codec.clip == 2.0 and codec.longest_squared is not None
    total = math.sqrt(4 * codec.noise.variance) / codec.scale
    assert total == pytest.approx(client_event(CLIENT).noise_multiplier * 2.0, rel=3e-4)


def test_gradient_sums_are_not_clipped_again_and_noised_in_units_of_the_images_clip():
    codec = codec_of(GLOBAL, members=5, quorum=4, parameters=100)
    assert codec.longest_squared is None
    total = math.sqrt(4 * codec.noise.variance) / codec.scale
    assert total == pytest.approx(GLOBAL.dp_noise_multiplier * GLOBAL.dp_clip, rel=3e-4)
    out = np.empty(100, np.uint32)
    assert codec.encode(np.full(100, 30.0), 1, out, rounding=bytes(32)) == 1.0
    assert codec.decode(out, 1).mean() == pytest.approx(30.0, abs=1.0)


def test_colluders_that_leave_no_honest_survivor_are_refused():
    with pytest.raises(ConfigError, match="sure to be honest"):
        shared_noise(CLIENT.changed({"secagg-colluders": 3}), quorum=3, parameters=100)


def test_seeds_are_fresh_unless_the_run_is_a_test():
    assert encoding_seed(CLIENT, round=1, site=0) != encoding_seed(CLIENT, round=1, site=0)
    test = CLIENT.changed({"insecure-test-rng": True})
    assert encoding_seed(test, round=1, site=0) == encoding_seed(test, round=1, site=0)
    assert len({encoding_seed(test, round=r, site=s) for r in (1, 2) for s in (0, 1)}) == 4


def test_the_coordinator_enters_a_client_round_into_its_ledger_before_the_model_moves(tmp_path):
    record = record_of(CLIENT, tmp_path)
    steps = stepper_of(CLIENT, record, open_roster([9] * 5), parameters=3)
    assert isinstance(steps, ClientSteps)
    mean = np.ones(3, np.float32)
    assert steps.step(mean, [0, 1, 2, 4], round=1) is mean
    (line,) = Ledger(steps.privacy.ledger.path).spendings()
    assert (line.unit, line.adjacency, line.event) == ("client", "zero-out", client_event(CLIENT))


def test_steps_are_those_of_sgd_with_momentum_on_the_mean_gradient_of_all_images(tmp_path):
    images = {0: 100, 1: 50, 2: 70, 3: 10, 4: 20}
    steps = GlobalSGD(GLOBAL, images)
    weight = nn.Parameter(torch.zeros(4))
    reference = torch.optim.SGD([weight], lr=0.5, momentum=0.6)
    model, rng = np.zeros(4, np.float32), np.random.default_rng(0)
    for round, sites in enumerate(([0, 1, 2, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]), start=1):
        sums = rng.normal(size=(len(sites), 4))
        model = model + steps.step(sums.mean(0).astype(np.float32), sites, round=round)
        drawn = GLOBAL.dp_sample_rate * sum(images[each] for each in sites)
        weight.grad = torch.from_numpy((sums.sum(0) / drawn).astype(np.float32))
        reference.step()
    assert model == pytest.approx(weight.detach().numpy(), rel=1e-5)


def test_after_a_restart_momentum_is_that_of_an_uninterrupted_run(tmp_path):
    record, roster = record_of(GLOBAL, tmp_path), open_roster([30] * 5)
    steps, model = GlobalSGD.of(GLOBAL, record, roster, parameters=6), np.zeros(6, np.float32)
    rng = np.random.default_rng(1)
    for round in range(4):
        if round:
            model = model + steps.step(rng.normal(size=6).astype(np.float32), range(5), round=round)
        saved = record.save_checkpoint(round, model, "d")
        record.append("round-finished", round=round, loss=0.0, accuracy=0.0, checkpoint_sha256=saved.sha256)
    again, mean = GlobalSGD.of(GLOBAL, record, roster, parameters=6), rng.normal(size=6).astype(np.float32)
    assert again.step(mean, range(5), round=4) == pytest.approx(steps.step(mean, range(5), round=4), rel=1e-5)


def test_a_step_that_is_undone_leaves_momentum_as_it_was_to_the_bit():
    rng = np.random.default_rng(2)
    first, hostile, next_ = (rng.normal(size=6).astype(np.float32) for _ in range(3))
    images = dict.fromkeys(range(5), 30)
    for before in ([], [first]):
        undone, without = GlobalSGD(GLOBAL, images), GlobalSGD(GLOBAL, images)
        for each in before:
            assert np.array_equal(undone.step(each, range(5), round=1), without.step(each, range(5), round=1))
        undone.step(1e6 * hostile, range(5), round=2)
        undone.undo()
        assert np.array_equal(undone.step(next_, range(5), round=3), without.step(next_, range(5), round=3))


def test_after_a_restart_momentum_is_that_of_the_last_step_that_was_taken(tmp_path):
    record, roster = record_of(GLOBAL, tmp_path), open_roster([30] * 5)
    steps, model = GlobalSGD.of(GLOBAL, record, roster, parameters=6), np.zeros(6, np.float32)
    rng = np.random.default_rng(3)
    for round in range(5):
        if round:
            step = steps.step(rng.normal(size=6).astype(np.float32), range(5), round=round)
            if round > 2:
                steps.undo()
            else:
                model = model + step
        saved = record.save_checkpoint(round, model, "d")
        record.append("round-finished", round=round, loss=0.0, accuracy=0.0, checkpoint_sha256=saved.sha256)
    again, mean = GlobalSGD.of(GLOBAL, record, roster, parameters=6), rng.normal(size=6).astype(np.float32)
    assert again.step(mean, range(5), round=5) == pytest.approx(steps.step(mean, range(5), round=5), rel=1e-5)


def test_sites_that_declare_no_images_are_refused(tmp_path):
    roster = open_roster([30] * 5).declaring({0: 30, 1: 30, 2: 30, 3: 30})
    with pytest.raises(ConfigError, match="site-4 declares no number of images"):
        GlobalSGD.of(GLOBAL, record_of(GLOBAL, tmp_path), roster, parameters=6)


def test_draws_that_could_leave_the_ring_are_refused(tmp_path):
    record = record_of(GLOBAL, tmp_path)
    GlobalSGD.of(GLOBAL, record, open_roster([30_000] * 5), parameters=6)  # a tenth of them is drawn
    with pytest.raises(ConfigError, match="wrap around"):
        GlobalSGD.of(GLOBAL, record, open_roster([36_000] * 5), parameters=6)
    with pytest.raises(ConfigError, match="wrap around"):  # noise alone can be too much, too
        codec_of(GLOBAL.changed({"dp-noise-multiplier": 2_000.0}), members=5, quorum=4, parameters=6)


def test_a_round_over_sites_is_a_step_over_their_pooled_images():
    """Each site's clipped sum, encoded, added in the ring and decoded, is the clipped sum of all their images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    inputs, labels = torch.randn(50, 3, 2, 2), torch.randint(3, (50,))
    parameters = len(flatten(model))
    codec = codec_of(GLOBAL, members=5, quorum=4, parameters=parameters)

    def clipped(images: slice) -> np.ndarray:
        sums = clipped_gradient_sum(model, inputs[images], labels[images], max_grad_norm=GLOBAL.dp_clip)
        return flatten_by_parameter(sums, model)

    def opened(contributions: list[np.ndarray]) -> np.ndarray:
        total, words = np.zeros(parameters, np.uint32), np.empty(parameters, np.uint32)
        for site, each in enumerate(contributions):
            codec.encode(each, 1, words, rounding=bytes([site] * 32))
            total += words
        return total

    noised = opened([clipped(slice(10 * site, 10 * site + 10)) for site in range(5)])
    noise = opened([np.zeros(parameters)] * 5)  # of the same seeds
    found = (noised - noise).view(np.int32) / codec.scale
    assert np.abs(found - clipped(slice(None))).max() < 5 / codec.scale + 1e-5
