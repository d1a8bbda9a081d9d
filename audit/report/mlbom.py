"""What the model is made of, as a CycloneDX 1.6 ML-BOM: the model, its data by site, and the libraries that made it.

https://cyclonedx.org/docs/1.6/json. Serial number and time come from the document, so that a verifier gets equal bytes.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any
from urllib.parse import quote

from audit.report.document import Document
from audit.report.sections import DataPart, Model

__all__ = ["ml_bom"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def ml_bom(document: Document) -> dict[str, Any]:
    """The BOM as plain objects."""
    versions = dict(document.environment.versions)
    own = versions.pop("secure-fl", "unknown")
    serial = uuid.UUID(bytes=hashlib.sha256(f"{document.run.id}\0{document.model.sha256_after}".encode()).digest()[:16],
                       version=5)  # fmt: skip
    libraries = [
        {
            "type": "library",
            "bom-ref": f"library:{name}",
            "name": name,
            "version": version,
            "purl": _purl(name, version),
        }
        for name, version in sorted(versions.items())
    ]
    data = [_data(at, part) for at, part in enumerate(document.model.data)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial.urn,
        "version": 1,
        "metadata": {
            "timestamp": document.run.started,
            "tools": {"components": [{"type": "application", "name": "secure-fl", "version": own}]},
            "component": _model(document.model, [each["bom-ref"] for each in data]),
            "properties": [
                {"name": "secure-fl:run", "value": document.run.id},
                {"name": "secure-fl:verdict", "value": document.verdict.value},
                {"name": "secure-fl:examination-sha256", "value": document.examination_sha256},
            ],
        },
        "components": [*libraries, *data],
        "dependencies": [
            {"ref": "model", "dependsOn": [each["bom-ref"] for each in (*libraries, *data)]},
        ],
    }


def _model(model: Model, data: list[str]) -> dict[str, Any]:
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": model.architecture,
            "datasets": [{"ref": each} for each in data],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [{"type": each.name, "value": each.value} for each in model.measures]
        },
        "considerations": {
            "useCases": [model.intended_use] if model.intended_use else [],
            "technicalLimitations": list(model.limitations),
        },
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": model.name,
        "description": f"{model.parameters:,} parameters, trained by federated learning",
        **_hashes(model.sha256_after),
        "modelCard": card,
        "properties": [
            {"name": "secure-fl:spec-sha256", "value": model.spec_sha256},
            {"name": "secure-fl:sha256-before", "value": model.sha256_before},
        ],
    }


def _data(at: int, part: DataPart) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{at}",
        "name": f"images of {part.site}",
        "data": [{"type": "dataset", "name": part.site, "classification": "stays at its site"}],
        "properties": [
            {"name": "secure-fl:images", "value": str(part.images)},
            {"name": "secure-fl:fingerprint", "value": part.fingerprint},
            {"name": "secure-fl:merkle-root", "value": part.merkle_root},
        ],
    }


def _hashes(sha256: str) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]} if _SHA256.fullmatch(sha256) else {}


def _purl(name: str, version: str) -> str:
    kind = "pypi" if name not in ("python", "openssl") else "generic"
    return f"pkg:{kind}/{quote(name, safe='')}@{quote(version, safe='')}"
