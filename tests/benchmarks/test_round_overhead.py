"""benchmarks/round_overhead.py: what it reads out of a run, what it holds against the bars, and a real run of ours.

Stock Flower takes more than a minute a round; its side is tested in test_stock_flower.py, without a round.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from benchmarks.report import Report, finish
from benchmarks.round_overhead import OurRound, SiteBytes, fill, measure_ours, rounds_of, site_bytes
from benchmarks.stock_flower.measure import StockRound
from secure_fl.runs.events import Event

PARAMETERS = 1000
LOG = (
    "2026-01-01 00:00:00,000 INFO query join: computed 0.02 s, received 7 bytes, sent 7 bytes; "
    "while waiting: received 7 bytes, sent 7 bytes\n"
    "2026-01-01 00:00:01,000 INFO train 1: computed 1.25 s, received 4000 bytes, sent 4100 bytes; "
    "while waiting: received 5 bytes, sent 6 bytes\n"
    "2026-01-01 00:00:02,000 INFO evaluate 1: computed 0.02 s, received 9 bytes, sent 9 bytes; "
    "while waiting: received 9 bytes, sent 9 bytes\n"
)


def event(second: float, kind: str, **fields: Any) -> Event:
    return Event(seq=0, time=f"2026-01-01T00:00:{second:06.3f}+00:00", kind=kind, fields=fields, prev="", hash="")


def our_round(number: int, *, overhead_s: float, sent: int = 4000) -> OurRound:
    return OurRound(
        round=number,
        seconds=10.0 + overhead_s,
        slowest_site_compute_s=10.0,
        site_received_bytes=4000,
        site_sent_bytes=sent,
        waiting_bytes=10,
    )


def stock_round(number: int, *, overhead_s: float) -> StockRound:
    return StockRound(round=number, wall_s=20.0 + overhead_s, slowest_site_compute_s=20.0, bytes_up=80, bytes_down=60)


def filled(runs: list[list[OurRound]], stock: list[StockRound]) -> Report:
    report = Report("round_overhead", {})
    fill(report, runs, stock, parameters=PARAMETERS, sites=2)
    return report


def test_only_train_messages_count_and_waiting_counts_with_them() -> None:
    assert site_bytes([LOG, LOG]) == {1: [SiteBytes(received=4005, sent=4106, waiting=11)] * 2}


def test_a_row_takes_the_slowest_site_and_the_site_with_the_most_bytes() -> None:
    events = [
        event(0, "round-finished", round=0, seconds=1.0),
        event(10, "round-started", round=1),
        event(14, "reply-accepted", round=1, site="site-0", compute_s=3.0),
        event(15, "reply-accepted", round=1, site="site-1", compute_s=2.0),
        event(17, "round-finished", round=1, seconds=7.5),
    ]
    traffic = {1: [SiteBytes(4000, 4100, 10), SiteBytes(4200, 4050, 20)]}
    (row,) = rounds_of(events, traffic)
    assert row == OurRound(1, 7.5, 3.0, 4200, 4100, 20)
    assert row.overhead_s == 4.5


def test_first_rounds_stand_apart_from_the_medians() -> None:
    ours = [[our_round(1, overhead_s=9.0), our_round(2, overhead_s=1.5)] for _ in range(2)]
    stock = [stock_round(1, overhead_s=99.0), stock_round(2, overhead_s=60.0)]
    figures = filled(ours, stock).figures
    assert figures["overhead_s"] == {"median": 1.5, "min": 1.5, "max": 1.5, "n": 2}
    assert figures["first_round_overhead_s"] == [9.0, 9.0]
    assert figures["stock_overhead_s"]["median"] == 60.0
    assert figures["stock_to_ours"] == 40.0
    assert (figures["stock_site_sent_bytes"], figures["stock_site_received_bytes"]) == (40, 30)


def test_a_single_stock_round_is_the_comparison() -> None:
    ours = [[our_round(1, overhead_s=9.0), our_round(2, overhead_s=2.0)]]
    assert filled(ours, [stock_round(1, overhead_s=50.0)]).figures["stock_to_ours"] == 25.0


@pytest.mark.parametrize(
    ("overhead_s", "sent", "missed"),
    [(2.0, 4040, []), (2.1, 4000, ["overhead of a round, median, s"]), (1.5, 4041, ["bytes a site sent"])],
)
def test_each_bar_is_the_issues(
    overhead_s: float, sent: int, missed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [[our_round(1, overhead_s=1.0), our_round(2, overhead_s=overhead_s, sent=sent)]]
    report = filled(runs, [stock_round(1, overhead_s=50.0)])
    found = [each.name for each in report.bars if not each.ok]
    assert len(found) == len(missed)
    assert all(name.startswith(start) for name, start in zip(found, missed, strict=True))
    assert finish(report, argparse.Namespace(json=True)) == (1 if missed else 0)
    assert len(json.loads(capsys.readouterr().out)["bars"]) == 3


def test_a_real_run_has_a_row_for_each_round_and_every_byte_of_the_model() -> None:
    rows, parameters = measure_ours(1, 2)
    (row,) = rows
    assert row.round == 1
    assert 0 < row.slowest_site_compute_s < row.seconds
    # The lower bound holds because neither the model nor an update of trained floats repeats itself.
    assert 4 * parameters < row.site_received_bytes < 4 * parameters * 1.05
    assert 4 * parameters < row.site_sent_bytes < 4 * parameters * 1.05
