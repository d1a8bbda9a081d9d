"""How fast a step of differentially private training is: ours, plain PyTorch and stock Opacus, side by side.

    python -m benchmarks.dp_throughput [--quick] [--json] [--threads 1]

MobileNetV2 with GroupNorm, 10 classes, 32x32 px, float32, batch 64, no dropout, once with torchvision's strides
("imagenet") and once with the stem for small images ("small-images"). What is timed is a whole optimizer step:
forward, backward, clipping each image's gradient to 1, Gaussian noise of multiplier 1, SGD. Drawing the batch is in
none of them.

    plain           PyTorch as it is: no clipping, no noise
    plain_kernels   the same with our kernels under it (`BookKeeper(private=False)`): still no privacy
    ours            `PrivateTraining.step`
    opacus_hooks    Opacus, `GradSampleModule` and `DPOptimizer`
    opacus_ghost    Opacus, fast gradient clipping: two backward passes
    The last two as they come, with the samplers that Opacus itself registers.

Claims. Ours has at least 1.2 times the speed of plain PyTorch at torchvision's strides and 0.85 times with the stem
for small images; at least 25 and 8 times that of the faster Opacus; and at most 1.3 times the memory of plain.

How privacy can be "faster than plain". It cannot: exact clipping is work on top. PyTorch computes the weight gradient
of a depthwise convolution slowly where its maps are 1x1 or 2x2 px (8 to 19 ms a layer on the CPU, for what is one
elementwise product), and at torchvision's strides most maps of a 32x32 px image are that small. Our kernels avoid it,
and gain more than privacy costs. Against plain training on the same kernels we are slower. Both baselines are always
shown; the bar is on the first, because that is what somebody without differential privacy would run.

How it is measured. All peers are in one process, with the same weights and images, and take turns; the order
rotates. A ratio is formed in each turn, and the median of those is reported with the extremes and their number, so
that a machine that is disturbed for a while disturbs both sides. With one thread (what a site has unless told
otherwise) the clock counts this process's CPU seconds; with more, wall time. Opacus takes part in the first turns
only: a step of it takes up to a minute. Memory is the growth of the peak resident size over that after the imports,
each peer in a process of its own, two steps. It is VmHWM and not `ru_maxrss`, which begins at the parent's peak in a
child that was started by fork and exec. `--quick` makes one turn with Opacus and five in all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Report, finish, need_peer, note, parser, summary

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["PEERS", "STEMS", "Seconds", "fill", "main", "measure_memory", "measure_time", "ratios", "stepper"]

Step = Callable[["Tensor", "Tensor"], None]
Seconds = dict[str, dict[int, float]]
"""By peer, by turn: the seconds of one step."""

STEMS = ("imagenet", "small-images")
OURS, OPACUS = ("plain", "plain_kernels", "ours"), ("opacus_hooks", "opacus_ghost")
PEERS = (*OURS, *OPACUS)
BATCH = 64
_CLASSES, _IMAGE_PX = 10, 32
_CLIP, _NOISE, _LR = 1.0, 1.0, 1e-3
# By stem: least speed in units of plain PyTorch's, and of the faster Opacus's.
_LEAST_TO_PLAIN = {"imagenet": 1.2, "small-images": 0.85}
_LEAST_TO_OPACUS = {"imagenet": 25.0, "small-images": 8.0}
_MOST_MEMORY = 1.3  # of plain's
_TURNS, _QUICK_TURNS = 15, 5
_OPACUS_TURNS, _QUICK_OPACUS_TURNS = 3, 1
_MEMORY_STEPS = 2


def main() -> int:
    """Measure all peers with both stems and hold ours against the bars."""
    options = _options()
    if options.memory_of:
        peer, stem = options.memory_of
        print(json.dumps(_own_peak(peer, stem, options.batch, options.threads)))
        return 0
    need_peer("opacus", extra="test")
    before = os.getloadavg()[0]
    if before > 0.5:
        note(f"the machine is not idle (load {before:.1f}): ratios hold up better than seconds do")
    settings = {
        "model": "mobilenet_v2, group norm",
        "image_px": _IMAGE_PX,
        "batch": options.batch,
        "threads": options.threads,
        "clock": _clock(options.threads)[0],
        "turns": options.turns,
        "opacus_turns": options.opacus_turns,
        "quick": options.quick,
        "load_1min_before": round(before, 2),
    }
    report = Report("dp_throughput", settings)
    for stem in STEMS:
        memory = {peer: measure_memory(peer, stem, options.batch, options.threads) for peer in OURS}
        seconds = measure_time(
            stem, batch=options.batch, threads=options.threads, turns=options.turns, opacus_turns=options.opacus_turns
        )
        fill(report, stem, seconds, memory, batch=options.batch)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--batch", type=int, default=BATCH, help="the bars are meant for 64")
    made.add_argument("--turns", type=int, help="at least 1")
    made.add_argument("--opacus-turns", type=int, help="how many of them have Opacus in them, at least 1")
    made.add_argument("--memory-of", nargs=2, metavar=("PEER", "STEM"), help=argparse.SUPPRESS)
    options = made.parse_args()
    options.turns = options.turns or (_QUICK_TURNS if options.quick else _TURNS)
    options.opacus_turns = options.opacus_turns or (_QUICK_OPACUS_TURNS if options.quick else _OPACUS_TURNS)
    if not 1 <= options.opacus_turns <= options.turns or min(options.threads, options.batch) < 1:
        made.error("too few turns, threads or images")
    return options


def fill(report: Report, stem: str, seconds: Seconds, memory: Mapping[str, int], *, batch: int) -> None:
    """Figures and bars of one stem; `memory` in bytes, of plain and ours at least.

    A peer without a turn has no figures, and a bar that would need it stands as missed.
    """
    for peer, by_turn in seconds.items():
        report.figure(f"{stem}: {peer}, images/s", summary([batch / each for each in by_turn.values()]))
    for peer in seconds:
        if peer != "ours":
            report.figure(f"{stem}: speed of ours / {peer}", summary(ratios(seconds, "ours", [peer])))
    if "plain_kernels" in seconds:
        found = summary(ratios(seconds, "plain_kernels", ["plain"]))
        report.figure(f"{stem}: speed of plain_kernels / plain", found)
    report.figure(f"{stem}: peak memory, MiB", {peer: size / 2**20 for peer, size in memory.items()})

    report.bar(
        f"{stem}: speed of ours / plain PyTorch, median",
        value=_median(ratios(seconds, "ours", ["plain"])),
        bar=_LEAST_TO_PLAIN[stem],
        better="higher",
    )
    report.bar(
        f"{stem}: speed of ours / the faster stock Opacus, median",
        value=_median(ratios(seconds, "ours", OPACUS)),
        bar=_LEAST_TO_OPACUS[stem],
        better="higher",
    )
    report.bar(
        f"{stem}: peak memory of ours / plain PyTorch",
        value=memory["ours"] / memory["plain"],
        bar=_MOST_MEMORY,
        better="lower",
    )


def ratios(seconds: Seconds, peer: str, others: Sequence[str]) -> list[float]:
    """In each turn that all had: how many times the speed of the fastest of `others` that of `peer` is."""
    ours, theirs = seconds.get(peer, {}), [seconds.get(other, {}) for other in others]
    turns = [turn for turn in ours if all(turn in each for each in theirs)]
    return [min(each[turn] for each in theirs) / ours[turn] for turn in turns]


def _median(found: Sequence[float]) -> float:
    return float(summary(found)["median"]) if found else float("nan")


def measure_time(
    stem: str, *, batch: int, threads: int, turns: int, opacus_turns: int, peers: Sequence[str] = PEERS
) -> Seconds:
    """Let the peers take turns at one step; Opacus only in the first `opacus_turns`."""
    import torch

    torch.set_num_threads(threads)
    images, labels = _images(batch)
    steps = {peer: stepper(peer, stem, batch) for peer in peers}
    for peer, step in steps.items():  # builds what is built once; two images are enough for that in Opacus
        few = 2 if peer in OPACUS else batch
        step(images[:few], labels[:few])
    _, now = _clock(threads)
    seconds: Seconds = {peer: {} for peer in peers}
    for turn in range(turns):
        taking_part = [peer for peer in peers if peer not in OPACUS or turn < opacus_turns]
        first = turn % len(taking_part)
        for peer in taking_part[first:] + taking_part[:first]:
            started = now()
            steps[peer](images, labels)
            seconds[peer][turn] = now() - started
            if peer in OPACUS:
                note(f"{stem}, turn {turn + 1}/{turns}: {peer} {seconds[peer][turn]:.1f} s")
    return {peer: by_turn for peer, by_turn in seconds.items() if by_turn}


def stepper(peer: str, stem: str, batch: int) -> Step:
    """A new network and one step of training on it: images (n, 3, 32, 32) and labels (n,), `batch` expected."""
    import torch
    import torch.nn.functional as F

    model = _model(stem)
    sgd = torch.optim.SGD(model.parameters(), lr=_LR)
    match peer:
        case "plain":

            def step(images: Tensor, labels: Tensor) -> None:
                sgd.zero_grad(set_to_none=True)
                (F.cross_entropy(model(images), labels, reduction="sum") / batch).backward()  # type: ignore[no-untyped-call]
                sgd.step()

            return step
        case "plain_kernels":
            from secure_fl.privacy.book_keeping import BookKeeper

            keeper = BookKeeper(model, private=False)

            def step_with_kernels(images: Tensor, labels: Tensor) -> None:
                sgd.zero_grad(set_to_none=True)
                keeper.backward(F.cross_entropy(model(images), labels, reduction="sum") / batch)
                sgd.step()

            return step_with_kernels
        case "ours":
            from secure_fl.privacy.engine import PrivateTraining
            from secure_fl.privacy.randomness import Randomness

            training = PrivateTraining(
                model,
                sgd,
                noise_multiplier=_NOISE,
                max_grad_norm=_CLIP,
                expected_batch_size=float(batch),
                randomness=Randomness.from_system(),
            )
            return training.step
        case "opacus_hooks":
            return _hooks(model, sgd, batch)
        case "opacus_ghost":
            return _ghost(model, sgd, batch)
    raise ValueError(f"no peer {peer}")


def _hooks(model: nn.Module, sgd: Any, batch: int) -> Step:
    import torch.nn.functional as F
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        sgd, noise_multiplier=_NOISE, max_grad_norm=_CLIP, expected_batch_size=batch, loss_reduction="sum"
    )

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(wrapped(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _ghost(model: nn.Module, sgd: Any, batch: int) -> Step:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
    from torch import nn

    wrapped = GradSampleModuleFastGradientClipping(
        model, loss_reduction="sum", max_grad_norm=_CLIP, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        sgd, noise_multiplier=_NOISE, max_grad_norm=_CLIP, expected_batch_size=batch, loss_reduction="sum"
    )
    criterion = DPLossFastGradientClipping(
        wrapped, optimizer, nn.CrossEntropyLoss(reduction="sum"), loss_reduction="sum"
    )

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        criterion(wrapped(images), labels).backward()
        optimizer.step()

    return step


def measure_memory(peer: str, stem: str, batch: int, threads: int) -> int:
    """By how many bytes a process grows at its peak over two steps, that of its imports not counted."""
    command = [sys.executable, "-m", "benchmarks.dp_throughput", "--memory-of", peer, stem]
    command += ["--batch", str(batch), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    grown = int(json.loads(done.stdout))
    note(f"{stem}: {peer}, peak memory {grown / 2**20:.0f} MiB")
    return grown


def _own_peak(peer: str, stem: str, batch: int, threads: int) -> int:
    import opacus  # noqa: F401  # in every process, so that they start alike
    import torch

    import secure_fl.privacy.engine  # noqa: F401

    torch.set_num_threads(threads)
    # What torch imports at the first step of an optimizer is no part of a step.
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=_LR).step()
    before = _peak_bytes()
    step, (images, labels) = stepper(peer, stem, batch), _images(batch)
    for _ in range(_MEMORY_STEPS):
        step(images, labels)
    return _peak_bytes() - before


def _peak_bytes() -> int:
    """VmHWM of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def _model(stem: str) -> nn.Module:
    from secure_fl.models import ModelSpec, build_model

    spec = ModelSpec(
        architecture="mobilenet_v2",
        classes=_CLASSES,
        image_size_px=_IMAGE_PX,
        norm="group",
        group_size=16,
        stem=stem,
        width=1.0,
        dropout=0.0,
    )
    return build_model(spec, seed=0).train()


def _images(batch: int) -> tuple[Tensor, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, _IMAGE_PX, _IMAGE_PX, generator=generator)
    return images, torch.randint(0, _CLASSES, (batch,), generator=generator)


def _clock(threads: int) -> tuple[str, Callable[[], float]]:
    return ("cpu_s", time.process_time) if threads == 1 else ("wall_s", time.perf_counter)


if __name__ == "__main__":
    sys.exit(main())
