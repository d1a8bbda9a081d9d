"""secure_fl/secagg/rotation.py: against Hadamard's matrix written out, and what it is for: sums in 16 bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import hadamard

from secure_fl.secagg.errors import BudgetTooSmall
from secure_fl.secagg.ring import FixedPoint, Ring
from secure_fl.secagg.rotation import TAIL, RotatedFixedPoint, Rotation

SIZES = [1, 2, 3, 5, 16, 17, 31, 33, 64, 100, 1000, 4096, (1 << 16) + 1]


def seed(number: int) -> bytes:
    return number.to_bytes(32, "big")


def normal(size: int, number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(size, dtype=np.float32)


@pytest.mark.parametrize("order", [1, 2, 4, 8, 16, 32, 64, 512])
def test_of_a_power_of_two_it_is_hadamards_matrix_times_signs(order: int) -> None:
    rotation = Rotation(order, seed(1))
    columns = np.array([rotation.rotate(row) for row in np.eye(order, dtype=np.float32)]).T
    signs = hadamard(order).T @ columns / math.sqrt(order)
    assert signs == pytest.approx(np.diag(np.sign(np.diag(signs))), abs=1e-5)


def test_signs_are_drawn_one_by_one() -> None:
    """One in two is negative, and neighbours within a word and across words have nothing in common."""
    order = 1 << 16
    first_row = np.eye(1, order, dtype=np.float32)[0]  # of H·D: all of D, which H's first row leaves as it is
    signs = Rotation(order, seed(2)).unrotate(first_row) * math.sqrt(order)
    assert np.abs(signs) == pytest.approx(1.0)
    assert abs(signs.mean()) < 4 / math.sqrt(order)
    for lag in (1, 2, 32, order // 32):
        assert abs((signs[lag:] * signs[:-lag]).mean()) < 4 / math.sqrt(order - lag)


@pytest.mark.parametrize("size", SIZES)
def test_it_keeps_the_norm_and_turns_back(size: int) -> None:
    rotation, vector = Rotation(size, seed(3)), normal(size)
    before = vector.copy()
    turned = rotation.rotate(vector)
    assert np.array_equal(vector, before)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(vector), rel=1e-5)
    assert np.linalg.norm(rotation.unrotate(turned) - vector) <= 2e-6 * np.linalg.norm(vector)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_linear(size: int) -> None:
    rotation, one, other = Rotation(size, seed(4)), normal(size, 1), normal(size, 2)
    together = rotation.rotate(one - 2 * other)
    assert together == pytest.approx(rotation.rotate(one) - 2 * rotation.rotate(other), abs=3e-5)


@pytest.mark.parametrize("size", [1024, 1025, 1500, 2047])
@pytest.mark.parametrize("shape", ["first alone", "last alone", "all equal", "an eighth", "falling"])
def test_coordinates_keep_hoeffdings_bound_whatever_the_update(size: int, shape: str) -> None:
    vector = {
        "first alone": np.eye(1, size)[0],
        "last alone": np.eye(1, size)[0][::-1],
        "all equal": np.ones(size),
        "an eighth": (np.arange(size) % 8 == 0) * 1.0,
        "falling": 1 / (1.0 + np.arange(size)),
    }[shape]
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    seeds = 200
    turned = np.array([Rotation(size, seed(number)).rotate(vector) for number in range(seeds)])
    beyond = np.abs(turned) * math.sqrt(Rotation(size, seed(0)).block)
    for c in (2.0, 3.0, 4.0):
        # Of one coordinate over the seeds, which are independent; coordinates of one seed are not.
        expected = 2 * math.exp(-c * c / 2)
        assert (beyond > c).mean() <= expected
        most = seeds * expected + 6 * math.sqrt(seeds * expected) + 2
        assert (beyond > c).sum(axis=0).max() <= most
    assert beyond.max() < TAIL


def test_seeds_decide() -> None:
    vector = normal(300)
    assert np.array_equal(Rotation(300, seed(5)).rotate(vector), Rotation(300, seed(5)).rotate(vector))
    assert not np.allclose(Rotation(300, seed(5)).rotate(vector), Rotation(300, seed(6)).rotate(vector))


# --- the encoding ------------------------------------------------------------------------------------


def relative_error(code: FixedPoint | RotatedFixedPoint, updates: list[np.ndarray], weights: list[int]) -> float:
    """Of the decoded weighted mean, in L2."""
    total = np.zeros(updates[0].size, code.ring.dtype)
    out = np.empty_like(total)
    for number, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        assert code.encode(update, weight, out, rounding=seed(number)) == 1.0
        total += out
    mean = np.average(np.array(updates, np.float64), axis=0, weights=weights)
    return float(np.linalg.norm(code.decode(total, sum(weights)) - mean) / np.linalg.norm(mean))


def test_sixteen_bits_with_a_rotation_are_a_hundred_times_as_exact_as_without() -> None:
    size, sites = 70_000, 10
    layers = np.repeat([0.1, 1.0, 10.0], [size // 2, size // 4, size - size // 2 - size // 4]).astype(np.float32)
    common = normal(size, 99)
    updates = [layers * (common + normal(size, site)) for site in range(sites)]
    clip = 1.05 * max(float(np.linalg.norm(update)) for update in updates)
    weights = [60, 80, 100, 70, 90, 100, 100, 50, 100, 85]
    rotation = Rotation(size, seed(7))
    rotated = relative_error(RotatedFixedPoint(Ring(16), sites, clip, 100, rotation), updates, weights)
    plain = relative_error(FixedPoint(Ring(16), sites, clip, 100), updates, weights)
    fine = relative_error(FixedPoint(Ring(32), sites, clip, 100), updates, weights)
    assert rotated < 1e-3 and rotated < plain / 40
    assert fine < 2e-5


@pytest.mark.parametrize("sites", [2, 10])
@pytest.mark.parametrize("bits", [16, 32])
def test_an_update_made_to_fit_the_seed_is_clamped_and_wraps_nothing(bits: int, sites: int) -> None:
    rotation = Rotation(5000, seed(8))
    code = RotatedFixedPoint(Ring(bits), sites, 1.0, 10, rotation)
    spike = rotation.unrotate(np.eye(1, 5000, 4321, dtype=np.float32)[0])
    out, total = np.empty(5000, code.ring.dtype), np.zeros(5000, code.ring.dtype)
    assert code.fixed.encode(rotation.rotate(spike), 10, out, rounding=seed(9)).clamped == 1
    for number in range(sites):
        code.encode(spike, 10, out, rounding=seed(number))
        total += out
    mean = rotation.rotate(code.decode(total, 10 * sites))
    assert mean[4321] == pytest.approx(TAIL / math.sqrt(4096), rel=1e-2)


def test_an_update_beyond_the_clip_is_shortened_before_it_is_clamped() -> None:
    code = RotatedFixedPoint(Ring(16), 5, 1.0, 10, Rotation(3000, seed(1)))
    update, out = normal(3000), np.empty(3000, np.uint16)
    factor = code.encode(update, 10, out, rounding=seed(2))
    assert factor == pytest.approx(1 / np.linalg.norm(update), rel=1e-5)
    assert np.linalg.norm(code.decode(out, 10)) == pytest.approx(1.0, rel=1e-3)


def test_a_vector_so_short_that_a_rotation_promises_nothing_is_bounded_by_the_clip() -> None:
    assert RotatedFixedPoint(Ring(16), 5, 1.0, 10, Rotation(9, seed(1))).fixed.bound == 1.0


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "key"), [(0, bytes(32)), (8, bytes(16)), (8, b"")])
def test_a_rotation_has_a_size_and_a_whole_seed(size: int, key: bytes) -> None:
    with pytest.raises(ValueError, match="seed of 32 bytes"):
        Rotation(size, key)


@pytest.mark.parametrize("vector", [np.zeros(9, np.float32), np.zeros(8), np.zeros((8, 1), np.float32)])
def test_other_vectors_are_refused(vector: np.ndarray) -> None:
    rotation = Rotation(8, seed(1))
    for turn in (rotation.rotate, rotation.unrotate):
        with pytest.raises(ValueError, match="8 values of float32"):
            turn(vector)


def test_a_ring_too_small_is_refused_when_the_encoding_is_made() -> None:
    with pytest.raises(BudgetTooSmall):
        RotatedFixedPoint(Ring(16), 10_000, 1.0, 10, Rotation(100, seed(1)))
