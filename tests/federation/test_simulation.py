import sys

import pytest
import torch
from torch import nn

from secure_fl.errors import ConfigError, SecureFLError
from secure_fl.federation.launch import execute
from secure_fl.models import load_model, save_model
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


def test_sites_refuse_a_model_whose_rows_are_made_to_catch_images(make_record: MakeRecord, home):
    record = make_record("grid=local")
    execute(record, home)
    model, card = load_model(record.folder / "model.safetensors")
    with torch.no_grad():
        head = next(each for each in reversed(list(model.modules())) if isinstance(each, nn.Linear))
        scales = torch.linspace(0.5, 2, len(head.weight))
        head.weight.copy_(torch.outer(scales, head.weight[0].clone()))
    save_model(home / "trap.safetensors", model, card)
    trapped = make_record("grid=local", f"weights={home / 'trap.safetensors'}")
    with pytest.raises(SecureFLError):
        execute(trapped, home)
    refused = [event for event in trapped.events() if event.kind == "reply-rejected"]
    assert len(refused) >= 3 and all("trap weights" in event["detail"] for event in refused)
