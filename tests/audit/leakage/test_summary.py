"""The verdict on a claim: what breaks it, what only differs from it, and what was not looked at."""

from __future__ import annotations

import numpy as np
import pytest

from audit.leakage.noise import judge_noise
from audit.leakage.summary import Claim, LowerBound, PrivacyVerdict, assess

CLAIM = Claim("image", 4.0, 1.0, 1.0, 60, 1e-5, 8.0)
NOISE = np.random.default_rng(0).standard_normal(5_000)


def bound(epsilon: float, confidence: float = 0.999) -> LowerBound:
    return LowerBound("one run", epsilon, confidence, "fair coins")


def test_bounds_below_the_claim_and_right_noise_are_consistent_with_it():
    found = assess(CLAIM, [bound(7.9)], {"updates": judge_noise(NOISE, 1.0)})
    assert (found.verdict, found.findings, found.remarks) == (PrivacyVerdict.CONSISTENT, (), ())
    assert [each.split(":")[0] for each in found.assumes] == ["one run", "noise, updates"]


def test_a_bound_above_the_claim_violates_it():
    found = assess(CLAIM, [bound(3.0), bound(8.1)], {})
    assert found.verdict is PrivacyVerdict.VIOLATED
    assert [each.rule for each in found.findings] == ["privacy/epsilon-exceeded"]
    assert "at least 8.10" in found.findings[0].message and "claimed is 8.00" in found.findings[0].message


def test_a_bound_of_little_confidence_is_remarked_upon_and_decides_nothing():
    found = assess(CLAIM, [bound(9.0, 0.95)], {})
    assert found.verdict is PrivacyVerdict.CONSISTENT and "decides nothing" in found.remarks[0]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (0.9 * NOISE, "privacy/noise-too-small"),
        (np.random.default_rng(1).laplace(0, np.sqrt(0.5), 5_000), "privacy/noise-not-gaussian"),
    ],
)
def test_noise_that_is_too_small_or_not_gaussian_violates_the_claim(values, rule):
    found = assess(CLAIM, [], {"updates": judge_noise(values, 1.0)})
    assert found.verdict is PrivacyVerdict.VIOLATED and [each.rule for each in found.findings] == [rule]
    assert found.findings[0].place.path == "updates"


def test_noise_that_is_too_large_is_a_remark():
    found = assess(CLAIM, [], {"updates": judge_noise(1.2 * NOISE, 1.0)})
    assert found.verdict is PrivacyVerdict.CONSISTENT and "not as described" in found.remarks[0]


def test_without_a_claim_or_without_a_measurement_nothing_was_tested():
    assert assess(CLAIM, [], {}).verdict is PrivacyVerdict.NOT_TESTED
    unclaimed = assess(None, [bound(9.0)], {"updates": judge_noise(NOISE * 0.1, 1.0)})
    assert (unclaimed.verdict, unclaimed.findings) == (PrivacyVerdict.NOT_TESTED, ())
    assert unclaimed.remarks == ("no differential privacy is claimed",)


@pytest.mark.parametrize("wrong", [bound(-1.0), bound(float("nan")), bound(1.0, 1.0)])
def test_what_is_no_bound_is_refused(wrong):
    with pytest.raises(ValueError, match="is no bound"):
        assess(CLAIM, [wrong], {})


@pytest.mark.parametrize(
    "numbers", [(0.0, 1.0, 1.0, 60, 1e-5, 8.0), (4.0, 1.0, 1.1, 60, 1e-5, 8.0), (4.0, 1.0, 1.0, 60, 1.0, 8.0),
                (4.0, 1.0, 1.0, 60, 1e-5, float("nan"))],
)  # fmt: skip
def test_a_claim_without_meaning_cannot_be_made(numbers):
    with pytest.raises(ValueError, match=r"describes no mechanism|is no claim"):
        Claim("image", *numbers)
