"""benchmarks/secure_accuracy.py: its arithmetic, and that its three kinds of runs differ in nothing but the sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.report import Report
from benchmarks.secure_accuracy import KINDS, change, config_of, fill, reversed_float32
from secure_fl.app.strategy import FedAvg


def judged(secure: list[float], control: list[float], *, chances: bool = True) -> dict[str, bool]:
    report = Report("r", {})
    fill(report, {"plain": [0.9] * len(secure), "secure": secure, "control": control}, chances=chances)
    return {each.name: each.ok for each in report.bars}


def test_only_secagg_differs_between_the_settings_of_a_seed() -> None:
    plain, secure, control = (config_of(kind, 3, 5) for kind in KINDS)
    assert plain == control == replace(secure, secagg="none") != secure
    assert config_of("plain", 4, 5) == replace(plain, seed=4)


def test_the_control_is_the_mean_but_for_rounding() -> None:
    rng = np.random.default_rng(0)
    updates, weights = [rng.normal(size=10_000).astype(np.float32) for _ in range(10)], [*range(100, 110)]
    usual, other = FedAvg().combine(updates, weights), reversed_float32(FedAvg(), updates, weights)
    distance = np.linalg.norm(usual - other) / np.linalg.norm(usual)
    assert other.dtype == np.float32 and 0 < distance < 1e-6


def test_a_change_is_of_the_same_seed() -> None:
    assert change({"plain": [0.5, 0.9], "secure": [0.6, 0.8]}, "secure") == pytest.approx([0.1, -0.1])


def test_chance_clears_the_bars() -> None:
    noise = [0.905, 0.895, 0.902, 0.898, 0.903, 0.897]
    assert judged(noise, noise[::-1]) == {
        "95 % interval of the change, farthest end": True,
        "p of no change": True,
        "change by secure aggregation / by the control": True,
    }


def test_a_loss_of_accuracy_does_not() -> None:
    assert not any(judged([0.89 - each / 1000 for each in range(6)], [0.9] * 6).values())
    assert not any(judged([0.88, 0.88], [0.9, 0.902], chances=False).values())
