"""The model that a site agreed to train, in a signed list of its tensors; whatever else arrives is refused.

A malicious server that may choose the architecture reads pictures off the gradient (Fowl et al. 2022, "Robbing the
Fed"; Zhao et al. 2024, "LOKI": a layer more is all it takes). So before a run everybody signs off on a manifest:
architecture, and name, shape and dtype of every tensor. A site holds each received model against it (`refusals`),
which also looks for trap weights in tensors of the right shape (`traps`). It cannot see that the server sends other
values to other sites; where a run publishes each round's model hash, compare that as well.

The document is canonical JSON (RFC 8785), signed with Ed25519 over a context and those exact bytes; the signature is
checked before anything is parsed, against a public key that came to the site by another way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.findings import Finding, Place
from audit.leakage.traps import inspect_weights

__all__ = ["ManifestRefused", "ModelManifest", "SignedManifest", "TensorSpec", "refusals", "sign", "verified"]

_CONTEXT = b"secure-fl model manifest 1\n"
_FORMAT = 1
_MOST_BYTES = 16 << 20


class ManifestRefused(Exception):
    """The signature is not the expected one, or what it covers is no manifest."""


@dataclass(frozen=True, order=True)
class TensorSpec:
    """dtype: NumPy's name, as "float32"."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ModelManifest:
    """The tensors in their order; no name twice."""

    architecture: str
    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [each.name for each in self.tensors]
        if not names or len(set(names)) != len(names):
            raise ValueError("a manifest names at least one tensor, and none twice")

    @classmethod
    def of(cls, architecture: str, tensors: Mapping[str, npt.NDArray[Any]]) -> ModelManifest:
        """The manifest of a model as it is."""
        return cls(architecture, tuple(TensorSpec(name, each.shape, each.dtype.name) for name, each in tensors.items()))

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical document."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        tensors: list[Any] = [
            {"name": each.name, "shape": list(each.shape), "dtype": each.dtype} for each in self.tensors
        ]
        return rfc8785.dumps({"format": _FORMAT, "architecture": self.architecture, "tensors": tensors})


@dataclass(frozen=True)
class SignedManifest:
    """document: the bytes of a manifest; signature: 64 bytes."""

    document: bytes
    signature: bytes


def sign(manifest: ModelManifest, key: Ed25519PrivateKey) -> SignedManifest:
    """The manifest with the signature of whoever vouches for it."""
    document = manifest.to_bytes()
    return SignedManifest(document, key.sign(_CONTEXT + document))


def verified(signed: SignedManifest, key: Ed25519PublicKey) -> ModelManifest:
    """The manifest, if `key` signed it.

    Raises:
        ManifestRefused: another key signed it, it was altered, or it is not a canonical manifest of this format.
    """
    if len(signed.document) > _MOST_BYTES:
        raise ManifestRefused(f"the manifest has {len(signed.document)} bytes")
    try:
        key.verify(signed.signature, _CONTEXT + signed.document)
    except InvalidSignature:
        raise ManifestRefused("the manifest is not signed by the expected key") from None
    try:
        manifest = _parsed(json.loads(signed.document))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ManifestRefused(f"what was signed is no model manifest: {error}") from None
    if manifest.to_bytes() != signed.document:
        raise ManifestRefused("the signed manifest is not canonical JSON of this format")
    return manifest


def refusals(manifest: ModelManifest, received: Mapping[str, npt.NDArray[Any]]) -> tuple[Finding, ...]:
    """Why the received tensors must not be trained: rules "manifest/…" and "trap/…"; none if they may be."""
    wanted = {each.name: each for each in manifest.tensors}
    found = [_finding("missing-tensor", name, "is missing") for name in wanted if name not in received]
    for name, tensor in received.items():
        spec = wanted.get(name)
        if spec is None:
            found.append(_finding("unexpected-tensor", name, f"of shape {tensor.shape} is not in the manifest"))
        elif tensor.shape != spec.shape:
            found.append(_finding("wrong-shape", name, f"has shape {tensor.shape} instead of {spec.shape}"))
        elif tensor.dtype.name != spec.dtype:
            found.append(_finding("wrong-dtype", name, f"is {tensor.dtype.name} instead of {spec.dtype}"))
    if not found and list(received) != list(wanted):
        found.append(Finding("manifest/wrong-order", "the tensors come in another order than in the manifest"))
    numeric = {name: each for name, each in received.items() if np.issubdtype(each.dtype, np.floating)}
    return (*found, *inspect_weights(numeric))


def _parsed(document: Any) -> ModelManifest:
    tensors = tuple(
        TensorSpec(str(each["name"]), tuple(int(size) for size in each["shape"]), str(each["dtype"]))
        for each in document["tensors"]
    )
    return ModelManifest(str(document["architecture"]), tensors)


def _finding(rule: str, name: str, what: str) -> Finding:
    return Finding(f"manifest/{rule}", f"{name} {what}", Place(path=name, unit="array"))
