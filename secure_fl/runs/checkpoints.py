"""Checkpoint files: the global model after a round, as one flat vector.

A file is safetensors with the single tensor `w`, (d,) float32, and the metadata {run, round, spec};
`spec` is the digest of the names and shapes that the vector stands for. We write the container
ourselves, because the library orders metadata at random and so gives one content many hashes
(safetensors 0.8.0, measured); here equal content is equal bytes. Reading goes through the library,
which validates, and through the hash that the record's chain holds. Pickle is never involved.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secure_fl.errors import IntegrityError, ModelFileError
from secure_fl.runs.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Checkpoint", "checkpoint_path", "decode_checkpoint", "encode_checkpoint"]

FOLDER = "checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk; `sha256` (hex) is of the file's bytes."""

    path: Path
    round: int
    sha256: str

    @property
    def name(self) -> str:
        """The path inside the run folder, for the `checkpoint` field of `round-finished`."""
        return f"{FOLDER}/{self.path.name}"


def checkpoint_path(run_folder: Path, round: int) -> Path:
    """Where the checkpoint of a round lies."""
    return run_folder / FOLDER / f"round-{round:04d}.safetensors"


def save_checkpoint(path: Path, vector: np.ndarray, *, run_id: str, round: int, spec_digest: str) -> Checkpoint:
    """Write the file, whole or not at all; it is on the disk when this returns."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    data = encode_checkpoint(vector, run_id=run_id, round=round, spec_digest=spec_digest)
    return Checkpoint(path, round, write_atomic(path, data))


def read_checkpoint(checkpoint: Checkpoint, *, run_id: str) -> tuple[np.ndarray, str]:
    """The vector, (d,) float32, and the spec digest.

    Raises:
        IntegrityError: the bytes differ from the checkpoint's hash.
        ModelFileError: the file is missing, no checkpoint, or one of another run or round.
    """
    try:
        data = checkpoint.path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {checkpoint.path}", why=error.strerror or str(error)) from None
    if hashlib.sha256(data).hexdigest() != checkpoint.sha256:
        raise IntegrityError(
            f"{checkpoint.path} does not match its hash",
            why="the file was altered or damaged after it was written",
            fix="`secure-fl runs resume` falls back to the newest checkpoint that is intact",
        )
    vector, metadata = decode_checkpoint(data, name=str(checkpoint.path))
    if (metadata["run"], metadata["round"]) != (run_id, str(checkpoint.round)):
        raise ModelFileError(
            f"{checkpoint.path} is not the checkpoint of round {checkpoint.round} of {run_id}",
            why=f"it says round {metadata['round']} of {metadata['run']}",
        )
    return vector, metadata["spec"]


def encode_checkpoint(vector: np.ndarray, *, run_id: str, round: int, spec_digest: str) -> bytes:
    """vector: (d,) float32. Equal arguments give equal bytes.

    Raises:
        ModelFileError: the vector is not one flat, non-empty float32 array.
    """
    if vector.dtype.name != "float32" or vector.ndim != 1 or not vector.size:
        raise ModelFileError(
            f"a checkpoint holds one flat float32 vector, not {vector.dtype.name} of shape {vector.shape}"
        )
    header = {
        "__metadata__": {"round": str(round), "run": run_id, "spec": spec_digest},
        "w": {"dtype": "F32", "shape": [vector.size], "data_offsets": [0, 4 * vector.size]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the tensor aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + vector.astype("<f4", copy=False).tobytes()


def decode_checkpoint(data: bytes, *, name: str) -> tuple[np.ndarray, dict[str, str]]:
    """The vector and the metadata {run, round, spec}; `name` is for the message.

    Raises:
        ModelFileError: not safetensors, or not exactly one float32 vector `w` with our metadata.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{name} is not a safetensors file", why=str(error)) from None
    metadata = header.get("__metadata__") or {}
    vector = tensors.get("w")
    named = set(tensors) == {"w"} and {"run", "round", "spec"} <= set(metadata)
    if vector is None or not named or vector.dtype.name != "float32" or vector.ndim != 1:
        raise ModelFileError(f"{name} is not a checkpoint", why="it does not hold one float32 vector `w` of a run")
    return vector, metadata
