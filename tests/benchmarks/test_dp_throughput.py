"""benchmarks/dp_throughput.py: how ratios and bars come about, and a tiny real run of each peer.

Whether the bars are cleared is for the benchmark itself to say: on a busy machine, and at batch 2, times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math

import pytest

from benchmarks.dp_throughput import PEERS, STEMS, Seconds, fill, measure_memory, measure_time, ratios
from benchmarks.report import Report, finish

BATCH = 64


def measured(*, ours_s: float = 1.0, plain_s: float = 1.5, hooks_s: float = 40.0, ghost_s: float = 30.0) -> Seconds:
    """Three turns, each slower than the one before for everybody; Opacus was in the first only."""
    drift = {0: 1.0, 1: 2.0, 2: 4.0}
    return {
        "plain": {turn: plain_s * factor for turn, factor in drift.items()},
        "plain_kernels": {turn: 0.5 * factor for turn, factor in drift.items()},
        "ours": {turn: ours_s * factor for turn, factor in drift.items()},
        "opacus_hooks": {0: hooks_s},
        "opacus_ghost": {0: ghost_s},
    }


def filled(seconds: Seconds, *, stem: str = "imagenet", ours_bytes: int = 130) -> Report:
    report = Report("dp_throughput", {})
    fill(report, stem, seconds, {"plain": 100, "ours": ours_bytes}, batch=BATCH)
    return report


def test_a_ratio_is_formed_within_a_turn_so_that_a_disturbed_machine_moves_none() -> None:
    assert ratios(measured(), "ours", ["plain"]) == [1.5, 1.5, 1.5]
    assert ratios(measured(), "plain_kernels", ["plain"]) == [3.0, 3.0, 3.0]


def test_against_several_the_fastest_counts_and_only_in_turns_that_all_had() -> None:
    assert ratios(measured(), "ours", ["opacus_hooks", "opacus_ghost"]) == [30.0]
    assert ratios(measured(hooks_s=20.0), "ours", ["opacus_hooks", "opacus_ghost"]) == [20.0]


def test_both_baselines_and_every_peer_are_shown() -> None:
    figures = filled(measured()).figures
    assert figures["imagenet: speed of ours / plain"] == {"median": 1.5, "min": 1.5, "max": 1.5, "n": 3}
    assert figures["imagenet: speed of ours / plain_kernels"]["median"] == 0.5
    assert figures["imagenet: speed of ours / opacus_hooks"] == {"median": 40.0, "min": 40.0, "max": 40.0, "n": 1}
    assert figures["imagenet: speed of ours / opacus_ghost"]["median"] == 30.0
    assert figures["imagenet: ours, images/s"] == {"median": 32.0, "min": 16.0, "max": 64.0, "n": 3}
    assert all(f"imagenet: {peer}, images/s" in figures for peer in PEERS)


@pytest.mark.parametrize(
    ("stem", "plain_s", "ghost_s", "ours_bytes", "missed"),
    [
        ("imagenet", 1.2, 25.0, 130, []),
        ("imagenet", 1.19, 25.0, 130, ["plain PyTorch, median"]),
        ("imagenet", 1.2, 24.9, 130, ["the faster stock Opacus, median"]),
        ("imagenet", 1.2, 25.0, 131, ["memory of ours / plain PyTorch"]),
        ("small-images", 0.85, 8.0, 130, []),
        ("small-images", 0.84, 7.9, 131, ["plain PyTorch, median", "stock Opacus, median", "memory of ours"]),
    ],
)
def test_each_bar_is_the_issues(
    stem: str,
    plain_s: float,
    ghost_s: float,
    ours_bytes: int,
    missed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = filled(measured(plain_s=plain_s, ghost_s=ghost_s), stem=stem, ours_bytes=ours_bytes)
    found = [each.name for each in report.bars if not each.ok]
    assert len(report.bars) == 3 and len(found) == len(missed)
    assert all(part in name for name, part in zip(found, missed, strict=True))
    assert finish(report, argparse.Namespace(json=True)) == (1 if missed else 0)
    assert len(json.loads(capsys.readouterr().out)["bars"]) == 3


def test_a_peer_that_was_not_measured_is_a_missed_bar() -> None:
    seconds = {peer: by_turn for peer, by_turn in measured().items() if peer != "opacus_ghost"}
    (bar,) = [each for each in filled(seconds).bars if not each.ok]
    assert "Opacus" in bar.name and math.isnan(bar.value)


def test_a_tiny_real_run_has_a_time_for_each_peer_in_each_of_its_turns() -> None:
    seconds = measure_time("imagenet", batch=2, threads=1, turns=1, opacus_turns=1, peers=("plain", "ours"))
    assert {peer: list(by_turn) for peer, by_turn in seconds.items()} == {"plain": [0], "ours": [0]}
    assert all(0 < each < 60 for by_turn in seconds.values() for each in by_turn.values())


def test_opacus_takes_part_in_the_first_turns_only() -> None:
    peers = ("plain_kernels", "opacus_hooks", "opacus_ghost")
    seconds = measure_time(STEMS[0], batch=2, threads=1, turns=2, opacus_turns=1, peers=peers)
    assert {peer: sorted(by_turn) for peer, by_turn in seconds.items()} == {
        "plain_kernels": [0, 1],
        "opacus_hooks": [0],
        "opacus_ghost": [0],
    }


def test_memory_is_that_of_the_step_and_not_of_the_imports() -> None:
    grown = measure_memory("plain", "imagenet", 2, 1)
    # Weights and their gradients are 18 MB; torch's imports are hundreds.
    assert 18e6 < grown < 150e6
