"""The flat vector: a model's learned numbers as one float32 array of shape (d,).

The order is that of `state_dict`: parameters and float buffers (BatchNorm's running statistics), in
the order in which the modules were declared. Left out are integer counters (`num_batches_tracked`,
which nothing uses) and constants, which never change: the statistics of `FixedBatchNorm2d`, parameters that are
not trained, and the buffers of layers that have no others.

Both ends of the wire compute the `VectorSpec` from the model that they built themselves and compare
digests, so names and shapes never travel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secure_fl.errors import ModelFileError
from secure_fl.models.architectures import FixedBatchNorm2d

__all__ = [
    "VectorSpec",
    "fingerprint",
    "flatten",
    "flatten_by_parameter",
    "flatten_gradient",
    "unflatten",
    "unflatten_gradient",
]


@dataclass(frozen=True)
class VectorSpec:
    """Which tensors a vector holds, in order: (name, shape) of each, d = `size` numbers in all.

    `digest` is SHA-256 (hex) over names, shapes, order, dtype, and the values of fixed constants: two
    models whose digests agree give the same meaning to every position, and two frozen-batch models
    with different statistics never agree.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]
    size: int
    digest: str

    @classmethod
    def of(cls, model: nn.Module) -> VectorSpec:
        """The spec of `model`; its values do not matter, those of fixed constants excepted."""
        entries = tuple((name, tuple(tensor.shape)) for name, tensor in _learned(model))
        document = {"dtype": "float32", "entries": entries, "constants": _constants_digest(model)}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        size = sum(int(np.prod(shape, dtype=np.int64)) for _, shape in entries)
        return cls(entries, size, hashlib.sha256(text.encode()).hexdigest())


def flatten(model: nn.Module) -> npt.NDArray[np.float32]:
    """A copy of the learned numbers of `model`: (d,) float32, C-contiguous, on the CPU."""
    tensors = [tensor.detach() for _, tensor in _learned(model)]
    vector = np.empty(sum(tensor.numel() for tensor in tensors), dtype=np.float32)
    for part, tensor in zip(_parts(torch.from_numpy(vector), tensors), tensors, strict=True):
        part.copy_(tensor)
    return vector


def unflatten(vector: npt.NDArray[np.float32], model: nn.Module) -> None:
    """Write `vector` (d,) into `model` in place, whatever device it is on.

    Raises:
        ModelFileError: not a contiguous one-dimensional float32 array, or its length is not d.
    """
    if vector.dtype != np.float32:
        raise ModelFileError(f"the vector has dtype {vector.dtype}", why="a model vector is float32")
    tensors = [tensor.detach() for _, tensor in _learned(model)]
    size = sum(tensor.numel() for tensor in tensors)
    if vector.shape != (size,):
        raise ModelFileError(f"the vector has shape {vector.shape}", why=f"this model needs ({size},)")
    if not vector.flags.c_contiguous:
        raise ModelFileError("the vector is not contiguous", fix="pass numpy.ascontiguousarray(vector)")
    # Arrays from the wire are read-only; torch can only look at writable memory.
    source = torch.from_numpy(vector if vector.flags.writeable else vector.copy())
    for part, tensor in zip(_parts(source, tensors), tensors, strict=True):
        tensor.copy_(part)


def flatten_gradient(model: nn.Module) -> npt.NDArray[np.float32]:
    """The gradients in the layout of `flatten`: (d,) float32, 0 at buffers and where there is no gradient."""
    tensors = [tensor for _, tensor in _learned(model)]
    vector = np.zeros(sum(tensor.numel() for tensor in tensors), dtype=np.float32)
    for part, tensor in zip(_parts(torch.from_numpy(vector), tensors), tensors, strict=True):
        if tensor.grad is not None:
            part.copy_(tensor.grad)
    return vector


def flatten_by_parameter(values: Mapping[nn.Parameter, Tensor], model: nn.Module) -> npt.NDArray[np.float64]:
    """One tensor a parameter in the layout of `flatten`: (d,) float64, 0 where there is none."""
    named = dict(model.named_parameters())
    vector = np.zeros(VectorSpec.of(model).size)
    tensors = list(_learned(model))
    parts = _parts(torch.from_numpy(vector), [tensor for _, tensor in tensors])
    for part, (name, _) in zip(parts, tensors, strict=True):
        if name in named and named[name] in values:
            part.copy_(values[named[name]])
    return vector


def unflatten_gradient(vector: npt.NDArray[np.float32], model: nn.Module) -> None:
    """Write `vector` (d,), laid out as by `flatten_gradient`, into the gradients of `model` that exist."""
    tensors = [tensor for _, tensor in _learned(model)]
    for part, tensor in zip(_parts(torch.from_numpy(vector), tensors), tensors, strict=True):
        if tensor.grad is not None:
            tensor.grad.copy_(part)


def fingerprint(model: nn.Module) -> str:
    """`sha256:<hex>` over the spec's digest and the vector: equal exactly when the models are equal.

    Unlike the hash of a model file it does not depend on run id or other metadata.
    """
    content = hashlib.sha256(VectorSpec.of(model).digest.encode())
    content.update(flatten(model).tobytes())
    return f"sha256:{content.hexdigest()}"


def _learned(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    fixed = set(_constant_names(model))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not tensor.is_floating_point() or name in fixed:
            continue
        if tensor.dtype != torch.float32:
            raise ModelFileError(f"tensor {name} is {tensor.dtype}", why="only float32 models can be flattened")
        yield name, tensor


def _constant_names(model: nn.Module) -> Iterator[str]:
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(prefix, recurse=False))
        frozen = [name for name, parameter in own.items() if not parameter.requires_grad]
        yield from frozen
        if isinstance(module, FixedBatchNorm2d):
            yield from (f"{prefix}.{name}".lstrip(".") for name in FixedBatchNorm2d.CONSTANTS)
        elif frozen and len(frozen) == len(own):
            yield from (name for name, each in module.named_buffers(prefix, recurse=False) if each.is_floating_point())


def _constants_digest(model: nn.Module) -> str:
    """SHA-256 (hex) over the values of all fixed constants; empty if there are none."""
    state = model.state_dict()
    names = list(_constant_names(model))
    content = hashlib.sha256()
    for name in names:
        content.update(name.encode() + b"\0" + np.ascontiguousarray(state[name].cpu().numpy()).tobytes())
    return content.hexdigest() if names else ""


def _parts(flat: Tensor, like: list[Tensor]) -> Iterator[Tensor]:
    """Views into `flat` with the shapes of `like`, one after the other."""
    start = 0
    for tensor in like:
        yield flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
