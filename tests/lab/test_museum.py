"""The exhibits have the defects of the originals, and agree with those where both can be asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_fl.lab.museum import ByzflKrum, FlowerMultiKrum, UnguardedMean
from secure_fl.lab.submissions import Submissions

RNG = np.random.default_rng(0)
UPDATES = RNG.standard_normal((10, 50)).astype(np.float32)
SAMPLES = np.arange(1.0, 11.0)


def submitted(updates: Any = UPDATES, batches: Any = None, weights: Any = None) -> Submissions:
    return Submissions(
        updates=updates,
        samples=SAMPLES,
        weights=np.zeros(50, np.float32) if weights is None else weights,
        batches=np.zeros((10, 0), np.int64) if batches is None else batches,
        reference=None,
    )


def test_one_nan_is_the_end_of_the_unguarded_mean() -> None:
    updates = UPDATES.copy()
    updates[3, 7] = np.nan
    found = UnguardedMean(10, 1).aggregate(submitted(updates), RNG)
    assert np.isnan(found.step[7]) and found.masked[3] and found.kept.all()


def test_byzfls_krum_elects_the_nan_and_otherwise_byzfls_choice() -> None:
    byzfl = pytest.importorskip("byzfl")
    assert np.array_equal(ByzflKrum(10, 2).aggregate(submitted(), RNG).step, byzfl.Krum(f=2)(UPDATES))
    updates = UPDATES.copy()
    updates[3, 7] = np.nan
    assert np.flatnonzero(ByzflKrum(10, 2).aggregate(submitted(updates), RNG).kept).tolist() == [3]


def test_flowers_multi_krum_selects_what_flower_selects() -> None:
    from flwr.app import ArrayRecord, MetricRecord, RecordDict
    from flwr.serverapp.strategy.multikrum import select_multikrum

    contents = [
        RecordDict({"arrays": ArrayRecord([row]), "metrics": MetricRecord({"num-examples": 1, "row": k})})
        for k, row in enumerate(UPDATES)
    ]
    theirs = {int(each["metrics"]["row"]) for each in select_multikrum(contents, 2, 8)}  # type: ignore[arg-type]
    found = FlowerMultiKrum(10, 2).aggregate(submitted(), RNG)
    assert set(np.flatnonzero(found.kept).tolist()) == theirs
    np.testing.assert_allclose(found.weights[found.kept], SAMPLES[found.kept] / SAMPLES[found.kept].sum())


def test_counters_of_batches_outweigh_the_weights_there() -> None:
    batches = np.array([[10], [200], [30], [400], [50], [600], [70], [800], [300], [300]])
    updates = UPDATES.copy()
    updates[8:] *= 20
    found = FlowerMultiKrum(10, 2).aggregate(submitted(updates, batches), RNG)
    assert found.kept[8:].all()
    assert not FlowerMultiKrum(10, 2).aggregate(submitted(updates), RNG).kept[8:].any()


def test_distances_cancel_there_when_updates_are_small_against_the_weights() -> None:
    updates = UPDATES * np.float32(1e-4)
    updates[8:] *= 5
    heavy = np.full(50, 10.0, np.float32)
    assert FlowerMultiKrum(10, 2).aggregate(submitted(updates, weights=heavy), RNG).kept[8:].any()
