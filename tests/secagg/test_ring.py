"""secure_fl/secagg/ring.py: exact sums, floor or ceiling, no bias, and nothing that wraps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secure_fl.secagg.errors import BudgetTooSmall, NonFinite, OutOfRange
from secure_fl.secagg.ring import CHUNK, BoundedFixedPoint, FixedPoint, Ring

SEED = bytes(range(32))
BITS = st.sampled_from([16, 32])
UPDATES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2**40), 2**40, width=32))


def encoded(code: FixedPoint, update: np.ndarray, weight: int, seed: bytes = SEED) -> np.ndarray:
    """The words that `update` becomes, as signed Python-sized integers."""
    out = np.empty(update.size, code.ring.dtype)
    code.encode(update, weight, out, rounding=seed)
    return out.view(code.ring.signed).astype(np.int64)


# --- rounding ----------------------------------------------------------------------------------------


@given(
    bits=BITS,
    update=UPDATES,
    members=st.integers(1, 50),
    share=st.floats(0, 1),
    seed=st.binary(min_size=32, max_size=32),
)
def test_a_value_becomes_its_floor_or_its_ceiling(
    bits: int, update: np.ndarray, members: int, share: float, seed: bytes
) -> None:
    code = FixedPoint(Ring(bits), members, clip=3.0, max_weight=1000)
    weight = 1 + int(share * 999)
    out = np.empty(update.size, code.ring.dtype)
    factor = code.encode(update, weight, out, rounding=seed)
    exact = update.astype(np.float64) * (code.scale * weight * factor)
    words = out.view(code.ring.signed)
    assert np.all((words == np.floor(exact)) | (words == np.ceil(exact)))


@pytest.mark.parametrize("bits", [16, 32])
def test_whole_numbers_stay_as_they_are_up_to_the_largest(bits: int) -> None:
    """The corner where an inexact sum of value and random part would step over."""
    ring = Ring(bits)
    code = FixedPoint(ring, 1, clip=1.0, max_weight=1)
    wholes = np.array([0, 1, -1, 2, 3, 100, -101, 2**12, -(2**14) + 1]) * (1 if bits == 16 else 2**16)
    update = (wholes / code.scale).astype(np.float32)
    near = update.astype(np.float64) * code.scale
    for seed in range(50):
        words = encoded(code, update, 1, bytes([seed]) * 32)
        assert np.all((words == np.floor(near)) | (words == np.ceil(near)))
        assert np.all(words[wholes == 0] == 0)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("z", [-3.75, -3.1, -2.5, -1.0, -0.9, -0.5, -1e-3, 0.0, 1e-3, 0.25, 0.5, 0.999, 1.5, 2.3, 3.9])
def test_rounding_has_no_bias(bits: int, z: float) -> None:
    draws = 300_000
    code = FixedPoint(Ring(bits), 1, clip=1.0, max_weight=1)  # all draws together stay below the clip
    update = np.full(draws, z / code.scale, np.float32)
    value = float(np.float64(update[0]) * code.scale)
    words = encoded(code, update, 1, bytes([int(10 * z) % 256]) * 32)
    up = value - math.floor(value)
    error = math.sqrt(max(up * (1 - up), 1e-12) / draws)
    assert abs(words.mean() - value) < 5 * error + 2**-16
    assert set(np.unique(words)) <= {math.floor(value), math.ceil(value)}


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_chunks_leave_no_trace(size: int) -> None:
    code = FixedPoint(Ring(32), 5, clip=1e3, max_weight=10)
    update = np.random.default_rng(3).standard_normal(CHUNK + 9, dtype=np.float32)
    assert np.array_equal(encoded(code, update[:size], 4), encoded(code, update, 4)[:size])


def test_seeds_decide_the_rounding() -> None:
    code = FixedPoint(Ring(16), 5, clip=1.0, max_weight=1)
    update = np.full(1000, 1e-4, np.float32)
    assert np.array_equal(encoded(code, update, 1), encoded(code, update, 1))
    assert not np.array_equal(encoded(code, update, 1), encoded(code, update, 1, bytes(32)))


# --- the budget --------------------------------------------------------------------------------------


@given(bits=BITS, members=st.integers(1, 3000), clip=st.floats(1e-6, 1e6), most=st.integers(1, 10**6), data=st.data())
def test_the_extreme_of_every_member_never_wraps(
    bits: int, members: int, clip: float, most: int, data: st.DataObject
) -> None:
    try:
        code = FixedPoint(Ring(bits), members, clip, most)
    except BudgetTooSmall:
        assert Ring(bits).largest // members < 4
        return
    # One coordinate has all the norm; clips that float32 rounds up are clipped back.
    extreme = data.draw(st.sampled_from([clip, -clip, 2 * clip, -1e30]))
    word = int(encoded(code, np.array([extreme], np.float32), most)[0])
    assert abs(word) <= code.levels
    assert members * abs(word) <= Ring(bits).largest


@settings(max_examples=60)
@given(bits=BITS, updates=st.lists(UPDATES, min_size=1, max_size=6), data=st.data())
def test_the_sum_in_the_ring_is_the_sum_of_integers_and_decodes_to_the_mean(
    bits: int, updates: list[np.ndarray], data: st.DataObject
) -> None:
    size = min(update.size for update in updates)
    code = FixedPoint(Ring(bits), len(updates), clip=2.0, max_weight=100)
    total, weights = np.zeros(size, code.ring.dtype), []
    integers, mean = np.zeros(size, np.int64), np.zeros(size)
    for number, update in enumerate(updates):
        weights.append(data.draw(st.integers(1, 100)))
        out = np.empty(size, code.ring.dtype)
        factor = code.encode(update[:size], weights[-1], out, rounding=bytes([number]) * 32)
        total += out
        integers += out.view(code.ring.signed)
        mean += weights[-1] * factor * update[:size].astype(np.float64)
    assert np.array_equal(total.view(code.ring.signed), integers)
    mean /= sum(weights)
    decoded = code.decode(total, sum(weights))
    assert decoded.dtype == np.float32
    step = len(updates) / (code.scale * sum(weights))
    assert np.all(np.abs(decoded - mean) <= step + 1e-6 * np.abs(mean))


@pytest.mark.parametrize(("bits", "members"), [(16, 8192), (32, 2**29 + 1)])
def test_a_ring_too_small_for_its_members_is_refused_early(bits: int, members: int) -> None:
    with pytest.raises(BudgetTooSmall, match="members leave 3 steps"):
        FixedPoint(Ring(bits), members, 1.0, 1)
    with pytest.raises(BudgetTooSmall, match="members leave 3 steps"):
        BoundedFixedPoint(Ring(bits), members, 1.0, 1, 0.5)


def test_a_scale_beyond_floating_point_is_refused() -> None:
    with pytest.raises(BudgetTooSmall, match="no scale in float64"):
        FixedPoint(Ring(32), 5, 1e-305, 1)


# --- clipping ----------------------------------------------------------------------------------------


def test_the_factor_is_that_of_the_l2_clip() -> None:
    update = np.random.default_rng(0).standard_normal(CHUNK + 77, dtype=np.float32)
    norm = np.linalg.norm(update.astype(np.float64))
    for clip in (0.5, norm * (1 - 1e-9), norm * (1 + 1e-9), 1e6):
        code = FixedPoint(Ring(32), 5, float(clip), 10)
        factor = code.encode(update, 3, np.empty(update.size, np.uint32), rounding=SEED)
        assert factor == pytest.approx(min(1.0, clip / norm), rel=1e-12)


def test_the_largest_numbers_of_float32_are_clipped_and_not_refused() -> None:
    code = FixedPoint(Ring(32), 5, 1.0, 10)
    words = encoded(code, np.full(4, 3e38, np.float32), 10)
    assert words == pytest.approx(np.full(4, code.levels / 2), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, CHUNK, CHUNK + 1])
def test_what_is_not_finite_is_refused_wherever_it_stands(bad: float, at: int) -> None:
    update = np.zeros(CHUNK + 2, np.float32)
    update[at] = bad
    for code in (FixedPoint(Ring(32), 5, 1.0, 10), BoundedFixedPoint(Ring(16), 5, 1.0, 10, 0.1)):
        with pytest.raises(NonFinite):
            code.encode(update, 1, np.empty(update.size, code.ring.dtype), rounding=SEED)


# --- the bound of a coordinate -----------------------------------------------------------------------


@given(bits=BITS, update=UPDATES, members=st.integers(1, 100), bound=st.floats(1e-3, 2.0))
def test_clamping_alone_keeps_the_sum_from_wrapping(bits: int, update: np.ndarray, members: int, bound: float) -> None:
    code = BoundedFixedPoint(Ring(bits), members, clip=2.0, max_weight=7, bound=bound)
    out = np.empty(update.size, code.ring.dtype)
    factor, clamped = code.encode(update, 7, out, rounding=SEED)
    clipped = update.astype(np.float64) * factor
    words = out.view(code.ring.signed).astype(np.int64)
    assert np.all(np.abs(words) * members <= Ring(bits).largest)
    assert np.all(np.abs(words - np.clip(clipped, -bound, bound) * code.scale * 7) <= 1 + 1e-6)
    assert (
        int((np.abs(clipped) > bound * (1 + 1e-12)).sum())
        <= clamped
        <= int((np.abs(clipped) > bound * (1 - 1e-12)).sum())
    )


def test_a_bound_spends_the_steps_where_the_update_is() -> None:
    tight = BoundedFixedPoint(Ring(16), 10, clip=1.0, max_weight=100, bound=0.01)
    assert tight.levels == FixedPoint(Ring(16), 10, 1.0, 100).levels
    assert tight.scale == pytest.approx(100 * FixedPoint(Ring(16), 10, 1.0, 100).scale)
    update = np.linspace(-0.009, 0.009, 101, dtype=np.float32)
    out = np.empty(101, np.uint16)
    assert tight.encode(update, 50, out, rounding=SEED) == (1.0, 0)
    assert tight.decode(out, 50) == pytest.approx(update, abs=1 / (tight.scale * 50))


@pytest.mark.parametrize("bound", [0.0, -1.0, 1.1, math.nan])
def test_a_bound_lies_within_the_clip(bound: float) -> None:
    with pytest.raises(ValueError, match="at most the clip"):
        BoundedFixedPoint(Ring(32), 5, 1.0, 10, bound)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 8, 31, 64])
def test_other_rings_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="16 or 32"):
        Ring(bits)


@pytest.mark.parametrize(
    "wrong", [{"members": 0}, {"clip": 0.0}, {"clip": math.inf}, {"clip": math.nan}, {"max_weight": 0}]
)
def test_an_encoding_without_members_clip_or_weight_cannot_be_made(wrong: dict) -> None:
    with pytest.raises(ValueError, match="clip is positive"):
        FixedPoint(**{"ring": Ring(32), "members": 5, "clip": 1.0, "max_weight": 10} | wrong)


@pytest.mark.parametrize("weight", [-1, 0, 11])
def test_a_weight_that_the_budget_was_not_made_for_is_refused(weight: int) -> None:
    update, out = np.zeros(3, np.float32), np.empty(3, np.uint32)
    for code in (FixedPoint(Ring(32), 5, 1.0, 10), BoundedFixedPoint(Ring(32), 5, 1.0, 10, 0.5)):
        with pytest.raises(OutOfRange, match="outside of 1 to 10"):
            code.encode(update, weight, out, rounding=SEED)


@pytest.mark.parametrize("total", [0, 51])
def test_a_total_weight_that_no_sites_can_have_is_refused(total: int) -> None:
    with pytest.raises(OutOfRange, match="outside of 1 to 50"):
        FixedPoint(Ring(32), 5, 1.0, 10).decode(np.zeros(3, np.uint32), total)


@pytest.mark.parametrize(
    ("update", "out"),
    [
        (np.zeros(3), np.empty(3, np.uint32)),
        (np.zeros((3, 1), np.float32), np.empty((3, 1), np.uint32)),
        (np.zeros(3, np.float32), np.empty(4, np.uint32)),
        (np.zeros(3, np.float32), np.empty(3, np.uint16)),
        (np.zeros(3, np.float32), np.empty(3, np.int32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(update: np.ndarray, out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"an update is a vector|out has to be"):
        FixedPoint(Ring(32), 5, 1.0, 10).encode(update, 1, out, rounding=SEED)


def test_words_of_another_ring_are_refused() -> None:
    with pytest.raises(ValueError, match="words of this ring are uint32"):
        FixedPoint(Ring(32), 5, 1.0, 10).decode(np.zeros(3, np.uint16), 5)
