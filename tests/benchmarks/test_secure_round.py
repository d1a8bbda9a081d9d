"""What the benchmark makes of its runs; the runs themselves are for `python -m benchmarks.secure_round`."""

import numpy as np
import pytest

from benchmarks.report import Report
from benchmarks.secure_round import SecureRun, fill, job, relative_rmse

TRIPS = {"advertise": 0.0, "share": 0.2, "train": 3.0, "agree": 0.3, "open": 0.2}


def run(
    sites: int,
    seconds: tuple[float, ...],
    *,
    shift: float = 0.0,
    trips: int = 0,
    accuracies: tuple[float, ...] = (0.4, 0.5),
) -> SecureRun:
    model = np.linspace(1, 2, 1000, dtype=np.float32) + np.float32(shift)
    return SecureRun(sites, seconds, (TRIPS,) * trips, 4004, model, accuracies)


def bars(shift: float, accuracies: tuple[float, ...] = (0.4, 0.5)) -> dict[str, bool]:
    report = Report("secure_round", {})
    plain = run(10, (9.0, 3.0, 3.2))
    secure = run(10, (12.0, 4.0, 4.2), shift=shift, trips=3, accuracies=accuracies)
    fill(report, [plain], [secure], run(5, (2.0, 1.0)), run(5, (3.0, 1.5), trips=2))
    assert report.figures["trip_s"] == pytest.approx(TRIPS)
    added = next(bar for bar in report.bars if bar.name.startswith("added"))
    assert added.value == pytest.approx(1.0)  # the first rounds stand apart
    return {bar.name: bar.ok for bar in report.bars}


def test_each_claim_is_a_bar():
    assert all(bars(0.0).values()) and len(bars(0.0)) == 8
    assert [name for name, ok in bars(1e-3).items() if not ok] == ["relative RMSE of the final model, 10 sites"]


@pytest.mark.parametrize(
    ("accuracies", "missed"),
    [
        ((0.405, 0.5), ["images judged otherwise after the first round, 10 sites"]),
        ((0.4, 0.505), ["change of accuracy, 10 sites"]),
    ],
)
def test_accuracy_has_to_be_the_same_after_the_first_round_and_after_the_last(accuracies, missed):
    assert [name for name, ok in bars(0.0, accuracies).items() if not ok] == missed


def test_the_two_runs_differ_in_nothing_but_secure_aggregation():
    plain, secure = job("none", sites=10, rounds=3).to_mapping(), job("full", sites=10, rounds=3).to_mapping()
    assert {key for key in plain if plain[key] != secure[key]} == {"secagg"}


def test_the_rmse_is_relative_to_the_reference():
    assert relative_rmse(np.float32([3.0, 4.5]), np.float32([3.0, 4.0])) == pytest.approx(0.1)
