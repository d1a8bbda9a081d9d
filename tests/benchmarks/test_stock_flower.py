"""The peer of benchmarks/round_overhead.py: the same job as ours, and no process left behind.

A whole measurement takes minutes (that is what it measures) and is not repeated here.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from benchmarks.stock_flower.deployment import StockDeployment, StockFlowerError
from benchmarks.stock_flower.job import IMAGES_PER_SITE, initial_state, job, train_at_site
from secure_fl.data import site_sizes


def test_all_sites_have_the_same_share() -> None:
    assert site_sizes(job(rounds=1, sites=5)) == [IMAGES_PER_SITE] * 5


def test_a_site_sends_back_one_array_a_layer_and_has_learned() -> None:
    config = job(rounds=1, sites=2)
    before = initial_state(config)
    after, loss, samples = train_at_site(config, 1, 1, dict(before))
    assert list(after) == list(before) and len(after) > 100
    assert samples == IMAGES_PER_SITE
    assert 0 < loss < 4
    assert any((after[name] != before[name]).any() for name in after)


def test_every_process_of_the_deployment_is_gone_afterwards(tmp_path: Path) -> None:
    with StockDeployment(tmp_path, sites=1) as deployment:
        pids = deployment.pids
        assert len(pids) >= 4  # SuperLink, SuperNode, and the executor of each
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_process_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    deployment = StockDeployment(tmp_path, sites=1)
    deployment._start("flower-superlink", "superlink", ["--no-such-option"])
    with pytest.raises(StockFlowerError, match=r"superlink ended with status 2\n[\s\S]*no-such-option"):
        deployment._wait("the SuperLink answers", lambda: False)
