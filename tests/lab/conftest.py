"""A federation that is simulated in a tenth of a second; and outcomes made up by hand, with comparisons of them:
what is said of numbers is tested with numbers that are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from secure_fl.lab.cells import CellStore, Made
from secure_fl.lab.comparison import Cell, Comparison
from secure_fl.lab.outcome import Outcome, RoundOutcome
from secure_fl.lab.scenario import Scenario

MADE = Made(secure_fl="0", commit="c" * 40, dirty=False, python="3", torch="2", numpy="2")


def round_outcome(**changes: Any) -> RoundOutcome:
    """A last round of four clients and two classes."""
    values = {
        "round": 1, "accuracy": 0.9, "loss": 0.1, "attack_success": None, "per_class_accuracy": (0.9, 0.9),
        "kept": (True,) * 4, "weights": (0.25,) * 4, "step_norm": 1.0,
    }  # fmt: skip
    return RoundOutcome(**{**values, **changes})


def outcome(scenario: Scenario, *rounds: RoundOutcome, attackers: tuple[int, ...] = (), data: str = "d") -> Outcome:
    """An outcome of a scenario that nobody simulated."""
    return Outcome(
        digest=scenario.digest(),
        scenario=scenario.manifest(),
        rounds=rounds or (round_outcome(),),
        attackers=attackers,
        seconds=1.0,
        cpu_s=2.0,
        data=data,
    )


def comparison(**changes: Any) -> Comparison:
    """Two attacks, one of them a backdoor, on three seeds of a tiny scenario."""
    base = Scenario(name="tiny", model="softmax", clients=4, partition="dirichlet", rounds=1)
    axes = {
        "base": base, "attacks": ("sign_flip", "backdoor_patch"), "defenses": ("median",), "byzantine": (1,),
        "alphas": (0.5,), "seeds": (0, 1, 2),
    }  # fmt: skip
    return Comparison(**{**axes, **changes})


def fill(store: CellStore, grid: Comparison, values: Mapping[tuple[str, str], float], **rounds: Any) -> None:
    """Write a made-up outcome for each cell whose (defense, attack) has an accuracy; seeds differ by 0.01."""
    for cell in grid.cells():
        if (at := (cell.setting.defense, cell.setting.attack)) in values:
            store.write_outcome(_made_up(cell, values[at] + 0.01 * cell.seed, **rounds), MADE)


def _made_up(cell: Cell, accuracy: float, **rounds: Any) -> Outcome:
    success = 0.8 if cell.setting.attack == "backdoor_patch" else None
    per_class = (accuracy, accuracy - 0.1 if cell.setting.attack else accuracy)
    last = round_outcome(accuracy=accuracy, attack_success=success, per_class_accuracy=per_class, **rounds)
    return outcome(cell.scenario, last, attackers=(3,) if cell.setting.attack else ())


@pytest.fixture
def small() -> Scenario:
    """Eight clients with 50 digits each, softmax regression, three rounds."""
    return Scenario(
        name="small", model="softmax", samples=450, test_samples=100, root_samples=50, clients=8, rounds=3, lr=0.1
    )


@pytest.fixture
def lab() -> Any:
    """The functions of this file."""
    import types

    return types.SimpleNamespace(
        MADE=MADE, round_outcome=round_outcome, outcome=outcome, comparison=comparison, fill=fill
    )
