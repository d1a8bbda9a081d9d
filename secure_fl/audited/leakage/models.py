"""The models that a run sent to its sites, held against the manifest of the network that its settings ask for.

`manifest_of` is what a site signs off on before a run; `check_models` repeats afterwards, on the record, the check that
a site makes of each model it receives (`audit.leakage.manifest.refusals`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from audit.findings import Finding
from audit.leakage.manifest import ModelManifest, refusals
from secure_fl.models import ModelSpec, build_model, unflatten
from secure_fl.runs import RunRecord

__all__ = ["CheckedModels", "check_models", "manifest_of"]


@dataclass(frozen=True)
class CheckedModels:
    """`seen`: the digest of the manifest that the sent models have; `findings`: by the round they came in."""

    expected: str
    seen: str
    models: int
    findings: tuple[tuple[int, Finding], ...]


def manifest_of(spec: ModelSpec) -> ModelManifest:
    """The tensors of the network that `spec` describes, whatever their values."""
    return ModelManifest.of(spec.architecture, _tensors(build_model(spec, seed=0)))


def check_models(record: RunRecord, network: nn.Module, spec: ModelSpec) -> CheckedModels:
    """Check the model of each round of the record; `network`, of any values, is overwritten and has the constants."""
    manifest = manifest_of(spec)
    checkpoints, found = record.checkpoints(), []
    for checkpoint in checkpoints:
        unflatten(record.load_checkpoint(checkpoint), network)
        tensors = _tensors(network)
        found += [(checkpoint.round, each) for each in refusals(manifest, tensors)]
    seen = ModelManifest.of(spec.architecture, _tensors(network)).digest
    return CheckedModels(manifest.digest, seen, len(checkpoints), tuple(found))


def _tensors(network: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    return {name: each.detach().numpy() for name, each in network.state_dict().items()}
