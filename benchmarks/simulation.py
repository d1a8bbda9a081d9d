"""How fast a client trains in simulation: our learner beside ByzFL's own client, same network, batch and augmentation.

    python -m benchmarks.simulation [--quick] [--json]

Both train ByzFL's `cnn_mnist` (431,080 parameters) on Fashion-MNIST in this process, on one thread, in turn: a round of
each, over and over. A round is what one client does in FedAvg: take over the global model, train some batches by SGD
with momentum 0.9 and weight decay 1e-4, hand over its flat parameters. Images are flipped at random and scaled to
0..1, as ByzFL does with Fashion-MNIST. ByzFL reads them through torchvision, image by image; we hold bytes in memory.

Measured in CPU time of this process, so that other programs on the machine disturb the figures little; the median of
the ratios of neighbouring rounds is held against the bar. ByzFL comes with the extra `test`.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import Report, finish, need_peer, note, parser, summary

__all__ = ["main", "measure"]

BATCHES = (25, 64)
BAR = 1.5
SETTING: dict[str, float] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
_IMAGES = 6_000  # of one client


def main() -> int:
    """Measure at each batch size."""
    options = parser(__doc__ or "").parse_args()
    need_peer("byzfl", extra="test")
    rounds, steps = (4, 20) if options.quick else (12, 40)
    torch.set_num_threads(1)
    report = Report("simulation", {"rounds": rounds, "steps": steps, "threads": 1, "quick": options.quick, **SETTING})
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        _unpack(Path(folder))
        for batch in BATCHES:
            figures = measure(_ours(batch, steps), _theirs(Path(folder), batch, steps), rounds=rounds, steps=steps)
            for name, samples in figures.items():
                report.figure(f"batch {batch}: {name}", summary(samples))
            ratio = summary(figures["ratio"])["median"]
            report.bar(
                f"client steps per CPU second against ByzFL, batch {batch}", value=ratio, bar=BAR, better="higher"
            )
            note(f"batch {batch}: {ratio:.2f} times ByzFL")
    return finish(report, options)


def measure(ours: Callable[[], None], theirs: Callable[[], None], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Steps per CPU second of each, and the ratio, for `rounds` pairs of rounds; the first pair warms up."""
    figures: dict[str, list[float]] = {"ours": [], "byzfl": [], "ratio": []}
    for number in range(rounds + 1):
        speed = [steps / _cpu_s(each) for each in (ours, theirs)]
        if number:
            figures["ours"].append(speed[0])
            figures["byzfl"].append(speed[1])
            figures["ratio"].append(speed[0] / speed[1])
    return figures


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _ours(batch: int, steps: int) -> Callable[[], None]:
    """One round of a client of the lab."""
    from secure_fl.lab.engine import learner_of
    from secure_fl.lab.scenario import Scenario

    setting = {"dataset": "fashion-mnist", "samples": _IMAGES, "test-samples": 100, "root-samples": 0, "clients": 1}
    training = {"model": "byzfl_cnn", "pixel-std": 1.0, "augment": "flip", "batch-size": batch, **SETTING}
    scenario = Scenario.from_mapping({**setting, **training})
    learner, federation = learner_of(scenario)
    shard, weights = (
        federation.clients[0].pick(federation.clients[0].labels.argsort()[: batch * steps]),
        learner.weights(),
    )

    def round() -> None:
        _, made = learner.train(weights, shard, seed=0)
        assert made == steps, f"{made} steps instead of {steps}"  # noqa: S101

    return round


def _theirs(folder: Path, batch: int, steps: int) -> Callable[[], None]:
    """One round of ByzFL's client, as its benchmark makes it."""
    from byzfl import Client
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import FashionMNIST

    flip = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    data: Any = Subset(FashionMNIST(str(folder), train=True, transform=flip), range(_IMAGES))
    client = Client(
        {
            "model_name": "cnn_mnist", "device": "cpu", "loss_name": "NLLLoss", "LabelFlipping": False,
            "nb_labels": 10, "momentum": 0.0, "store_per_client_metrics": False,
            "training_dataloader": DataLoader(data, batch_size=batch, shuffle=True),
            "optimizer_name": "SGD", "optimizer_params": {"momentum": SETTING["momentum"]},
            "learning_rate": SETTING["lr"], "weight_decay": SETTING["weight_decay"],
            "milestones": [], "learning_rate_decay": 1.0,
        }
    )  # fmt: skip
    state = {name: value.clone() for name, value in client.model.state_dict().items()}

    def round() -> None:
        client.set_model_state(state)
        client.compute_model_update(steps)
        client.get_flat_parameters()

    return round


def _unpack(folder: Path) -> None:
    """The files of Fashion-MNIST where torchvision looks for them, which reads them unpacked only."""
    from secure_fl.data.idx import find_fashion_mnist

    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for source in find_fashion_mnist("").glob("*-ubyte*"):
        data = source.read_bytes()
        name = source.name.removesuffix(".gz")
        (raw / name).write_bytes(gzip.decompress(data) if source.suffix == ".gz" else data)


if __name__ == "__main__":
    sys.exit(main())
