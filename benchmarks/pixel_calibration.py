"""How often the pixel test (audit/detect/pixels.py) is wrong on real models, and how often right on real pictures.

    python -m benchmarks.pixel_calibration --dataset FOLDER [--weights FILE] [--quick] [--json]

False flags: every window of 512 values of models at the start, of models after training on CIFAR-10 in FOLDER, and of
the updates between the two, which are what a site sends: MobileNetV2 and the light CNN with group norm, and the
pretrained MobileNetV2 of FILE, whose weights were once int8. Claim: none.
Recall: test pictures of CIFAR-10, each hidden at a random offset in a trained update as float32; a picture is found
when one of its windows is flagged. Claim: 95 % of those in [0, 255] or standardised, planes or interleaved, also after
resizing as 8-bit pictures. Resized as floats, noised or shuffled pictures are shown beside them, with no bar: the rule
prefers no false flag to them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from audit.detect.pixels import WINDOW, picture_windows
from benchmarks.report import Report, finish, note, parser
from secure_fl.data.arrays import resize_arrays
from secure_fl.data.cifar import open_cifar10
from secure_fl.models import ModelSpec, build_model, flatten, load_weights
from secure_fl.models.files import read_tensors
from secure_fl.training.batches import normalised

__all__ = ["main", "picture_kinds", "trained_vectors"]

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CPU = torch.device("cpu")
_Vector = npt.NDArray[np.float32]
_Pixels = npt.NDArray[np.uint8]


def main() -> int:
    """Train, count and hold against the bars."""
    options = _options()
    torch.set_num_threads(1)
    pair = open_cifar10(options.dataset, download=False, skip_bad_images=False)
    steps, pictures = (30, 200) if options.quick else (300, 2000)
    train = pair.train.load(np.arange(0, 50_000, 50_000 // 1024)[:1024], 32, skip_bad_images=False)
    test = pair.test.load(np.arange(0, 10_000, 10_000 // pictures)[:pictures], 32, skip_bad_images=False)
    report = Report("pixel_calibration", {"steps": steps, "pictures": pictures, "quick": options.quick})
    windows = flagged = 0
    update = np.empty(0, np.float32)
    for name, vector in trained_vectors(train.images, train.labels, steps, options.weights):
        found = len(picture_windows(vector))
        windows, flagged = windows + len(vector) // WINDOW, flagged + found
        note(f"{name}: {found} of {len(vector) // WINDOW} windows")
        report.figure(f"{name}: windows flagged", found)
        update = vector if name == "mobilenet_v2 update" else update
    report.figure("windows of models and updates", windows)
    report.bar("false flags", value=flagged, bar=0, better="lower")
    for name, (make, barred) in picture_kinds().items():
        recall = _recall(update, test.images, make)
        note(f"{name}: {recall:.1%}")
        if barred:
            report.bar(f"recall: {name}", value=recall, bar=0.95, better="higher")
        else:
            report.figure(f"recall: {name}", recall)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--dataset", required=True, help="folder with CIFAR-10")
    made.add_argument("--weights", type=Path, help="pretrained MobileNetV2, .safetensors")
    return made.parse_args()


def trained_vectors(
    images: _Pixels, labels: npt.NDArray[np.integer], steps: int, weights: Path | None
) -> Iterator[tuple[str, _Vector]]:
    """(name, flat vector) of each model before and after training, and of the update between them."""
    for architecture in ("mobilenet_v2", "light_cnn"):
        spec = ModelSpec(
            architecture, classes=10, image_size_px=32, norm="group", group_size=16, stem="small-images", width=1.0,
            dropout=0.2,
        )  # fmt: skip
        model = build_model(spec, seed=0)
        before = flatten(model)
        yield f"{architecture} initial", before
        _train(model, images, labels, steps)
        yield f"{architecture} trained", flatten(model)
        yield f"{architecture} update", flatten(model) - before
    if weights:
        spec = ModelSpec(
            "mobilenet_v2", classes=10, image_size_px=96, norm="frozen-batch", group_size=16, stem="imagenet",
            width=1.0, dropout=0.2,
        )  # fmt: skip
        model = build_model(spec, seed=0)
        load_weights(model, read_tensors(weights)[0], source=str(weights))
        before = flatten(model)
        yield "pretrained initial", before
        _train(model, resize_arrays(images[:256], 96), labels[:256], max(1, steps // 10))
        yield "pretrained update", flatten(model) - before


def _train(model: nn.Module, images: _Pixels, labels: npt.NDArray[np.integer], steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    generator = np.random.default_rng(0)
    model.train()
    for _ in range(steps):
        chosen = generator.integers(0, len(images), 16)
        loss = nn.functional.cross_entropy(
            model(normalised(images[chosen], _MEAN, _STD, _CPU)), torch.as_tensor(labels[chosen], dtype=torch.int64)
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def picture_kinds() -> dict[str, tuple[Callable[[_Pixels, np.random.Generator], _Vector], bool]]:
    """By name: how one (s, s, 3) picture becomes floats, and whether finding it is claimed."""

    def standard(image: _Pixels) -> _Vector:
        mean, std = np.asarray(_MEAN, np.float32), np.asarray(_STD, np.float32)
        return ((image.astype(np.float32) / 255 - mean) / std).astype(np.float32)

    def resized(image: _Pixels) -> _Pixels:
        larger: _Pixels = resize_arrays(image[None], 48)[0]
        return larger

    def enlarged(image: _Pixels) -> _Vector:
        planes = torch.from_numpy(np.ascontiguousarray(standard(image).transpose(2, 0, 1)))[None]
        return nn.functional.interpolate(planes, size=(48, 48), mode="bilinear")[0].numpy()

    return {
        "levels as floats, interleaved": (lambda image, _: image.astype(np.float32), True),
        "standardised, interleaved": (lambda image, _: standard(image), True),
        "standardised, planes": (lambda image, _: standard(image).transpose(2, 0, 1), True),
        "resized to 48 px, standardised, planes": (lambda image, _: standard(resized(image)).transpose(2, 0, 1), True),
        "resized as floats": (lambda image, _: enlarged(image), False),
        "standardised with noise of 0.05": (
            lambda image, draw: standard(image) + 0.05 * draw.standard_normal(image.shape, dtype=np.float32), False,
        ),
        "standardised and shuffled": (lambda image, draw: draw.permutation(standard(image).ravel()), False),
    }  # fmt: skip


def _recall(update: _Vector, images: _Pixels, make: Callable[[_Pixels, np.random.Generator], _Vector]) -> float:
    """Share of the pictures that are found, each hidden in a stretch of the update."""
    draw = np.random.default_rng(1)
    found = 0
    for image in images:
        pixels = np.ascontiguousarray(make(image, draw), np.float32).ravel()
        stretch = update[: 4 * len(pixels)].copy()
        at = int(draw.integers(0, len(stretch) - len(pixels)))
        stretch[at : at + len(pixels)] = pixels
        found += len(picture_windows(stretch)) > 0
    return found / len(images)


if __name__ == "__main__":
    sys.exit(main())
