"""Sums are held against what honest sites can reach, and a rule decides over group means as it does over updates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from secure_fl.app.robust import aggregator_of
from secure_fl.app.secagg.rounds import GroupSum
from secure_fl.app.secagg.voting import Verdict, Voting
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError
from secure_fl.secagg.ring import FixedPoint, Ring

from ..conftest import Events

D, CLIP = 20, 5.0
NAMES = {index: f"site-{index}" for index in range(12)}
GROUPED = RunConfig(sites=12, secagg="grouped", secagg_group_size=2, defense="median", byzantine=2, secagg_clip=CLIP)
FULL = RunConfig(sites=12, secagg="full", secagg_clip=CLIP)


def part(group: int, members: tuple[int, ...]) -> Any:
    """What a judgement reads of a `Part`."""
    return SimpleNamespace(
        slot=SimpleNamespace(group=group),
        terms=SimpleNamespace(members=members, words=D),
        layout=SimpleNamespace(codec=FixedPoint(Ring(32), len(members), CLIP, 10)),
        failure=None,
    )


PARTS = [part(group, (2 * group, 2 * group + 1)) for group in range(6)]


def opened(group: int, length: float) -> GroupSum:
    update = np.full(D, length / np.sqrt(D), np.float32)
    return GroupSum(group, PARTS[group].terms.members, update, weight=10, counters={})


def judged(config: RunConfig, sums: list[GroupSum], events: Events, parts: Any = None) -> Verdict:
    voting = Voting(config, aggregator_of(config), NAMES)
    return voting.judge(1, parts or PARTS, sums, reference=None, events=events)


def test_the_rule_decides_over_group_means_and_says_whose_they_are(events: Events) -> None:
    verdict = judged(GROUPED, [opened(group, 1.0 if group < 4 else -4.0) for group in range(6)], events)
    assert np.linalg.norm(verdict.step) == pytest.approx(1.0, rel=1e-6) and verdict.step[0] > 0
    assert len(verdict.accepted) == 12 and not events
    assert set(verdict.facts["kept"]) <= set(NAMES.values())


def test_a_mean_that_honest_members_cannot_reach_is_turned_away_as_one_of_the_hostile_ones(events: Events) -> None:
    verdict = judged(GROUPED, [opened(group, 1.0 if group < 4 else -5.01) for group in range(6)], events)
    assert [each["group"] for each in events.of("group-rejected")] == [4, 5]
    assert events.of("group-rejected")[0]["sites"] == ["site-8", "site-9"]
    assert "norm 5.01" in events.of("group-rejected")[0]["detail"]
    assert np.linalg.norm(verdict.step) == pytest.approx(1.0, rel=1e-6)
    assert verdict.accepted == tuple(range(8))


def test_a_mean_of_exactly_the_clip_is_not_turned_away(events: Events) -> None:
    judged(GROUPED, [opened(group, CLIP) for group in range(6)], events)
    assert not events


def test_a_group_without_a_sum_is_named_and_lowers_nothing(events: Events) -> None:
    judged(GROUPED, [opened(group, 1.0) for group in range(5)], events)
    assert [(each["group"], each["sites"]) for each in events.of("group-missing")] == [(5, ["site-10", "site-11"])]
    with pytest.raises(QuorumError, match="4 usable sums of groups, 5 are needed"):
        judged(GROUPED, [opened(group, 1.0) for group in range(4)], events)


def test_in_full_mode_the_mean_is_the_step_and_one_that_is_too_long_is_no_step(events: Events) -> None:
    parts = [part(0, tuple(range(12)))]
    only = opened(0, 4.0)
    np.testing.assert_array_equal(judged(FULL, [only], events, parts).step, only.update)
    assert not events
    verdict = judged(FULL, [opened(0, 5.01)], events, parts)
    assert not verdict.step.any() and verdict.accepted == ()
    assert events.of("round-rolled-back")[0]["reason"] == "the sum is longer than honest sites can make it"
