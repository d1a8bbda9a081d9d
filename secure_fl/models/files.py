"""Model files: safetensors, with a card in the metadata that says how to rebuild and use the network.

A safetensors file is a length, a JSON header and raw numbers: reading one cannot run code, as reading
a pickle can. Our metadata has one key, `secure-fl`, whose value is the card as JSON; so the bytes of
a file depend only on weights and card, and the card is complete: no other file is needed to classify.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from secure_fl.errors import ConfigError, ModelFileError, NotFoundError
from secure_fl.models.architectures import ModelSpec, skeleton

__all__ = [
    "SIMULATION_MARK",
    "ModelCard",
    "card_of",
    "load_model",
    "mismatches",
    "read_tensors",
    "refuse_simulated",
    "save_model",
]

METADATA_KEY = "secure-fl"
SIMULATION_MARK = "simulated-attack"
"""The extra of a card that says which attack was simulated while the model was trained; see `refuse_simulated`."""
FORMAT = 1
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of what torch.save writes (a zip of pickles), and of bare pickles of protocols 2 to 5."""
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class ModelCard:
    """What a model file says about itself, beside its weights.

    `classes` are the names in the order of the outputs. Inputs are RGB in 0..1, from which `mean` is
    subtracted and which are then divided by `std`, by channel.
    """

    spec: ModelSpec
    classes: tuple[str, ...]
    mean: Channels
    std: Channels
    run_id: str
    round: int
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = (self.run_id, *self.classes, *self.extra, *self.extra.values())
        if not all(isinstance(each, str) for each in texts) or type(self.round) is not int:
            raise ModelFileError("the model card's class names, run id and extras must be text, its round a number")
        if len(self.classes) != self.spec.classes:
            raise ModelFileError(
                f"the model card names {len(self.classes)} classes", why=f"the network has {self.spec.classes} outputs"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ModelFileError("the model card's normalisation is not three finite numbers each for mean and std")
        if min(self.std) <= 0:
            raise ModelFileError(f"the model card's std is {self.std}", why="each must be above zero")

    def to_json(self) -> str:
        """Canonical JSON: equal cards give equal text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read what `to_json` wrote.

        Raises:
            ModelFileError: not JSON, another format number, a missing, unknown or unusable entry.
        """
        try:
            entries: dict[str, Any] = json.loads(text)
            found = entries.pop("format")
            if found != FORMAT:
                raise ModelFileError(f"the model card has format {found!r}", why=f"this version reads format {FORMAT}")
            entries["spec"] = ModelSpec(**entries["spec"])
            for name in ("classes", "mean", "std"):
                entries[name] = tuple(entries[name])
            return cls(**entries)
        except ConfigError as error:
            raise ModelFileError(f"the model card is unusable: {error.what}", why=error.why) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelFileError("the model card is unusable", why=f"{type(error).__name__}: {error}") from None


def save_model(path: Path | str, model: nn.Module, card: ModelCard) -> str:
    """Write a model file with mode 0644, all or nothing; returns the SHA-256 (hex) of its bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content: bytes = safetensors.torch.save(tensors, metadata={METADATA_KEY: card.to_json()})
    _write_atomically(Path(path), content)
    return hashlib.sha256(content).hexdigest()


def load_model(path: Path | str) -> tuple[nn.Module, ModelCard]:
    """Rebuild exactly the model that `save_model` wrote, in evaluation mode, and its card.

    Raises:
        NotFoundError: there is no such file, or it may not be read.
        ModelFileError: damaged, not ours, of an unknown architecture, or weights that do not fit the card.
    """
    tensors, metadata = read_tensors(path)
    card = _card(path, metadata)
    if card is None:
        raise ModelFileError(
            f"{path} is not a Secure FL model",
            why="it has no model card, so classes and normalisation are unknown",
            fix="start a run from foreign weights with --weights instead",
        )
    model = skeleton(card.spec)
    wrong = mismatches(tensors, model.state_dict())
    if wrong:
        raise ModelFileError(f"{path}: weights do not fit the model card", why="; ".join(wrong[:3]))
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval(), card


def card_of(path: Path | str) -> ModelCard | None:
    """The card of a model file, or None where foreign weights have none; raises as `load_model`."""
    return _card(path, read_tensors(path)[1])


def refuse_simulated(path: Path | str, card: ModelCard) -> None:
    """Refuse a model that came of a simulated attack: it may hold a backdoor, and is for study only.

    Whoever gives a model out to be used calls this first.

    Raises:
        ModelFileError: the card carries the mark.
    """
    mark = card.extra.get(SIMULATION_MARK)
    if mark:
        raise ModelFileError(f"{path} is for study only", why=f"a simulated attack was part of its training: {mark}")


def _card(path: Path | str, metadata: Mapping[str, str]) -> ModelCard | None:
    if METADATA_KEY not in metadata:
        return None
    try:
        return ModelCard.from_json(metadata[METADATA_KEY])
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error.what}", why=error.why) from None


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors (on the CPU, in memory of their own) and the metadata of a safetensors file.

    Raises:
        NotFoundError: there is no such file, or it may not be read.
        ModelFileError: not safetensors, truncated, or a tensor is not finite.
    """
    path, start = Path(path), b""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        with safetensors.safe_open(path, framework="pt", device="cpu") as stored:
            metadata = dict(stored.metadata() or {})
            # A copy is aligned as torch aligns its own memory: the same bits come out of every kernel.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (FileNotFoundError, PermissionError) as error:
        raise NotFoundError(f"cannot read model file {path}", why=error.strerror or str(error)) from None
    except (safetensors.SafetensorError, OSError) as error:
        if start.startswith(_PICKLE_STARTS):
            raise ModelFileError(
                f"{path} is a pickle file, whatever its name says",
                why="pickle files can run code when they are read, so none is read here",
                fix="convert it where it was made: safetensors.torch.save_file(model.state_dict(), FILE)",
            ) from None
        raise ModelFileError(f"{path} is not a readable safetensors file", why=str(error)) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{path}: tensor {name} holds a value that is not finite")
    return tensors, metadata


def mismatches(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """In words, each tensor that is missing, unknown, or of another shape or dtype than wanted."""
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    for name in wanted:
        if name in tensors and _form(tensors[name]) != _form(wanted[name]):
            wrong.append(f"{name} is {_form(tensors[name])} in the file, {_form(wanted[name])} in the model")
    return wrong


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"


def _write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, never a part; also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o644)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
