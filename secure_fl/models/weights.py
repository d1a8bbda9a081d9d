"""Where the first weights come from: a seed, a local safetensors file, or torchvision's server.

Weights of another network of the same family are taken over as far as they mean the same thing here:

- a classifier for another number of classes is replaced by zeros: the new one then learns before the
  layers below it are changed, which random values would tear up (Kumar et al., "Fine-Tuning can
  Distort Pretrained Features", ICLR 2022). Measured with 2,000 CIFAR-10 images at 64 px: training
  loss in the second epoch 1.01 against 1.20 with gradient clipping, 1.37 against 1.48 without;
- BatchNorm weights and biases mean nothing to GroupNorm, so under norm=group the norm layers are left
  at their initial values and only the convolutions are taken (expect to train more than under
  frozen-batch, which keeps the pretrained function exactly);
- float16 and float64 numbers become float32.

Everything else must fit; what does not is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights

from secure_fl.config import RunConfig
from secure_fl.errors import ModelFileError
from secure_fl.models.architectures import ModelSpec, build_model
from secure_fl.models.files import mismatches, read_tensors

__all__ = ["initial_model", "load_weights"]

TORCHVISION = "torchvision"
_COUNTER = ".num_batches_tracked"
_STATISTICS = (".running_mean", ".running_var")


def initial_model(config: RunConfig, spec: ModelSpec) -> nn.Module:
    """The model of round 0: initial weights from `config.seed`, then `config.weights` over them.

    Raises:
        NotFoundError: the file of `config.weights` does not exist.
        ModelFileError: the file is damaged or does not fit `spec`, or the download failed.
    """
    model = build_model(spec, seed=config.seed)
    if config.weights == TORCHVISION:
        load_weights(model, _downloaded(spec), source="torchvision's weights")
    elif config.weights:
        tensors, _ = read_tensors(config.weights)
        load_weights(model, tensors, source=config.weights)
    return model


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> tuple[str, ...]:
    """Take over what `tensors` (keys as in torchvision's state_dict) can give to `model`, in place.

    Returns:
        Names of the model's tensors that were not taken from `tensors`, by the rules of this module.

    Raises:
        ModelFileError: a tensor is missing, unknown, or of another shape.
    """
    target = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
    head, norms = _foreign_head(given, target), _foreign_norms(given, target)
    usable = {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in given.items()
        if name not in head | norms
    }
    usable |= {name: torch.zeros_like(target[name]) for name in head}
    wrong = mismatches(usable, {name: tensor for name, tensor in target.items() if name not in norms})
    if wrong:
        raise ModelFileError(
            f"{source} does not fit this model",
            why="; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""),
            fix="check the settings `model`, `width` and `norm`",
        )
    model.load_state_dict(usable, strict=False)
    return tuple(name for name in target if name in head | norms)


def _foreign_head(given: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> set[str]:
    """Both tensors of the classifier, if it has as many inputs as ours but another number of classes."""
    head = {"classifier.1.weight", "classifier.1.bias"}
    ours, theirs = target.get("classifier.1.weight"), given.get("classifier.1.weight")
    if ours is None or theirs is None or theirs.ndim != 2 or theirs.shape[1] != ours.shape[1]:
        return set()
    return head if theirs.shape[0] != ours.shape[0] else set()


def _foreign_norms(given: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> set[str]:
    """All tensors of norm layers that have batch statistics in the file but none in the model."""
    layers = {
        name.removesuffix(ending)
        for ending in _STATISTICS
        for name in given
        if name.endswith(ending) and name not in target
    }
    return {f"{layer}{ending}" for layer in layers for ending in (".weight", ".bias", *_STATISTICS)}


def _downloaded(spec: ModelSpec) -> Mapping[str, Tensor]:
    """torchvision's ImageNet weights, from its cache folder or from the network.

    torchvision publishes them only as a pickle. It is read by torch's restricted unpickler
    (`weights_only`: tensors and plain containers, no code) and only after the SHA-256 prefix that is
    part of the published name was checked, for a cached file as for a fresh one.
    """
    if spec.architecture != "mobilenet_v2" or spec.width != 1.0:
        raise ModelFileError(
            f"torchvision has no weights for {spec.architecture} of width {spec.width:g}",
            fix="give mobilenet_v2 with width 1, or a file: --weights FILE.safetensors",
        )
    url = MobileNet_V2_Weights.IMAGENET1K_V2.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if cached.exists():
        _check_published_hash(cached)
    try:
        state: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise ModelFileError(
            "cannot download torchvision's MobileNetV2 weights",
            why=str(error),
            fix="give a local file in torchvision's key layout: --weights FILE.safetensors",
        ) from None
    return state


def _check_published_hash(cached: Path) -> None:
    prefix = cached.stem.rsplit("-", 1)[1]
    if not hashlib.sha256(cached.read_bytes()).hexdigest().startswith(prefix):
        raise ModelFileError(
            f"{cached} was altered or is incomplete",
            why=f"its SHA-256 does not begin with {prefix}",
            fix="delete it, and it will be downloaded again",
        )
