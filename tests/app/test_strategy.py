import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secure_fl.app.strategy import FedAvg


def updates(n: int, d: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


@given(st.integers(1, 8), st.integers(1, 300_000), st.integers(0, 3))
@example(7, 299_779, 2)  # one mean is 4e-11: sums in another order differ by more than its last place
def test_fedavg_is_the_weighted_mean_to_float32_precision(n, d, seed):
    rows = updates(n, d, seed)
    weights = np.random.default_rng(seed + 1).integers(1, 1000, n)
    wide = np.stack(rows).astype(np.float64)
    expected = np.average(wide, axis=0, weights=weights)
    # Two sums in float64, whose terms are rounded n + 1 times each (a product, a quotient, n − 1 additions), differ by
    # at most 2(n + 1)·2⁻⁵³ of the mean absolute value (Higham 2002, Section 3.1); one more such unit is above all terms
    # of second order. The one rounding to float32 moves ours by 2⁻²⁴ of itself at most.
    sums = (2 * n + 3) * 2.0**-53 * np.average(np.abs(wide), axis=0, weights=weights)
    assert (np.abs(FedAvg().combine(rows, weights.tolist()) - expected) <= 2.0**-24 * np.abs(expected) + sums).all()


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
