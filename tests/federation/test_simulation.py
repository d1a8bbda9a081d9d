import sys

import pytest

from secure_fl.errors import ConfigError
from secure_fl.federation.launch import execute
from tests.federation.conftest import MakeRecord


def test_without_ray_its_grid_is_refused_with_the_way_out(make_record: MakeRecord, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    record = make_record("grid=ray")
    with pytest.raises(ConfigError, match="Ray is not installed") as caught:
        execute(record, home)
    assert "`sim` extra" in caught.value.fix and record.status() == "failed"


def test_on_ray_the_run_ends_in_the_model_of_the_local_grid(make_record: MakeRecord, home):
    pytest.importorskip("ray", reason="the extra `sim` is not installed")
    hashes = []
    for grid in ("ray", "local"):
        record = make_record(f"grid={grid}")
        execute(record, home)
        hashes.append(next(e["model_sha256"] for e in record.events() if e.kind == "run-finished"))
    assert hashes[0] == hashes[1]
