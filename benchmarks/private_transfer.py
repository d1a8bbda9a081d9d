"""What two-stage transfer gives under differential privacy: the classifier alone, on features of a pretrained body.

    python -m benchmarks.private_transfer --dataset PATH --weights FILE [--quick] [--json]

Five sites share images by Dirichlet(0.5); MobileNetV2 with the weights of FILE (torchvision's keys) has all layers
but the classifier fixed (`train-part=head`, `norm=frozen-batch`). Each site makes its features once, then ten rounds of
three steps over all of its images; whole runs by `secure-fl`'s own launcher on the local grid, one after the other.

    none    no privacy, the same steps on batches of 16
    ε = 8   DP-SGD at each site, for each image, δ = 1e-5
    ε = 2   the same

Three seeds (`--quick`: one, and a fifth of the images) move split and batches; the privacy of a run is of no seed.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.private_accuracy import run_once
from benchmarks.report import Report, finish, note, parser, summary

__all__ = ["MODES", "main", "settings"]

_PRIVATE = ("dp-sample-rate=1.0", "local-epochs=3", "lr=2.0", "momentum=0.5", "lr-schedule=linear")
MODES = {
    "none": ("dp-epsilon=0", "local-epochs=3", "lr=0.02", "momentum=0.9", "lr-schedule=linear"),
    "ε = 8": ("dp-epsilon=8", "dp-delta=1e-5", *_PRIVATE),
    "ε = 2": ("dp-epsilon=2", "dp-delta=1e-5", *_PRIVATE),
}
SEEDS = (0, 1, 2)
_SAMPLES, _TEST_SAMPLES, _IMAGE_PX = 5000, 1000, 96


def main() -> int:
    """Run all modes and seeds."""
    made = parser(__doc__ or "")
    made.add_argument("--dataset", required=True, help="images: folder, .tar or .npz")
    made.add_argument("--weights", required=True, help="pretrained MobileNetV2, .safetensors")
    options = made.parse_args()
    seeds = SEEDS[:1] if options.quick else SEEDS
    shared = settings(options)
    report = Report("private_transfer", {"seeds": list(seeds), "quick": options.quick, "image_px": _IMAGE_PX})
    for mode, assignments in MODES.items():
        runs = [run_once(*shared, *assignments, f"seed={seed}") for seed in seeds]
        report.figure(f"{mode}: accuracy", summary([each[0] for each in runs]))
        report.figure(f"{mode}: accuracy by seed", [each[0] for each in runs])
        report.figure(f"{mode}: epsilon", max(each[1] for each in runs))
        note(f"{mode}: {', '.join(f'{each[0]:.1%}' for each in runs)}")
        if mode != "none":
            limit = float(mode.rpartition(" ")[2])
            report.bar(f"ε spent under {mode}", value=max(each[1] for each in runs), bar=limit, better="lower")
    return finish(report, options)


def settings(options: argparse.Namespace) -> tuple[str, ...]:
    """The settings that all modes share."""
    share = 5 if options.quick else 1
    return (
        "model=mobilenet_v2",
        f"dataset={options.dataset}",
        f"weights={options.weights}",
        "norm=frozen-batch",
        "train-part=head",
        f"samples={_SAMPLES // share}",
        f"test-samples={_TEST_SAMPLES // share}",
        f"image-size={_IMAGE_PX}",
        "rounds=10",
        "val-fraction=0",
    )


if __name__ == "__main__":
    sys.exit(main())
