"""The rounds on which the peers fail: ours does not. That the peers do is shown by `benchmarks.peer_defects`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.peer_defects import DEFECTS
from defenses.base import DefenseError
from defenses.registry import build
from defenses.rows import rows_of


@pytest.mark.parametrize("name", DEFECTS)
def test_ours_does_not_fail_where_the_peer_does(name: str) -> None:
    answer, failed = DEFECTS[name].ours()
    assert not failed, answer


def test_integer_counters_are_no_updates() -> None:
    with pytest.raises(DefenseError, match="counters and flags"):
        rows_of([np.zeros(3, np.float32), np.zeros(3, np.int64)])


def test_a_reported_number_of_samples_has_no_way_in() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    done = build([("mean", {})], n=3, f=0).aggregate(rows)
    np.testing.assert_allclose(done.weights, np.full(3, 1 / 3))
