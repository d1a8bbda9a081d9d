"""Membership inference: scikit-learn's curves, the paper's formula, closed forms, models that leak and that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from audit.leakage.membership import audit_membership, loss_scores, reference_scores, roc


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shifted(seed: int, shift: float, n: int = 1_500) -> tuple[np.ndarray, np.ndarray]:
    source = rng(seed)
    return source.standard_normal(n) + shift, source.standard_normal(n)


@pytest.mark.parametrize("rounded", [3, 0])  # the second has many ties
def test_the_curve_and_its_area_are_scikit_learns(rounded):
    inside, outside = (each.round(rounded) for each in shifted(1, 0.7, 400))
    truth, scores = np.repeat([1, 0], 400), np.concatenate([inside, outside])
    found = roc(inside, outside)
    assert found.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    theirs = set(zip(*(each.round(9) for each in roc_curve(truth, scores, drop_intermediate=False)[:2]), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in found.points} <= theirs
    assert found.points[0] == (0.0, 0.0) and found.points[-1] == (1.0, 1.0) and len(found.points) <= 201


def test_the_interval_of_the_area_holds_it_as_often_as_it_says():
    shift, trials = 0.5, 1_000
    truth = 0.5 * math.erfc(-shift / 2)  # Φ(shift/√2)
    held = 0
    for seed in range(trials):
        low, high = roc(*shifted(seed, shift, 100)).auc_interval
        held += low <= truth <= high
    assert 0.93 <= held / trials <= 0.97


def test_scores_that_separate_perfectly_still_leave_doubt():
    found = audit_membership("loss", np.ones(100), np.zeros(100), delta=1e-5, rng=rng())
    assert found.roc.auc == 1.0 and 0.9 < found.roc.auc_interval[0] < 1.0
    assert found.advantage == 1.0
    # 50 of 50 on the judging half: both ends at 0.025^(1/50).
    end = 0.025 ** (1 / 50)
    assert found.epsilon_low == pytest.approx(math.log((end - 1e-5) / (1 - end)), rel=1e-9)


def test_scores_without_information_say_so():
    found = audit_membership("loss", *shifted(20, 0.0), delta=1e-5, rng=rng())
    low, high = found.roc.auc_interval
    assert low < 0.5 < high and found.epsilon_low == 0.0


def test_the_bound_stays_below_the_truth_of_randomised_response():
    epsilon, above = 1.0, 0
    keep = math.exp(epsilon) / (1 + math.exp(epsilon))
    for seed in range(200):
        source = rng(seed)
        inside, outside = source.random(300) < keep, source.random(300) >= keep
        above += audit_membership("loss", inside, outside, delta=0.0, rng=source).epsilon_low > epsilon
    assert above / 200 <= 0.05


def test_rates_that_so_few_pictures_cannot_show_are_not_given():
    few = audit_membership("loss", *shifted(3, 1.0, 359), delta=1e-5, rng=rng()).true_positives
    assert few[0].rate is not None and few[0].interval is not None and few[0].at == 0.01
    assert (few[1].at, few[1].rate, few[1].interval) == (0.001, None, None)
    many = audit_membership("loss", *shifted(3, 1.0, 4_000), delta=1e-5, rng=rng()).true_positives
    expected = 0.5 * math.erfc((3.0902 - 1.0) / math.sqrt(2))
    assert many[1].interval is not None and many[1].interval[0] < expected * 2 and many[1].rate is not None


def test_the_loss_score_calls_the_picture_with_the_smallest_loss_a_member_first():
    assert loss_scores([0.1, 2.0]).tolist() == [-0.1, -2.0]


def test_the_reference_score_is_the_papers_formula():
    source = rng(4)
    model, references = source.random(50), source.random((2, 50))
    others, other_references = source.random(40), source.random((2, 40))
    found = reference_scores(model, references, others, other_references, gamma=1.5, offline_a=0.4)
    for x in range(50):
        beaten = 0
        for z in range(40):
            px = 0.5 * (1.4 * references[:, x].mean() + 0.6)
            pz = 0.5 * (1.4 * other_references[:, z].mean() + 0.6)
            beaten += (model[x] / px) / (others[z] / pz) >= 1.5
        assert beaten / 40 <= found[x] < (beaten + 0.5) / 40


def test_references_tell_a_member_from_a_picture_that_is_merely_easy():
    source = rng(5)
    base, members = np.exp(-3 * source.random(2_000)) / 2, np.arange(2_000) < 1_000
    model = base * np.where(members, 1.3, 1.0) * np.exp(0.05 * source.standard_normal(2_000))
    reference = base * np.exp(0.05 * source.standard_normal(2_000))
    population = np.exp(-3 * source.random(500)) / 2
    plain = loss_scores(-np.log(model))
    calibrated = reference_scores(model, reference, population, population, gamma=1.0, offline_a=1.0)
    by_loss, by_reference = (roc(each[members], each[~members]).auc for each in (plain, calibrated))
    assert by_reference > 0.99 > 0.7 > by_loss


@pytest.mark.parametrize(
    ("inside", "outside", "reason"),
    [
        (np.zeros(29), np.zeros(100), "at least 30"),
        (np.zeros(100), np.zeros(29), "at least 30"),
        (np.zeros((40, 1)), np.zeros(40), "at least 30"),
        (np.full(40, np.nan), np.zeros(40), "not a number"),
    ],
)
def test_scores_that_say_nothing_are_refused(inside, outside, reason):
    with pytest.raises(ValueError, match=reason):
        audit_membership("loss", inside, outside, delta=1e-5, rng=rng())


def test_a_population_of_nobody_and_a_probability_of_two_are_refused():
    with pytest.raises(ValueError, match="no population"):
        reference_scores([0.5], [[0.5]], [], [[]])
    with pytest.raises(ValueError, match="outside of 0 to 1"):
        reference_scores([2.0], [[0.5]], [0.5], [[0.5]])
