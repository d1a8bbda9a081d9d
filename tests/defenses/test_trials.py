import numpy as np
import pytest

from attacks.adaptive import OptALIE, OptIPM
from attacks.base import SpanRule
from defenses.base import Surroundings
from defenses.registry import RULES, build
from defenses.trials import SpanTrial, Trial, trial_of
from tests.attacks.rounds import honest_updates, view

N, F = 11, 2
SPAN = ["mean", "krum", "multi_krum", "geometric_median", "mda", "smea", "monna", "caf", "norm_clipping"]
FRONTS = [[], [("nnm", {})], [("clipping", {"c": 20.0}), ("nnm", {})], [("arc", {})], [("bucketing", {"s": 2.0})]]


def drawing():
    return Surroundings(rng=np.random.default_rng(5))


def defense(rule, front=()):
    f = 1 if ("bucketing", {"s": 2.0}) in front else F
    parameters = {key: 1.0 for key, default in RULES[rule].parameters.items() if default is None}
    return build([*front, (rule, parameters)], n=N, f=f)


@pytest.mark.parametrize("front", FRONTS, ids=["alone", "nnm", "clipping+nnm", "arc", "bucketing"])
@pytest.mark.parametrize("rule", SPAN)
def test_weights_by_inner_products_are_the_weights_by_the_updates(rule, front):
    updates = honest_updates(h=N, d=3000)
    try:
        made = defense(rule, front)
    except ValueError as refused:
        pytest.skip(f"cannot be composed: {refused}")
    trial = trial_of(made, drawing)
    assert isinstance(trial, SpanTrial)
    wide = updates.astype(np.float64)
    expected = made.aggregate(updates, drawing()).weights
    np.testing.assert_allclose(trial.weights_of_gram(wide @ wide.T), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", sorted(set(RULES) - set(SPAN)))
def test_rules_that_look_at_more_than_inner_products_are_tried_on_updates(rule):
    trial = trial_of(defense(rule))
    assert type(trial) is Trial
    assert not isinstance(trial, SpanRule)


def test_a_trial_leaves_no_trace_in_the_memory():
    updates = honest_updates(h=N)
    watched, untouched = defense("centered_clipping"), defense("centered_clipping")
    for each in (watched, untouched):
        each.aggregate(updates)
    trial = trial_of(watched)
    first = trial(updates * np.float32(9))
    np.testing.assert_array_equal(first, trial(updates * np.float32(9)))
    np.testing.assert_array_equal(watched.aggregate(updates).step, untouched.aggregate(updates).step)


def test_a_trial_draws_as_the_round_will():
    updates = honest_updates(h=N)
    made = defense("krum", [("bucketing", {"s": 2.0})])
    np.testing.assert_array_equal(trial_of(made, drawing)(updates), made.aggregate(updates, drawing()).step)


def test_a_coordinate_rule_cannot_answer_by_inner_products():
    with pytest.raises(TypeError, match="coordinates"):
        SpanTrial(defense("median"), Surroundings).weights_of_gram(np.eye(N))


@pytest.mark.parametrize("attack", [OptALIE(), OptIPM()], ids=lambda each: each.name)
@pytest.mark.parametrize("steps", [["krum"], ["nnm", "krum"], ["geometric_median"], ["nnm", "caf"]], ids="+".join)
def test_an_adaptive_attack_does_the_same_harm_by_inner_products_as_by_trials(attack, steps):
    honest = honest_updates(h=N - F, d=2000)
    made = build([(name, {}) for name in steps], n=N, f=F)

    def harm(rule):
        sent = attack.craft(view(honest, f=F, defend=rule))
        return np.linalg.norm(made.aggregate(np.vstack([honest, sent])).step - honest.mean(axis=0))

    assert harm(trial_of(made)) == pytest.approx(harm(Trial(made, Surroundings)), rel=1e-4)
