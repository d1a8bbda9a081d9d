"""Masked words pass, unmasked ones fail, and the tail of χ² is the tail of χ²."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from audit.detect.masked import MaskedOverTime, _chi_square_tail, check_masked, uniformity
from audit.findings import Place


@pytest.mark.parametrize("bits", [32, 24, 16])
def test_masked_words_pass(bits: int) -> None:
    generator = np.random.default_rng(bits)
    update = np.rint(generator.standard_normal(50_000) * 2000).astype(np.int64)
    mask = generator.integers(0, 2**bits, 50_000, dtype=np.int64)
    words = ((update + mask) % 2**bits).astype(np.uint32)
    assert uniformity(words, ring_bits=bits).masked
    assert check_masked(words, Place(), ring_bits=bits) == []


@pytest.mark.parametrize("scale", [3, 2000, 10**7])
def test_unmasked_words_are_found(scale: int) -> None:
    update = np.rint(np.random.default_rng(0).standard_normal(20_000) * scale).astype(np.int64)
    (finding,) = check_masked((update % 2**32).astype(np.uint32), Place(site="clinic-1"), ring_bits=32)
    assert finding.rule == "masking/unmasked"
    assert finding.place.site == "clinic-1"


def test_words_outside_the_ring_are_found() -> None:
    words = np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32)
    assert not uniformity(words, ring_bits=24).masked


def test_one_masked_word_in_two_is_found() -> None:
    words = np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32)
    words[::2] = 17
    assert not uniformity(words, ring_bits=32).masked


def test_byte_order_does_not_matter() -> None:
    words = np.random.default_rng(2).integers(0, 2**16, 5000).astype(">u4")
    assert not uniformity(words, ring_bits=32).masked
    assert uniformity(words, ring_bits=16).masked


def test_false_alarms_are_as_rare_as_stated() -> None:
    generator = np.random.default_rng(3)
    p_values = [uniformity(generator.integers(0, 256, 2000, dtype=np.uint8), ring_bits=8).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.less(p_values, 0.05)) < 0.09


@pytest.mark.parametrize("statistic", [1.0, 150.0, 255.0, 330.0, 500.0, 900.0, 1400.0])
def test_the_tail_is_that_of_scipy(statistic: float) -> None:
    assert _chi_square_tail(statistic, 255) == pytest.approx(chi2.sf(statistic, 255), rel=1e-9)


def test_the_tail_of_a_huge_statistic_is_zero() -> None:
    assert _chi_square_tail(1e9, 255) == 0.0


@pytest.mark.parametrize(
    ("array", "bits"),
    [
        (np.zeros(5000, np.float32), 32),
        (np.zeros(5000, np.uint32), 20),
        (np.zeros(5000, np.uint16), 32),
        (np.zeros(100, np.uint32), 32),
    ],
)
def test_what_cannot_be_judged_is_refused(array: np.ndarray, bits: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        uniformity(array, ring_bits=bits)


def encoded(seed: int, bits: int, size: int = 20_000) -> np.ndarray:
    """An update as a site encodes it for a sum of ten: within a tenth of the ring, negative ones wrapped."""
    levels = np.random.default_rng(seed).standard_normal(size) * 2 ** (bits - 1) / 50
    return np.rint(levels).astype(np.int64).astype(f"u{bits // 8}")


def mask(seed: int, bits: int, size: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, size, dtype=np.int64).astype(f"u{bits // 8}")


@pytest.mark.parametrize("bits", [16, 32])
def test_new_masks_in_each_round_pass(bits: int) -> None:
    seen = MaskedOverTime()
    for round_ in range(8):
        assert seen.add(encoded(round_, bits) + mask(100 + round_, bits), Place(round=str(round_))) == []


@pytest.mark.parametrize("bits", [16, 32])
def test_a_mask_that_is_used_again_two_rounds_later_is_found_with_both_rounds(bits: int) -> None:
    seen = MaskedOverTime()
    assert seen.add(encoded(1, bits) + mask(7, bits), Place(site="clinic-1", round="1")) == []
    assert seen.add(encoded(2, bits) + mask(8, bits), Place(site="clinic-1", round="2")) == []
    (finding,) = seen.add(encoded(3, bits) + mask(7, bits), Place(site="clinic-1", round="3"))
    assert (finding.rule, finding.place.site, finding.place.round) == ("masking/reused", "clinic-1", "3")
    assert "round 1" in finding.message


@pytest.mark.parametrize("bits", [16, 32])
def test_a_forgotten_mask_is_found_and_not_called_reused(bits: int) -> None:
    seen = MaskedOverTime()
    for round_ in ("1", "2"):
        (finding,) = seen.add(encoded(int(round_), bits), Place(round=round_))
        assert (finding.rule, finding.place.round) == ("masking/unmasked", round_)


def test_masks_of_a_generator_that_can_be_guessed_pass_too() -> None:
    """What the test does not prove: these are Flower's masks, whose seed has 28 bits."""
    words = np.random.RandomState(0x7F7F7F7F).randint(0, 2**32 - 1, 20_000, dtype=np.int64).astype(np.uint32)
    assert MaskedOverTime().add(encoded(1, 32) + words, Place()) == []
