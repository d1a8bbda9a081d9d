"""What a federated round costs beside training: ours, and stock Flower's on the same job.

    python -m benchmarks.round_overhead [--quick] [--json]

Five sites, MobileNetV2, real processes over TLS (the deployment grid), `stock_flower/job.py` on both sides. Claim:
the overhead of a round, its wall time minus the slowest site's own compute, has a median of at most 2 s on an idle
machine, and each site sends and receives at most 1.01 times the 4·d bytes of the model in a round.

What the clocks cover
  round        From the first order to the next model: choice of sites, sending, collecting, judging, aggregation.
               Ours is `seconds` of the event `round-finished`; it has in it the evaluation and the checkpoint of
               the round before, which the coordinator does while the sites begin to train, so that rounds follow
               one another without a gap and nothing is left out but the last evaluation of a run. On this one
               machine it takes cores from the sites, so part of its time is in their compute. Stock:
               `configure_train` to the end of `aggregate_train`; it is told to evaluate nothing.
  compute      The longest wall time that one site spends in its own train function: from its call, the message
               being at hand, to the trained arrays, under the contention of all sites on this machine's cores.
               Stock starts a process for each message and builds data and model anew in it: that is in its
               compute (which flatters its overhead); the imports before the call are not.
  bytes        Ours: HTTP/1.1 at the site, headers and bodies, with the polls and heartbeats since its last
               message; TLS records (0.5 %) are not in it. Stock: what its SuperLink counts, bodies only.

The first round of a run warms up (models are built, torch imports its optimizer) and stands apart; medians are of
the later ones. Stock runs between two runs of ours. Our bytes are of the worst site in the worst round.
`--quick` (3 minutes on two idle cores) makes one stock round, so that stock's figures are of a first round; its
processes are new in each round, so that its later rounds are no faster.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report, finish, note, parser, summary
from benchmarks.stock_flower.job import job
from benchmarks.stock_flower.measure import StockRound, measure_stock
from secure_fl.config_sources import ResolvedConfig
from secure_fl.federation.launch import execute
from secure_fl.runs import RunRecord
from secure_fl.runs.events import Event

__all__ = ["OurRound", "SiteBytes", "fill", "main", "measure_ours", "rounds_of", "site_bytes"]

_MAX_OVERHEAD_S = 2.0
_MAX_BYTES = 1.01  # of 4·d
_BYTES_A_PARAMETER = 4
# A median needs two rounds after the first; a run of ours takes seconds a round, stock's more than a minute.
_ROUNDS, _QUICK_ROUNDS = 6, 3
_STOCK_ROUNDS, _QUICK_STOCK_ROUNDS = 3, 1
# The line that a site logs after each message, secure_fl/federation/site.py.
_TRAIN_LINE = re.compile(
    r" train (\d+): computed [\d.]+ s, received (\d+) bytes, sent (\d+) bytes; "
    r"while waiting: received (\d+) bytes, sent (\d+) bytes$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class OurRound:
    """What one round of ours cost; bytes are those of the site that had the most of them.

    `waiting_bytes`: the part of both that polls and heartbeats had.
    """

    round: int
    seconds: float
    slowest_site_compute_s: float
    site_received_bytes: int
    site_sent_bytes: int
    waiting_bytes: int

    @property
    def overhead_s(self) -> float:
        """What is left of the round without the slowest site's own work."""
        return self.seconds - self.slowest_site_compute_s


@dataclass(frozen=True)
class SiteBytes:
    """One site's HTTP bytes in one round, waiting included."""

    received: int
    sent: int
    waiting: int


def main() -> int:
    """Measure both sides and hold ours against the bars."""
    options = _options()
    before = os.getloadavg()[0]
    if before > 0.5:
        note(f"the machine is not idle (load {before:.1f}); the bar for the overhead is meant for an idle one")
    first, parameters = measure_ours(options.rounds, options.sites)
    stock = measure_stock(options.stock_rounds, options.sites)
    second, _ = measure_ours(options.rounds, options.sites)
    settings = {
        "sites": options.sites,
        "model": "mobilenet_v2",
        "parameters": parameters,
        "rounds": f"2 x {options.rounds}",
        "stock_rounds": options.stock_rounds,
        "quick": options.quick,
        "load_1min_before": round(before, 2),
    }
    report = Report("round_overhead", settings)
    fill(report, [first, second], stock, parameters=parameters, sites=options.sites)
    return finish(report, options)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--sites", type=int, default=5)
    made.add_argument("--rounds", type=int, help="of each of our two runs, at least 2")
    made.add_argument("--stock-rounds", type=int, help="at least 1")
    options = made.parse_args()
    options.rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    options.stock_rounds = options.stock_rounds or (_QUICK_STOCK_ROUNDS if options.quick else _STOCK_ROUNDS)
    if options.rounds < 2 or options.stock_rounds < 1:
        made.error("too few rounds")
    return options


def measure_ours(rounds: int, sites: int) -> tuple[list[OurRound], int]:
    """Run the job on our deployment grid; leaves no process and no file behind.

    Returns:
        A row a round, and d, the parameters of the model.

    Raises:
        SecureFLError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="round-overhead-") as name:
        home = Path(name)
        config = job(rounds=rounds, sites=sites)
        record = RunRecord.create(home, ResolvedConfig(config, origins={}), command=sys.argv)
        note(f"ours: {sites} sites, {rounds} rounds")
        execute(record, home)
        events = record.events()
        logs = [path.read_text(encoding="utf-8") for path in (record.folder / "logs").glob("site-[0-9]*.log")]
    parameters = next(int(each["parameters"]) for each in events if each.kind == "run-started")
    done = rounds_of(events, site_bytes(logs))
    for each in done:
        note(f"ours: round {each.round} of {rounds}, {each.seconds:.1f} s, of it overhead {each.overhead_s:.1f} s")
    return done, parameters


def rounds_of(events: Sequence[Event], traffic: dict[int, list[SiteBytes]]) -> list[OurRound]:
    """The rows of a finished run, from its events and from what its sites counted in each round."""
    compute_s: dict[int, list[float]] = defaultdict(list)
    done = []
    for event in events:
        number = event.get("round")
        if event.kind == "reply-accepted":
            compute_s[number].append(event["compute_s"])
        elif event.kind == "round-finished" and number:
            done.append(
                OurRound(
                    round=number,
                    seconds=event["seconds"],
                    slowest_site_compute_s=max(compute_s[number]),
                    site_received_bytes=max(each.received for each in traffic[number]),
                    site_sent_bytes=max(each.sent for each in traffic[number]),
                    waiting_bytes=max(each.waiting for each in traffic[number]),
                )
            )
    return done


def site_bytes(logs: Sequence[str]) -> dict[int, list[SiteBytes]]:
    """What the sites' logs say of each round: one entry a site."""
    found = defaultdict(list)
    for log in logs:
        for numbers in _TRAIN_LINE.findall(log):
            number, received, sent, waiting_received, waiting_sent = map(int, numbers)
            waiting = waiting_received + waiting_sent
            found[number].append(SiteBytes(received + waiting_received, sent + waiting_sent, waiting))
    return dict(found)


def fill(
    report: Report, runs: Sequence[Sequence[OurRound]], stock: Sequence[StockRound], *, parameters: int, sites: int
) -> None:
    """Figures and bars from our runs and from stock's; the first round of each stands apart."""
    later = [each for run in runs for each in run[1:]]
    stock_later = stock[1:] or stock
    overhead_s = summary([each.overhead_s for each in later])
    stock_overhead_s = summary([each.overhead_s for each in stock_later])
    received, sent = (max(getattr(each, f"site_{way}_bytes") for each in later) for way in ("received", "sent"))
    model_bytes = _BYTES_A_PARAMETER * parameters

    report.figure("overhead_s", overhead_s)
    report.figure("stock_overhead_s", stock_overhead_s)
    report.figure("stock_to_ours", stock_overhead_s["median"] / overhead_s["median"])
    report.figure("first_round_overhead_s", [run[0].overhead_s for run in runs])
    report.figure("stock_first_round_overhead_s", stock[0].overhead_s)
    report.figure("slowest_site_compute_s", summary([each.slowest_site_compute_s for each in later]))
    report.figure("stock_slowest_site_compute_s", summary([each.slowest_site_compute_s for each in stock_later]))
    report.figure("model_bytes", model_bytes)
    report.figure("site_received_bytes", received)
    report.figure("site_sent_bytes", sent)
    report.figure("site_waiting_bytes", max(each.waiting_bytes for each in later))
    for way, counted in (("received", "down"), ("sent", "up")):
        mean = statistics.median(getattr(each, f"bytes_{counted}") for each in stock_later) / sites
        report.figure(f"stock_site_{way}_bytes", mean)
    report.figure("overhead_s_by_round", [each.overhead_s for run in runs for each in run])
    report.figure("stock_overhead_s_by_round", [each.overhead_s for each in stock])

    report.bar("overhead of a round, median, s", value=overhead_s["median"], bar=_MAX_OVERHEAD_S, better="lower")
    for way, value in (("received", received), ("sent", sent)):
        name = f"bytes a site {way} in a round, of 4·d, worst"
        report.bar(name, value=value / model_bytes, bar=_MAX_BYTES, better="lower")


if __name__ == "__main__":
    sys.exit(main())
