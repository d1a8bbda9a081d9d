"""The running average of the global models."""

from __future__ import annotations

import numpy as np
import pytest

from secure_fl.app.averaging import ModelAverage


def models(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(index).normal(size=50).astype(np.float32) for index in range(count)]


def test_without_averaging_the_last_model_is_taken_as_it_is():
    average, (model,) = ModelAverage(0.0), models(1)
    assert average.add(model) is model and average.of(model) is model


def test_the_first_models_are_averaged_evenly_enough_to_forget_the_untrained_one_and_later_ones_by_the_decay():
    average, shown = ModelAverage(0.6), None
    expected = np.zeros(50)
    for index, model in enumerate(models(40)):
        past = min(0.6, index / (9 + index))
        expected = past * expected + (1 - past) * model.astype(np.float64)
        shown = average.add(model)
        assert shown.dtype == np.float32
        np.testing.assert_allclose(shown, expected, rtol=1e-6, atol=1e-7)
    assert past == 0.6
    assert np.array_equal(average.of(models(1)[0]), shown)


def test_the_average_of_equal_models_is_that_model_and_its_noise_is_smaller_than_one_models():
    average = ModelAverage(0.9)
    constant = np.full(5, 1 / 3, np.float32)
    for _ in range(30):
        assert average.add(constant) == pytest.approx(constant, rel=1e-6)
    noisy = ModelAverage(0.9)
    for model in models(200):
        shown = noisy.add(model)
    # Exponential weights: variance (1 - β) / (1 + β).
    assert shown.std() == pytest.approx((0.1 / 1.9) ** 0.5, rel=0.35)
