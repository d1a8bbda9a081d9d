import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defenses.guard import Reason, UpdateRules, inspect_update, l2_norm

RULES = UpdateRules(size=1000, max_norm=10.0)


def small(seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(1000) * 0.1).astype(np.float32)


def test_an_honest_update_is_accepted():
    assert inspect_update(small(), RULES) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 500, 999])
def test_one_non_finite_entry_anywhere_is_refused_and_counted(value, position):
    update = small()
    update[position] = value
    refusal = inspect_update(update, RULES)
    assert refusal is not None and refusal.reason is Reason.NOT_FINITE
    assert refusal.detail.startswith("1 of 1000")


@pytest.mark.parametrize("shape", [(999,), (1001,), (1000, 1), (), (0,)])
def test_another_shape_is_refused(shape):
    refusal = inspect_update(np.zeros(shape, np.float32), RULES)
    assert refusal is not None and refusal.reason is Reason.WRONG_SHAPE


@pytest.mark.parametrize("dtype", ["<f8", "<f2", "<i4", "?", "<U1", ">f4"])
def test_another_dtype_is_refused(dtype):
    refusal = inspect_update(np.zeros(1000, dtype), RULES)
    assert refusal is not None and refusal.reason is Reason.WRONG_DTYPE


def test_a_norm_above_the_cap_is_refused_and_one_at_the_cap_is_not():
    at_cap = np.zeros(1000, np.float32)
    at_cap[0] = 10.0
    assert inspect_update(at_cap, RULES) is None
    refusal = inspect_update(at_cap * np.float32(1.001), RULES)
    assert refusal is not None and refusal.reason is Reason.NORM_CAP


def test_huge_finite_values_overflow_neither_the_check_nor_the_message():
    refusal = inspect_update(np.full(1000, 3e38, np.float32), RULES)
    assert refusal is not None and refusal.reason is Reason.NORM_CAP


@given(st.integers(1, 700_000), st.integers(0, 5))
def test_the_chunked_norm_equals_the_plain_one(size, seed):
    vector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    assert l2_norm(vector) == pytest.approx(float(np.linalg.norm(vector.astype(np.float64))), rel=1e-12)


@pytest.mark.parametrize(("size", "norm"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_rules_that_mean_nothing_are_refused(size, norm):
    with pytest.raises(ValueError, match="must be positive"):
        UpdateRules(size=size, max_norm=norm)
