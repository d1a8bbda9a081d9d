"""Accuracies that others published for Fashion-MNIST under attack, as data: what we must be able to repeat.

Source: github.com/samuele-lolli/Aggregation-Federated-Learning-Analysis (Flower 1.22 and later), tables of 15 seeds,
mean ± standard deviation of the server's accuracy on 10,000 test images after round 40. Setting, from its
`run_experiments.py`, `task.py` and `client_app.py`: 10 clients, all in every round; 1 local epoch, batch 32, SGD with
learning rate 0.01 and momentum 0.9; 20 % of each client's images set aside; RandomCrop(28, padding 4) and flip;
Normalize(0.1307, 0.3081); two convolutions and two dense layers, 80,202 parameters. FedAvg and Multi-Krum weight by
images (Flower's `num-examples`), Median and TrimmedAvg do not. Multi-Krum keeps n - f and counts n - f - 2 neighbours.

Label flips spare class 9, and a fresh 15 % of each batch gets the 3x3 trigger after augmentation, as in that code.
Their attack success is measured on the clients' validation images, ours on the test images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secure_fl.lab.scenario import Scenario

__all__ = ["ROWS", "RULES", "Published", "Row", "scenario_of"]

RULES = {"FedAvg": "mean", "Median": "median", "Multi-Krum": "multi_krum", "TrimmedAvg": "trimmed_mean"}


@dataclass(frozen=True)
class Published:
    """One cell: mean and standard deviation over `SEEDS` runs; std None where none was printed."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the tables: its setting and its cells, accuracy and attack success by rule."""

    title: str
    setting: Mapping[str, Any]
    accuracy: Mapping[str, Published] = field(default_factory=dict)
    attack_success: Mapping[str, Published] = field(default_factory=dict)


_COMMON: Mapping[str, Any] = {
    "dataset": "fashion-mnist",
    "root_samples": 0,
    "val_fraction": 0.2,
    "pixel_mean": 0.1307,
    "pixel_std": 0.3081,
    "model": "conv_pair",
    "clients": 10,
    "weighting": "samples",
    "rounds": 40,
    "batch_size": 32,
    "lr": 0.01,
    "momentum": 0.9,
    "augment": "flip-pad",
    "evaluate_every": 5,
}
_FLIP = "label_flip_all_to_one(spare=9,target=2)"
_PATCH = {"attack": "backdoor_patch(fraction=0.15,size=3,target=1)", "poisoning": "each-batch", "byzantine": 1}


def _skew(alpha: float) -> Mapping[str, Any]:
    return {"partition": "dirichlet", "alpha": alpha}


def _cells(*numbers: float | None) -> dict[str, Published]:
    """Means and standard deviations, two for each rule, in the order of the published tables."""
    pairs = zip(("FedAvg", "Median", "TrimmedAvg", "Multi-Krum"), numbers[::2], numbers[1::2], strict=False)
    return {rule: Published(mean, std) for rule, mean, std in pairs if mean is not None}


ROWS: Mapping[int, Row] = {
    1: Row("no attack, IID", {}, _cells(0.868, 0.004)),
    2: Row("no attack, α=0.5", _skew(0.5), _cells(0.860, 0.005)),
    3: Row("no attack, α=0.1", _skew(0.1), _cells(0.815, 0.032)),
    4: Row(
        "Gaussian, f=2, IID",
        {"attack": "gaussian(sigma=0.5)", "byzantine": 2},
        _cells(0.663, 0.025, 0.867, 0.004, 0.865, 0.003, 0.869, 0.002),
    ),
    6: Row(
        "Gaussian, f=2, α=0.1",
        {"attack": "gaussian(sigma=0.5)", "byzantine": 2, **_skew(0.1)},
        _cells(0.520, 0.108, 0.695, 0.061, 0.762, 0.044, 0.788, 0.046),
    ),
    7: Row(
        "label flip, f=1, IID",
        {"attack": _FLIP, "byzantine": 1},
        _cells(0.842, 0.007, 0.860, 0.004, 0.858, 0.003, 0.869, 0.002),
    ),
    9: Row(
        "label flip, f=3, IID",
        {"attack": _FLIP, "byzantine": 3},
        _cells(0.652, 0.179, 0.793, 0.012, 0.793, 0.010, 0.868, 0.003),
    ),
    10: Row(
        "label flip, f=1, α=0.1",
        {"attack": _FLIP, "byzantine": 1, **_skew(0.1)},
        _cells(0.786, 0.037, 0.687, 0.044, 0.747, 0.053, 0.769, 0.048),
    ),
    12: Row(
        "label flip, f=3, α=0.1",
        {"attack": _FLIP, "byzantine": 3, **_skew(0.1)},
        _cells(0.691, 0.076, 0.550, 0.096, 0.558, 0.087, 0.437, 0.168),
    ),
    13: Row(
        "backdoor, f=1, IID",
        _PATCH,
        _cells(0.869, 0.003, 0.867, 0.002, 0.868, 0.004, 0.869, 0.003),
        _cells(0.912, 0.054, 0.004, 0.004, 0.004, 0.002, 0.002, 0.000),
    ),
    15: Row(
        "backdoor, f=1, α=0.5",
        {**_PATCH, **_skew(0.5)},
        attack_success=_cells(0.797, None, 0.004, None, 0.008, None, 0.099, None),
    ),
    16: Row(
        "backdoor, f=1, α=0.1",
        {**_PATCH, **_skew(0.1)},
        attack_success=_cells(0.679, 0.318, 0.025, 0.033, 0.018, 0.019, 0.655, 0.379),
    ),
}


def scenario_of(row: int, rule: str, seed: int) -> Scenario:
    """The scenario of one cell at one seed. TrimmedAvg cuts 2 at each end (β = 0.2), 3 where three attack."""
    setting = {**_COMMON, **ROWS[row].setting, "seed": seed, "defense": RULES[rule]}
    attackers = setting.get("byzantine", 0)
    if rule == "TrimmedAvg":
        setting |= {"byzantine": max(attackers, 2), "attackers": attackers}
    return Scenario(name=f"row {row}, {rule}", **setting)
