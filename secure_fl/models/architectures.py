"""The networks: torchvision's MobileNetV2 and two small ones, each described completely by a `ModelSpec`.

Sites hold skewed data, and the average of their batch statistics describes no data at all; this is
how federated BatchNorm networks diverge. So the default norm is GroupNorm (Hsieh et al., "The Non-IID
Data Quagmire of Decentralized Machine Learning", ICML 2020, section 5). `batch` is kept to show the
effect, `frozen-batch` to start from a network that was trained elsewhere.

No activation works in place: per-sample gradients (DP-SGD) need the inputs of each layer intact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.models.rng import seeded_torch

__all__ = ["FixedBatchNorm2d", "LightCNN", "ModelSpec", "TanhCNN", "build_model", "embed", "groups_of", "skeleton"]

ARCHITECTURES = ("mobilenet_v2", "light_cnn", "tanh_cnn")
_SMALL = ("light_cnn", "tanh_cnn")
NORMS = ("group", "batch", "frozen-batch")
STEMS = ("imagenet", "small-images")
PARTS = ("all", "head")
SMALL_IMAGE_PX = 64
"""Images with a shorter side get the small-images stem under stem=auto."""


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a network, apart from its weights. Construction validates.

    trained: "all", or "head": the layers below the classifier are constants, like the statistics of frozen-batch.
    """

    architecture: str
    classes: int
    image_size_px: int
    norm: str
    group_size: int
    stem: str
    width: float
    dropout: float
    trained: str = "all"

    def __post_init__(self) -> None:
        _one_of("architecture", self.architecture, ARCHITECTURES)
        _one_of("norm", self.norm, NORMS)
        _one_of("stem", self.stem, STEMS)
        _one_of("train-part", self.trained, PARTS)
        _within("classes", self.classes, 2, 100_000)
        _within("image-size", self.image_size_px, 8, 512)
        _within("group-size", self.group_size, 1, 1024)
        if not 0.1 <= self.width <= 2.0:
            raise ConfigError(f"model setting `width` is {self.width}", fix="give a value between 0.1 and 2")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"model setting `dropout` is {self.dropout}", fix="give a value from 0 to below 1")
        if self.architecture in _SMALL and self.norm != "group":
            raise ConfigError(
                f"`norm` is {self.norm} but `model` is {self.architecture}",
                fix=f"{self.architecture} has group norm only",
            )
        if self.norm == "group" and self.group_size == 1 and self.final_map_px == 1:
            raise ConfigError(
                "`group-size` is 1 but the last feature maps are 1x1 px",
                why="a group of one value is always normalised to zero, so nothing could be learned",
                fix="give a larger group-size, larger images, or stem=small-images",
            )

    @classmethod
    def of(cls, config: RunConfig, *, classes: int, image_size_px: int) -> ModelSpec:
        """The network that `config` asks for; stem=auto is resolved by the image size.

        The small networks have one stem and one width: `stem` and `width` do not apply to them.
        """
        stem = config.stem
        if config.model in _SMALL:
            stem = "small-images"
        elif stem == "auto":
            stem = "small-images" if image_size_px < SMALL_IMAGE_PX else "imagenet"
        return cls(
            architecture=config.model,
            classes=classes,
            image_size_px=image_size_px,
            norm=config.norm,
            group_size=config.group_size,
            stem=stem,
            width=1.0 if config.model in _SMALL else config.width,
            dropout=config.dropout,
            trained=config.train_part,
        )

    @property
    def final_map_px(self) -> int:
        """Side of the feature maps before global pooling; each halving rounds up."""
        mobilenet = 8 if self.stem == "small-images" else 32
        return -(-self.image_size_px // (4 if self.architecture in _SMALL else mobilenet))


class FixedBatchNorm2d(nn.Module):
    """Batch normalisation by statistics that never change; its weight and bias are trained.

    y = (x - running_mean) / sqrt(running_var + eps) · weight + bias, in training as in evaluation, so
    images of a batch do not mix (each sample's gradient is its own). torchvision's FrozenBatchNorm2d
    fixes weight and bias as well. The statistics are constants of the architecture: they are in model
    files, but not in the flat vector, so no site can change them and no byte is spent on them.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    CONSTANTS = ("running_mean", "running_var")

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same shape."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, momentum=0.0, eps=self.eps
        )

    def sample_gradients(self, x: Tensor, g: Tensor) -> dict[nn.Parameter, Tensor]:
        """Of weight and bias, (n, channels) each, from the input and the gradient of the output (DP-SGD asks)."""
        rstd = torch.rsqrt(self.running_var + self.eps)
        bias, products = g.sum((2, 3)), (x * g).sum((2, 3))
        return {self.weight: (products - self.running_mean * bias) * rstd, self.bias: bias}

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}"


class LightCNN(nn.Module):
    """Three 3x3 convolutions with GroupNorm for images of 16 to 32 px: about 10,000 parameters.

    Small enough that the noise of differential privacy, whose norm grows with the square root of the
    number of parameters, leaves something to learn. Where a stroke lies matters, so features are
    averaged by quarter of the image. All operations have deterministic gradients, on CUDA too (max
    pooling and adaptive pooling have not).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        norm = _norm_layer(spec)
        layers: list[nn.Module] = []
        for channels_in, channels_out, stride in ((3, 16, 2), (16, 24, 2), (24, 24, 1)):
            layers.append(nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False))
            layers += [norm(channels_out), nn.ReLU(inplace=False)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(4 * 24, spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, s, s) images to (n, classes) logits."""
        logits: Tensor = self.classifier(embed(self, x))
        return logits


class TanhCNN(nn.Module):
    """Two 3x3 convolutions with GroupNorm and tanh: about 4,700 parameters, for training under differential privacy.

    Bounded activations keep gradients short, so that clipping takes less away (Papernot et al., "Tempered Sigmoid
    Activations for Deep Learning with Differential Privacy", AAAI 2021, section 4), and half the parameters carry
    half the noise. Features are averaged over a grid of 4x4 cells, by two matrix products: deterministic everywhere.
    """

    CELLS = 4

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        norm = _norm_layer(spec)
        layers: list[nn.Module] = []
        for channels_in, channels_out in ((3, 12), (12, 16)):
            layers += [nn.Conv2d(channels_in, channels_out, 3, 2, padding=1, bias=False), norm(channels_out), nn.Tanh()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(16 * self.CELLS**2, spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, s, s) images to (n, classes) logits."""
        logits: Tensor = self.classifier(embed(self, x))
        return logits


def embed(model: nn.Module, x: Tensor) -> Tensor:
    """What the classifier reads: (n, 3, s, s) images to (n, k) features, before dropout."""
    maps: Tensor = model.get_submodule("features")(x)
    if isinstance(model, TanhCNN):
        rows, columns = (_cell_means(size, TanhCNN.CELLS).to(maps) for size in maps.shape[2:])
        return (rows @ maps @ columns.t()).flatten(1)
    if not isinstance(model, LightCNN):
        return F.adaptive_avg_pool2d(maps, (1, 1)).flatten(1)  # as torchvision's MobileNetV2
    half = -(-maps.shape[-1] // 2)
    top, bottom = maps[:, :, :half], maps[:, :, -half:]
    quarters = (top[..., :half], top[..., -half:], bottom[..., :half], bottom[..., -half:])
    return torch.cat([quarter.mean((2, 3)) for quarter in quarters], dim=1)


def _cell_means(size: int, cells: int) -> Tensor:
    """(cells, size): row i averages the places from ⌊i·size/cells⌋ up to ⌈(i+1)·size/cells⌉, as adaptive pooling."""
    means = torch.zeros(cells, size)
    for cell in range(cells):
        first, last = cell * size // cells, -(-(cell + 1) * size // cells)
        means[cell, first:last] = 1 / (last - first)
    return means


def build_model(spec: ModelSpec, *, seed: int) -> nn.Module:
    """A new network with the initial weights that `seed` determines; torch's generators are untouched."""
    with seeded_torch(seed):
        return _construct(spec)


def skeleton(spec: ModelSpec) -> nn.Module:
    """The network without memory for its tensors (device "meta"): names, shapes and dtypes only."""
    with seeded_torch(0), torch.device("meta"):
        return _construct(spec)


def groups_of(channels: int, group_size: int) -> int:
    """Number of groups when a group has `group_size` channels, or fewer where that does not divide.

    The size taken is the largest divisor of `channels` that is at most `group_size`: 24 channels at
    group size 16 make two groups of 12. MobileNetV2's channels are multiples of 8 at every width, so
    for group sizes of 8 and more no group is smaller than 8.
    """
    size = next(size for size in range(min(group_size, channels), 0, -1) if channels % size == 0)
    return channels // size


def _construct(spec: ModelSpec) -> nn.Module:
    match spec.architecture:
        case "light_cnn":
            model: nn.Module = LightCNN(spec)
        case "tanh_cnn":
            model = TanhCNN(spec)
        case "mobilenet_v2":
            model = _mobilenet(spec)
        case other:
            raise ConfigError(f"unknown architecture {other!r}", fix=f"choose one of: {', '.join(ARCHITECTURES)}")
    if spec.trained == "head":
        model.get_submodule("features").requires_grad_(False)
    return model


def _mobilenet(spec: ModelSpec) -> nn.Module:
    model: nn.Module = mobilenet_v2(
        weights=None,
        num_classes=spec.classes,
        width_mult=spec.width,
        norm_layer=_norm_layer(spec),
        dropout=spec.dropout,
    )
    if spec.stem == "small-images":
        strided = [each for each in model.modules() if isinstance(each, nn.Conv2d) and each.stride == (2, 2)]
        for convolution in strided[:2]:
            convolution.stride = (1, 1)
    for each in model.modules():
        if isinstance(each, (nn.ReLU6, nn.Dropout)):
            each.inplace = False
        if isinstance(each, InvertedResidual) and each.use_res_connect:
            # Goyal et al. 2017, section 5.1: each residual branch starts as nothing, so that a deep network
            # begins as a shallow one; without it the first rounds of a federation are lost.
            nn.init.zeros_(each.conv[-1].weight)
    return model


def _norm_layer(spec: ModelSpec) -> Callable[[int], nn.Module]:
    match spec.norm:
        case "batch":
            return nn.BatchNorm2d
        case "frozen-batch":
            return FixedBatchNorm2d
        case "group":
            return lambda channels: nn.GroupNorm(groups_of(channels, spec.group_size), channels)
        case other:
            raise ConfigError(f"unknown norm {other!r}", fix=f"choose one of: {', '.join(NORMS)}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"model setting `{name}` is {value!r}", fix=f"choose one of: {', '.join(known)}")


def _within(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"model setting `{name}` is {value!r}", fix=f"give a whole number between {low} and {high}")
