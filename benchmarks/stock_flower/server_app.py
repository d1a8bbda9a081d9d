"""The stock side's ServerApp: Flower's own FedAvg and its own loop, with a clock around each round.

A round is the training phase: from `configure_train` (the model is at hand) to the end of `aggregate_train`
(the next model is at hand). Federated evaluation is off, as it would be a second phase of the same cost.
One JSON line a round goes to the file that the run config names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.stock_flower.job import WEIGHT_KEY, initial_state
from secure_fl.config import RunConfig

__all__ = ["ClockedFedAvg", "app"]

app = ServerApp()


class ClockedFedAvg(FedAvg):
    """FedAvg, unchanged but for the clock; a round in which a site failed ends the measurement."""

    def __init__(self, sites: int, rows: Path) -> None:
        super().__init__(
            fraction_evaluate=0.0, min_train_nodes=sites, min_available_nodes=sites, weighted_by_key=WEIGHT_KEY
        )
        self._sites, self._rows, self._began = sites, rows, 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """FedAvg's, after starting the clock."""
        self._began = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """FedAvg's, before stopping the clock.

        Raises:
            RuntimeError: a site did not reply, or replied with an error.
        """
        came = list(replies)
        errors = [reply.error.reason for reply in came if reply.has_error()]
        if errors or len(came) != self._sites:
            raise RuntimeError(f"round {server_round}: {len(came)} of {self._sites} sites replied; errors: {errors}")
        result = super().aggregate_train(server_round, came)
        wall_s = time.perf_counter() - self._began
        compute_s = [float(reply.content.metric_records["metrics"]["compute-s"]) for reply in came]  # type: ignore[arg-type]
        row = {"round": server_round, "wall_s": wall_s, "slowest_site_compute_s": max(compute_s)}
        with self._rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return result


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for the rounds of the job."""
    config = RunConfig.from_mapping(json.loads(str(context.run_config["job"])))
    strategy = ClockedFedAvg(config.sites, Path(str(context.run_config["rows"])))
    strategy.start(grid=grid, initial_arrays=ArrayRecord(initial_state(config)), num_rounds=config.rounds)
