"""Was the model that the coordinator sent, in each round, the one that the sites agreed to train?

The manifest is made from the architecture that every site builds for itself from the run's settings. Each model that
went out is held against it and searched for trap weights, which read pictures off an update (`audit.leakage.manifest`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.findings import Finding
from audit.leakage.manifest import ModelManifest, refusals
from audit.report.measurements import ManifestCheck, Outcome
from secure_fl.models import VectorSpec, load_model
from secure_fl.runs import RunRecord

__all__ = ["manifest_check"]


def manifest_check(record: RunRecord) -> ManifestCheck:
    """The check over the saved models of a run; raises as `load_model` and `RunRecord.load_checkpoint` do."""
    model, card = load_model(record.folder / "model.safetensors")
    spec = VectorSpec.of(model)
    announced = str(record.summary().start.get("spec_digest") or "")
    checkpoints = record.checkpoints()
    found: list[Finding] = []
    manifest = None
    for each in checkpoints:
        tensors = _tensors(spec, record.load_checkpoint(each))
        manifest = manifest or ModelManifest.of(card.spec.architecture, tensors)
        found += refusals(manifest, tensors)
    if spec.digest != announced:
        detail = "the architecture that the coordinator announced is not the one that the settings name"
    elif found:
        detail = "; ".join(sorted({each.message for each in found})[:3])
    elif not checkpoints:
        return ManifestCheck(Outcome.NOT_TESTED, announced, spec.digest, "no model was saved")
    else:
        detail = f"{len(checkpoints)} models: names, shapes and types as agreed, and no trap weights"
        return ManifestCheck(Outcome.CONSISTENT, announced, spec.digest, detail)
    return ManifestCheck(Outcome.VIOLATED, announced, spec.digest, detail)


def _tensors(spec: VectorSpec, vector: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The vector (d,) as the tensors that it stands for."""
    tensors, at = {}, 0
    for name, shape in spec.entries:
        size = int(np.prod(shape, dtype=np.int64))
        tensors[name] = vector[at : at + size].reshape(shape)
        at += size
    return tensors
