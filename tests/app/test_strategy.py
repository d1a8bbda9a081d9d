import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.app.strategy import FedAvg


def updates(n: int, d: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


@given(st.integers(1, 8), st.integers(1, 300_000), st.integers(0, 3))
def test_fedavg_is_the_weighted_mean_to_float32_precision(n, d, seed):
    rows = updates(n, d, seed)
    weights = np.random.default_rng(seed + 1).integers(1, 1000, n)
    expected = np.average(np.stack(rows).astype(np.float64), axis=0, weights=weights)
    # One unit in the last place: float64 sums in another order may round to the neighbouring float32.
    np.testing.assert_array_max_ulp(FedAvg().combine(rows, weights.tolist()), expected.astype(np.float32), maxulp=1)


def test_fedavg_of_updates_equals_fedavg_of_weights():
    model, rows, weights = updates(1, 1000)[0], updates(3, 1000, 1), [1, 2, 5]
    of_weights = np.average([model + row for row in rows], axis=0, weights=weights)
    np.testing.assert_allclose(model + FedAvg().combine(rows, weights), of_weights, atol=1e-6)


def test_large_values_that_cancel_do_not_lose_the_small_ones():
    rows = [np.array([1e8, 1.0], np.float32), np.array([-1e8, 1.0], np.float32), np.array([3.0, 1.0], np.float32)]
    assert FedAvg().combine(rows, [1, 1, 1])[0] == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize(("count", "weights"), [(0, []), (2, [1]), (2, [1, 0]), (2, [1, -1]), (1, [float("nan")])])
def test_weights_that_cannot_be_weights_are_refused(count, weights):
    with pytest.raises(ValueError, match="updates with weights"):
        FedAvg().combine(updates(count, 3) if count else [], weights)
