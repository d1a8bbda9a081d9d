"""A defense as a strategy: unweighted, told apart by roster index, and no easier to stop than to poison."""

from __future__ import annotations

import numpy as np
import pytest

from secure_fl.app.robust import RobustRule, aggregator_of
from secure_fl.app.strategy import Combination, FedAvg, Offer
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError

D = 30


def offer(n: int = 5, *, round: int = 1, seed: int = 0, refused: tuple[int, ...] = (), samples: int = 1) -> Offer:
    draw = np.random.default_rng(seed)
    rows = [draw.normal(1, 0.1, D).astype(np.float32) for _ in range(n)]
    return Offer(round, rows, [samples] * n, list(range(n)), refused)


def rule(defense: str, f: int, sites: int = 5, seed: int = 0) -> RobustRule:
    made = aggregator_of(RunConfig(sites=sites, defense=defense, byzantine=f, seed=seed))
    assert isinstance(made, RobustRule)
    return made


def test_without_a_defense_the_strategy_is_fedavg_and_says_what_each_update_weighs() -> None:
    strategy = aggregator_of(RunConfig())
    assert isinstance(strategy, FedAvg)
    made = strategy.judge(Offer(1, offer(2).updates, [1, 3], [0, 1]))
    assert made.weights == (0.25, 0.75) and made.kept == (True, True) and made.masked == (False, False)


def test_a_claimed_sample_count_buys_no_influence() -> None:
    honest = offer()
    lying = Offer(1, honest.updates, [1, 1, 1, 1, 10**12], honest.sites)
    np.testing.assert_array_equal(
        rule("multi_krum", 1).judge(honest).step, rule("multi_krum", 1).judge(lying).step, strict=True
    )


def test_the_summary_names_rule_and_f() -> None:
    assert rule("nnm+trimmed_mean", 2).summary() == "nnm+trimmed_mean: robust to 2 hostile sites, unweighted"


def test_a_rule_that_draws_repeats_in_a_repeated_round_and_not_in_another() -> None:
    def step(round: int, seed: int) -> bytes:
        return rule("bucketing(s=2)+median", 1, seed=seed).judge(offer(round=round)).step.tobytes()

    assert step(1, 0) == step(1, 0)
    assert len({step(round_, seed) for round_ in (1, 2, 3) for seed in (0, 1)}) > 3


def test_a_refused_reply_is_one_of_the_f_that_the_rule_tolerates() -> None:
    three = offer(3)
    with pytest.raises(QuorumError, match="round 1"):
        rule("trimmed_mean", 2).judge(three)
    made: Combination = rule("trimmed_mean", 2).judge(Offer(1, three.updates, three.samples, three.sites, (3, 4)))
    np.testing.assert_allclose(made.step, np.mean(three.updates, axis=0), rtol=1e-6)
    assert made.kept == (True,) * 3 and made.masked == (False,) * 3


def test_more_refused_replies_than_f_do_not_turn_the_count_against_the_honest() -> None:
    four = offer(4)
    made = rule("median", 1).judge(Offer(1, four.updates, four.samples, four.sites, (4, 5, 6)))
    assert np.isfinite(made.step).all() and len(made.kept) == 4


def test_a_rule_with_a_memory_knows_sites_by_their_index_and_not_by_their_place() -> None:
    def last_weights(second: Offer) -> dict[int, float]:
        strategy = rule("foolsgold", 0)
        strategy.judge(offer(4, seed=1))
        weights = strategy.judge(second).weights
        assert weights is not None
        return dict(zip(second.sites, weights, strict=True))

    whole = offer(4, seed=2)
    turned = Offer(2, list(whole.updates)[::-1], whole.samples, list(whole.sites)[::-1])
    straight, reverse = last_weights(whole), last_weights(turned)
    assert straight.keys() == reverse.keys()
    assert all(straight[site] == pytest.approx(reverse[site], abs=1e-9) for site in straight)
