"""Started by test_sweep.py, and killed there: sweeps a folder and prints a line for each cell that is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from secure_fl.lab.cells import CellStore
from secure_fl.lab.comparison import Comparison
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.sweep import sweep

TINY = Scenario(model="softmax", clients=4, samples=200, test_samples=60, rounds=12, partition="dirichlet")
CELLS = tuple(Comparison(TINY, ("sign_flip",), ("median",), (1,), (0.5,), (0, 1)).cells())


def tell(event: dict[str, Any]) -> None:
    """One word a line."""
    print(event["event"], event.get("pid", event["cell"].digest), flush=True)


if __name__ == "__main__":
    sweep(CELLS, CellStore(Path(sys.argv[1])), workers=2, on_event=tell)
