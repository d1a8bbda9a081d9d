"""defenses/registry.py: every name is there with its promise, and what is not there is refused with a way out."""

from __future__ import annotations

import pytest

from defenses.base import DefenseError
from defenses.registry import PRE_AGGREGATORS, RULES, build
from tests.defenses.rounds import PARAMETERS

NAMES = [
    *("mean", "median", "trimmed_mean", "meamed", "krum", "multi_krum", "bulyan", "geometric_median"),
    *("centered_clipping", "mda", "monna", "smea", "caf", "dnc", "foolsgold", "signguard", "norm_clipping"),
    *("rlr", "fltrust", "flame"),
]
# By name: the most that it tolerates of 11, and what it refuses. None: it refuses no f below n.
MOST = dict.fromkeys(NAMES, 5) | {"krum": 4, "multi_krum": 4, "bulyan": 2}
MOST |= {"mean": 10, "foolsgold": 10, "fltrust": 10}


def test_the_names_are_all_there() -> None:
    assert list(RULES) == NAMES
    assert list(PRE_AGGREGATORS) == ["nnm", "bucketing", "clipping", "arc"]


@pytest.mark.parametrize("entry", [*RULES.values(), *PRE_AGGREGATORS.values()], ids=lambda entry: entry.step.name)
def test_each_says_where_it_is_from_and_what_it_is_worth(entry: object) -> None:
    guarantee = entry.guarantee  # type: ignore[attr-defined]
    assert all((guarantee.paper, guarantee.tolerates, guarantee.breaks, guarantee.costs))
    assert any(part.strip(",;").isdigit() and len(part.strip(",;")) == 4 for part in guarantee.paper.split())
    assert entry.step.__doc__  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_tolerates_what_it_says_and_refuses_one_more(name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    build([(name, parameters)], n=11, f=MOST[name])
    with pytest.raises(DefenseError) as refusal:
        build([(name, parameters)], n=11, f=MOST[name] + 1)
    assert refusal.value.what and refusal.value.why and refusal.value.fix


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_pre_aggregators_refuse_half(name: str) -> None:
    build([(name, {}), ("mean", {})], n=11, f=5)
    with pytest.raises(DefenseError, match=f"{name} in {name}"):
        build([(name, {}), ("mean", {})], n=11, f=6)


@pytest.mark.parametrize(("n", "f"), [(0, 0), (3, 3), (3, -1), (-1, 0)])
def test_an_f_that_leaves_nobody_is_refused(n: int, f: int) -> None:
    with pytest.raises(DefenseError, match="Byzantine among"):
        build([("mean", {})], n=n, f=f)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "list of steps is empty"),
        ([("crumb", {})], "crumb is no rule.*one of mean, median"),
        ([("nnm", {})], "nnm is no rule: at the end"),
        ([("krum", {}), ("median", {})], "krum is no pre-aggregator.*one of nnm"),
        ([("krum", {"m": 3})], "krum has no parameter m.*parameters: none"),
        ([("rlr", {"treshold": 3})], "no parameter treshold.*parameters: threshold"),
        ([("clipping", {}), ("mean", {})], "clipping without c.*write clipping"),
        ([("clipping", {"c": float("nan")}), ("mean", {})], "finite number"),
        ([("clipping", {"c": 0.0}), ("mean", {})], "c is at least"),
        ([("clipping", {"c": -1.0}), ("mean", {})], "c is at least"),
        ([("bucketing", {"s": 0}), ("mean", {})], "whole number of at least 1"),
        ([("bucketing", {"s": 1.5}), ("mean", {})], "whole number"),
        ([("centered_clipping", {"tau": -1})], "tau is at least 0"),
        ([("centered_clipping", {"iterations": 0})], "whole number of at least 1"),
        ([("geometric_median", {"smoothing": 0})], "smoothing is at least"),
        ([("norm_clipping", {"bound": -2})], "bound is at least 0"),
        ([("monna", {"pivot": 0.5})], "pivot is a whole number"),
        ([("monna", {"pivot": 11})], "at least 12 vectors"),
        ([("dnc", {"iterations": 0})], "whole number"),
        ([("dnc", {"iterations": 6})], "at least 13 vectors"),
        ([("dnc", {"factor": -1})], "factor is at least 0"),
        ([("foolsgold", {"confidence": 0})], "confidence is at least"),
        ([("flame", {"noise": -1})], "noise is at least 0"),
        ([("rlr", {"threshold": 12})], "at least 12 vectors"),
        ([("rlr", {"threshold": 1.5})], "whole number"),
        ([("signguard", {"shortest": -1})], "shortest is at least 0"),
        ([("signguard", {"longest": 0.5})], "longest is at least 1"),
    ],
)
def test_what_means_nothing_is_refused_with_the_reason(steps: list, message: str) -> None:
    with pytest.raises(DefenseError, match=message):
        build(steps, n=11, f=2)


def test_searches_that_an_attacker_could_make_endless_are_refused() -> None:
    with pytest.raises(DefenseError, match="mda with f=31"):
        build([("mda", {})], n=100, f=31)
    with pytest.raises(DefenseError, match="too many subsets"):
        build([("smea", {})], n=50, f=10)
