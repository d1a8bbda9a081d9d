"""benchmarks/private_accuracy.py: a whole private run of it, small."""

from __future__ import annotations

import pytest

from benchmarks.private_accuracy import MODES, run_once

SMALL = ("rounds=1", "local-epochs=1", "samples=200", "test-samples=50", "partition=iid", "dp-delta=0.001")


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_a_run_that_spends_what_it_says(mode: str) -> None:
    accuracy, epsilon = run_once(*MODES[mode], *SMALL)
    assert 0.0 <= accuracy <= 1.0
    assert (epsilon == 0.0) if mode == "none" else (0.0 < epsilon <= 8.0)
