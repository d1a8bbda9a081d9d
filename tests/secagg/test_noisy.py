"""The encoding that adds noise: what is clipped, how long roundings get, and how much noise an opened sum holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audit.leakage.noise import TOO_SMALL, judge_noise
from secure_fl.privacy.distributed import LEVELS, SharedNoise
from secure_fl.secagg.errors import BudgetTooSmall, NonFinite, OutOfRange
from secure_fl.secagg.noise import DiscreteGaussian
from secure_fl.secagg.noisy import NoisyFixedPoint
from secure_fl.secagg.ring import Ring

RING = Ring(32)


def seed(*numbers: int) -> bytes:
    return b"".join(each.to_bytes(8, "little") for each in numbers).ljust(32, b"\0")


def codec_for(noise: SharedNoise, *, clip: float = 1.0, strength: float = 1.0) -> NoisyFixedPoint:
    """The encoding of a site's update; `strength`: what a faulty site multiplies the noise by."""
    share = DiscreteGaussian(noise.share * strength**2)
    return NoisyFixedPoint(RING, clip, noise.levels, share, noise.longest_squared)


def opened(codec: NoisyFixedPoint, updates: np.ndarray, *, round: int) -> np.ndarray:
    """The sum of the encodings, modulo 2^32, as secure aggregation opens it."""
    total, words = np.zeros(updates.shape[1], np.uint32), np.empty(updates.shape[1], np.uint32)
    for site, update in enumerate(updates):
        codec.encode(update, 1, words, rounding=seed(round, site))
        total += words
    return total


def test_a_sum_decodes_to_the_mean_of_the_clipped_updates_within_its_noise():
    rng = np.random.default_rng(0)
    noise = SharedNoise(noise_multiplier=0.001, dimension=500, honest=4)
    codec = codec_for(noise, clip=2.0)
    updates = rng.normal(size=(5, 500)).astype(np.float32)
    updates /= np.linalg.norm(updates, axis=1, keepdims=True)
    updates[0] *= 6  # is clipped to 2
    clipped = updates.astype(np.float64)
    clipped[0] /= 3
    mean = codec.decode(opened(codec, updates, round=0), 5)
    std = math.sqrt(5 * noise.share) / codec.scale / 5
    assert mean.dtype == np.float32
    assert np.abs(mean - clipped.mean(0)).max() < 5 * std
    assert abs(np.std(mean - clipped.mean(0)) / std - 1) < 0.15


@pytest.mark.parametrize(("survivors", "ratio"), [(4, 1.0), (5, 5 / 4)])
def test_the_sum_of_m_survivors_has_the_target_variance_and_of_n_that_times_n_over_m(survivors, ratio):
    noise = SharedNoise(noise_multiplier=1.3, dimension=4_000, honest=4)
    codec = codec_for(noise)
    still = np.zeros((survivors, 4_000), np.float32)  # all that is opened is noise
    values = np.concatenate([opened(codec, still, round=each).view(np.int32) for each in range(50)])
    assert values.astype(np.float64).var() / (noise.variance * ratio) == pytest.approx(1, abs=0.02)
    assert noise.variance == pytest.approx((1.3 * LEVELS) ** 2, rel=5e-4)


def test_the_audit_passes_the_noise_of_a_sum_and_finds_four_fifths_of_it_a_violation():
    noise = SharedNoise(noise_multiplier=0.8, dimension=3_000, honest=4)
    still, claimed = np.zeros((4, 3_000), np.float32), math.sqrt(noise.variance)
    right = opened(codec_for(noise), still, round=1).view(np.int32)
    assert judge_noise(right, claimed).flags == ()
    weak = opened(codec_for(noise, strength=0.8), still, round=1).view(np.int32)
    found = judge_noise(weak, claimed)
    assert TOO_SMALL in found.flags and found.ratio == pytest.approx(0.8, abs=0.05)


def test_noise_cannot_be_told_from_a_gaussian_of_the_claimed_size_where_an_update_was_sent():
    rng = np.random.default_rng(3)
    noise = SharedNoise(noise_multiplier=1.0, dimension=20_000, honest=4)
    codec = codec_for(noise)
    updates = (rng.normal(size=(4, 20_000)) / math.sqrt(20_000)).astype(np.float32)
    clipped = updates / np.maximum(1, np.linalg.norm(updates.astype(np.float64), axis=1, keepdims=True))
    left = opened(codec, updates, round=2).view(np.int32) - codec.scale * clipped.sum(0)
    assert judge_noise(left, math.sqrt(noise.variance)).flags == ()


def test_no_rounding_is_ever_longer_than_the_noise_was_made_for():
    rng = np.random.default_rng(1)
    dimension, levels = 400, 30
    longest = levels**2 + dimension // 6  # about half of all roundings are longer
    codec = NoisyFixedPoint(RING, 1.0, levels, DiscreteGaussian(100.0), longest)
    free = NoisyFixedPoint(RING, 1.0, levels, DiscreteGaussian(100.0), None)
    repeated = 0
    for trial in range(200):
        update = rng.normal(size=dimension).astype(np.float32)
        update /= np.linalg.norm(update) * 1.000001
        steps, factor = codec.rounded(update, rounding=seed(trial))
        assert factor == 1.0 and np.abs(steps - update.astype(np.float64) * levels).max() < 1
        assert steps @ steps <= longest
        first, _ = free.rounded(update, rounding=seed(trial))
        repeated += first @ first > longest
    assert 20 < repeated < 180


def test_roundings_have_the_right_mean():
    update = np.array([0.3, -0.3, 0.5000001, 0.0, 0.25], np.float32)
    codec = NoisyFixedPoint(RING, 1.0, 3, DiscreteGaussian(1.0), None)
    mean = np.mean([codec.rounded(update, rounding=seed(trial))[0] for trial in range(10_000)], axis=0)
    assert np.abs(mean - 3 * update.astype(np.float64)).max() < 4 * 0.5 / 100


@pytest.mark.parametrize("spread", ["one coordinate", "all coordinates", "random"])
def test_one_gradient_more_moves_a_rounded_sum_by_no_more_than_the_sensitivity(spread):
    rng = np.random.default_rng(2)
    dimension, levels = 3_000, 2_000
    noise = SharedNoise(noise_multiplier=1.0, dimension=dimension, honest=1, levels=levels)
    codec = NoisyFixedPoint(RING, 1.0, levels, DiscreteGaussian(noise.share), None)
    longest = 0.0
    for trial in range(100):
        others = rng.normal(size=dimension)  # a sum of many gradients, far longer than one
        one = {"one coordinate": np.eye(1, dimension)[0], "all coordinates": np.ones(dimension)}.get(
            spread, rng.normal(size=dimension)
        )
        with_it = others + one / np.linalg.norm(one)
        moved = codec.rounded(with_it, rounding=seed(trial))[0] - codec.rounded(others, rounding=seed(trial))[0]
        longest = max(longest, float(np.linalg.norm(moved)))
    assert levels - 1 <= longest <= noise.sensitivity


def test_only_weight_one_finite_vectors_and_fitting_arrays_are_encoded():
    codec = codec_for(SharedNoise(noise_multiplier=1.0, dimension=3, honest=1))
    update, out = np.zeros(3, np.float32), np.empty(3, np.uint32)
    with pytest.raises(OutOfRange, match="weight 2"):
        codec.encode(update, 2, out, rounding=seed(0))
    with pytest.raises(NonFinite):
        codec.encode(np.array([0, np.nan, 0], np.float32), 1, out, rounding=seed(0))
    with pytest.raises(ValueError, match="cannot hold"):
        codec.encode(update, 1, np.empty(3, np.uint16), rounding=seed(0))
    with pytest.raises(ValueError, match="32 bytes"):
        codec.encode(update, 1, out, rounding=b"short")
    with pytest.raises(ValueError, match="uint32"):
        codec.decode(np.empty(3, np.uint16), 1)
    with pytest.raises(OutOfRange):
        codec.decode(out, 0)


def test_an_encoding_without_room_or_meaning_is_refused():
    with pytest.raises(BudgetTooSmall, match="fill 16 bits"):
        NoisyFixedPoint(Ring(16), 1.0, LEVELS, DiscreteGaussian(4.0), None)
    with pytest.raises(BudgetTooSmall, match="fill 32 bits"):
        NoisyFixedPoint(RING, 1.0, LEVELS, DiscreteGaussian(1e18), None)
    with pytest.raises(ValueError, match="longest"):
        NoisyFixedPoint(RING, 1.0, 100, DiscreteGaussian(4.0), 9_999)
    for clip, levels in ((0.0, 5), (math.inf, 5), (1.0, 0)):
        with pytest.raises(ValueError, match="positive and finite"):
            NoisyFixedPoint(RING, clip, levels, DiscreteGaussian(4.0), None)


def test_a_bound_that_no_rounding_meets_is_refused_and_not_exceeded():
    codec = NoisyFixedPoint(RING, 1.0, 2, DiscreteGaussian(4.0), 4)
    update = np.full(400, 0.05, np.float32)  # of norm 1: its roundings have about 40 ones
    with pytest.raises(BudgetTooSmall, match="longer than the noise"):
        codec.rounded(update, rounding=seed(0))
