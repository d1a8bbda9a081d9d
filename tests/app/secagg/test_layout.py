"""Words of a masked vector: an update and, behind it, what was measured."""

import math

import numpy as np
import pytest

from secure_fl.app.secagg.layout import Layout, Tally, averages, digest_of, largest_weight
from secure_fl.config import RunConfig
from secure_fl.secagg.errors import NonFinite

MODEL = "ab" * 32
FULL = RunConfig(secagg="full")


def layout(config: RunConfig = FULL, members: int = 5) -> Layout:
    return Layout.of(config, size=40, members=members, max_weight=100, model_sha256=MODEL)


def test_a_sum_of_encodings_decodes_to_the_weighted_mean_and_the_sums_of_the_counters():
    made, rng = layout(), np.random.default_rng(0)
    updates = [rng.normal(size=40).astype(np.float32) for _ in range(3)]
    tallies = [Tally(10, 2, {"train-loss": 1.0, "validation-accuracy": 0.5})] * 3
    total = np.zeros(made.words, np.uint32)
    for weight, update, tally in zip((10, 20, 70), updates, tallies, strict=True):
        total += made.encode(update * np.float32(0.1), weight, tally, rounding=bytes(32))
    mean, weight, counts = made.decode(total)
    assert weight == 100 and counts["images"] == 30 and counts["validation_correct"] == 3
    expected = 0.1 * (10 * updates[0] + 20 * updates[1] + 70 * updates[2]) / 100
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert averages(counts)["train_loss"] == pytest.approx(1.0)
    assert averages(counts)["validation_accuracy"] == 0.5


def test_a_loss_that_diverged_is_counted_as_very_large_and_an_update_that_did_is_refused():
    counts = Tally(10, 0, {"train-loss": math.nan}).counts()
    assert averages({**counts})["train_loss"] == 1e4 and averages(counts)["validation_accuracy"] is None
    with pytest.raises(NonFinite):
        layout().encode(np.full(40, np.nan, np.float32), 1, Tally(1, 0, {}), rounding=bytes(32))


def test_under_dp_sgd_nothing_measured_on_images_has_a_place():
    private = RunConfig(secagg="full", dp_epsilon=8.0)
    assert layout(private).counters.names == ("weight", "clipped")
    assert "train_loss" in layout().counters.names


def test_the_largest_weight_is_declared_or_the_cap():
    assert largest_weight(FULL, (30, 70)) == 70
    assert largest_weight(FULL, (30, 0)) == FULL.sample_cap


def test_the_digest_tells_settings_weights_and_groups_apart():
    digests = {
        digest_of(FULL, (1, 2), b""),
        digest_of(FULL, (2, 1), b""),
        digest_of(FULL, (1, 2), b"groups"),
        digest_of(FULL.changed({"lr": 0.5}), (1, 2), b""),
    }
    assert len(digests) == 4
