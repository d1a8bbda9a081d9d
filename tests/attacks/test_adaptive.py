import byzfl
import numpy as np
import pytest
from byzfl.aggregators import preaggregators
from hypothesis import given
from hypothesis import strategies as st

from attacks.adaptive import OptALIE, OptIPM, worst_factor
from attacks.base import AttackError
from tests.attacks.rounds import THREE, honest_updates, view


class Peer:
    """A composition of the peer's, in float64, as the rule in force; counts its calls."""

    def __init__(self, rule, *pre):
        self.rule, self.pre, self.calls = rule, pre, 0

    def __call__(self, updates):
        self.calls += 1
        vectors = updates.astype(np.float64)
        for step in self.pre:
            vectors = step(vectors)
        return self.rule(vectors)


class MultiKrumByGram:
    """Multi-Krum with the peer's convention (n − f − 1 neighbours, n − f kept), from inner products alone."""

    def __init__(self, f):
        self.f = f

    def __call__(self, updates):
        raise AssertionError("the search must not touch the updates")

    def weights_of_gram(self, gram):
        norms = gram.diagonal()
        squared = norms[:, None] + norms[None] - 2 * gram
        np.fill_diagonal(squared, 0.0)
        scores = np.sort(squared, axis=1)[:, 1 : len(gram) - self.f].sum(axis=1)
        kept = np.argsort(scores, kind="stable")[: len(gram) - self.f]
        weights = np.zeros(len(gram))
        weights[kept] = 1 / len(kept)
        return weights


class Mean:
    """A rule whose weights do not even depend on the updates."""

    def __call__(self, updates):
        return updates.mean(axis=0)


class MeanByGram(Mean):
    def weights_of_gram(self, gram):
        return np.full(len(gram), 1 / len(gram))


PEERS = {"opt_alie": byzfl.Optimal_ALittleIsEnough, "opt_ipm": byzfl.Optimal_InnerProductManipulation}


@pytest.mark.parametrize("attack", [OptALIE(), OptIPM()], ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("rule", "pre"),
    [
        (byzfl.TrMean(2), [preaggregators.NNM(2)]),
        (byzfl.Krum(2), [preaggregators.NNM(2)]),
        (byzfl.Median(), []),
        (byzfl.GeometricMedian(), []),
    ],
    ids=["nnm+trimmed_mean", "nnm+krum", "median", "geometric_median"],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_searched_vector_is_the_peers(attack, rule, pre, seed):
    honest = honest_updates(h=8, seed=seed)
    oracle = PEERS[attack.name](agg=rule, pre_agg_list=pre, f=2)(honest.astype(np.float64))
    for sent in attack.craft(view(honest, f=2, defend=Peer(rule, *pre))):
        np.testing.assert_allclose(sent, oracle, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attack", [OptALIE(), OptIPM()], ids=lambda each: each.name)
@pytest.mark.parametrize("seed", range(5))
def test_the_search_among_coefficients_finds_the_peers_vector_without_touching_the_updates(attack, seed):
    honest = honest_updates(h=8, d=20_000, seed=seed)
    oracle = PEERS[attack.name](agg=byzfl.MultiKrum(2), pre_agg_list=[], f=2)(honest.astype(np.float64))
    for sent in attack.craft(view(honest, f=2, defend=MultiKrumByGram(2))):
        np.testing.assert_allclose(sent, oracle, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attack", [OptALIE(), OptIPM()], ids=lambda each: each.name)
def test_both_ways_of_searching_agree(attack):
    honest = honest_updates(h=7, d=30_000)
    by_trial = attack.craft(view(honest, f=3, defend=Mean()))
    np.testing.assert_array_equal(by_trial, attack.craft(view(honest, f=3, defend=MeanByGram())))


def test_the_peers_golden_vectors_are_met():
    rule = Peer(byzfl.TrMean(1), preaggregators.NNM(1))
    np.testing.assert_allclose(
        OptALIE().craft(view(THREE, f=1, defend=rule)), [[12.919851, 13.919851, 14.919851]], rtol=1e-6
    )
    np.testing.assert_allclose(
        OptIPM().craft(view(THREE, f=1, defend=rule)), [[-2.748779, -3.435974, -4.123169]], rtol=1e-6
    )


def test_it_does_at_least_as_much_harm_as_the_fixed_factors_it_tried():
    honest = honest_updates()
    rule = Peer(byzfl.Median())
    mean = honest.mean(axis=0)

    def harm(sent):
        return np.linalg.norm(rule(np.vstack([honest, sent])) - mean)

    searched = harm(OptALIE().craft(view(honest, defend=rule)))
    assert searched >= harm(OptALIE(evals=1).craft(view(honest, defend=rule)))
    assert searched >= harm(OptALIE(evals=2).craft(view(honest, defend=rule)))


def test_the_rule_is_called_as_often_as_allowed_and_no_more():
    rule = Peer(byzfl.Median())
    OptALIE(evals=7).craft(view(honest_updates(), defend=rule))
    assert rule.calls == 7


@given(heights=st.lists(st.floats(-10, 10), min_size=20, max_size=20), evals=st.integers(1, 20))
def test_the_factor_is_the_best_of_those_tried_and_they_are_as_many_as_allowed(heights, evals):
    tried = {}

    def damage(factor):
        return tried.setdefault(factor, heights[len(tried)])

    found = worst_factor(damage, evals=evals, start=0.0, delta=10.0, ratio=0.8)
    assert len(tried) == evals
    assert tried[found] == max(tried.values())


def test_a_far_peak_is_reached_by_doubling_and_a_near_one_by_shrinking():
    for peak in (2e4, 0.4):
        found = worst_factor(lambda t, peak=peak: -abs(t - peak), evals=40, start=0.0, delta=10.0, ratio=0.8)
        assert peak / 2 <= found <= 2 * peak


@pytest.mark.parametrize("start", [np.nan, 1.0])
def test_a_rule_that_answers_nan_never_pays(start):
    harm = {0.0: start, 10.0: np.nan}
    found = worst_factor(lambda t: harm.get(t, 2.0), evals=3, start=0.0, delta=10.0, ratio=0.8)
    assert found == 8.0


@pytest.mark.parametrize("attack", [OptALIE(), OptIPM()])
def test_too_little_knowledge_is_refused(attack):
    with pytest.raises(AttackError, match="honest updates"):
        attack.craft(view(None, defend=Mean()))
    with pytest.raises(AttackError, match="rule in force"):
        attack.craft(view(honest_updates()))


@pytest.mark.parametrize(
    "wrong", [{"evals": 0}, {"evals": 1.5}, {"delta": 0.0}, {"ratio": 0.5}, {"ratio": 1.0}, {"start": np.nan}]
)
def test_a_search_that_cannot_work_is_refused(wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        OptALIE(**wrong)
