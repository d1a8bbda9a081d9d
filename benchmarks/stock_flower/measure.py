"""One measurement of stock Flower: the job's rounds, a row each.

By hand: `python -m benchmarks.stock_flower.measure --rounds 2 --sites 5`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flwr.proto.run_pb2 import Run

from benchmarks.report import Report, finish, note, parser, summary
from benchmarks.stock_flower.deployment import StockDeployment, StockFlowerError
from benchmarks.stock_flower.job import job

__all__ = ["StockRound", "measure_stock"]

# Our own questions to the SuperLink must not slow it down; rows are read from a file, which costs it nothing.
_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 5.0


@dataclass(frozen=True)
class StockRound:
    """What one round cost.

    `slowest_site_compute_s` is the longest time between the call of a site's ClientApp and its reply, and so
    holds what its fresh process builds and reads anew; the imports before that are not in it. Bytes are sums
    over all sites of what the SuperLink counted: messages and objects, without HTTP and TLS.
    """

    round: int
    wall_s: float
    slowest_site_compute_s: float
    bytes_up: int
    bytes_down: int

    @property
    def overhead_s(self) -> float:
        """What is left of the round when the slowest site's own work is taken away."""
        return self.wall_s - self.slowest_site_compute_s


def measure_stock(rounds: int, sites: int, *, timeout_s: float = 1800.0) -> list[StockRound]:
    """Run the job on stock Flower; leaves no process and no file behind.

    Raises:
        StockFlowerError: a process ended, the run failed, or `timeout_s` passed before its end.
    """
    with tempfile.TemporaryDirectory(prefix="stock-flower-") as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        with StockDeployment(folder, sites) as deployment:
            note(f"stock Flower: {sites} SuperNodes online, {rounds} rounds")
            config = json.dumps(job(rounds=rounds, sites=sites).to_mapping())
            run_id = deployment.start({"job": config, "rows": str(rows)})
            return _watch(deployment, run_id, rows, rounds=rounds, deadline=time.monotonic() + timeout_s)


def _watch(deployment: StockDeployment, run_id: int, rows: Path, *, rounds: int, deadline: float) -> list[StockRound]:
    """Pair each round's row with what the traffic counters have grown by since the one before."""
    done: list[StockRound] = []
    counted_up = counted_down = 0
    next_question = time.monotonic()
    while len(done) < rounds:
        written = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
        for line in written[len(done) :]:
            state = deployment.state(run_id)
            done.append(_row(json.loads(line), state, counted_up, counted_down))
            counted_up, counted_down = state.bytes_recv, state.bytes_sent
            note(f"stock Flower: round {done[-1].round} of {rounds}, {done[-1].wall_s:.1f} s")
        now = time.monotonic()
        if now > deadline:
            raise StockFlowerError(f"{len(done)} of {rounds} rounds were done when the time was up")
        if now > next_question:
            _refuse_end(deployment, run_id)
            next_question = now + _ASK_EVERY_S
        time.sleep(_LOOK_EVERY_S)
    return done


def _row(clocked: dict[str, Any], state: Run, counted_up: int, counted_down: int) -> StockRound:
    return StockRound(
        round=clocked["round"],
        wall_s=clocked["wall_s"],
        slowest_site_compute_s=clocked["slowest_site_compute_s"],
        bytes_up=state.bytes_recv - counted_up,
        bytes_down=state.bytes_sent - counted_down,
    )


def _refuse_end(deployment: StockDeployment, run_id: int) -> None:
    status = deployment.state(run_id).status
    if status.status == "finished" and status.sub_status != "completed":
        tail = "\n".join(deployment.log_of(run_id).splitlines()[-20:])
        raise StockFlowerError(f"the run ended: {status.sub_status}, {status.details}\n{tail}")


def main() -> int:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=2)
    made.add_argument("--sites", type=int, default=5)
    options = made.parse_args()
    measured = measure_stock(options.rounds, options.sites)
    report = Report("stock_flower", {"rounds": options.rounds, "sites": options.sites})
    report.figure("rounds", [asdict(each) for each in measured])
    report.figure("overhead_s", summary([each.overhead_s for each in measured]))
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
