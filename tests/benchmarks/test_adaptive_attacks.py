import numpy as np
import pytest

from attacks.adaptive import OptALIE, OptIPM
from benchmarks.adaptive_attacks import EVALS, RULES, compare, honest_updates, ours, theirs


@pytest.mark.parametrize("rule", RULES, ids="+".join)
@pytest.mark.parametrize("attack", [OptALIE(evals=EVALS), OptIPM(evals=EVALS)], ids=lambda each: each.name)
def test_both_sides_attack_the_same_updates_in_the_same_direction(attack, rule):
    honest = honest_updates(3000)
    mine = ours(attack, rule, honest)()[0] - honest.mean(axis=0)
    peers = theirs(attack, rule, honest)().numpy() - honest.mean(axis=0)
    cosine = mine @ peers / (np.linalg.norm(mine) * np.linalg.norm(peers))
    assert cosine == pytest.approx(1.0, abs=1e-3)


def test_a_comparison_reports_both_times_and_their_ratio():
    found = compare(OptALIE(evals=2), ("geometric_median",), honest_updates(50_000), 3)
    assert found["ours_cpu_s"] > 0 and found["byzfl_cpu_s"] > 0 and found["ratio"] > 0
    assert found["repetitions"] == 3
