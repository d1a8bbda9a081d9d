"""No honest sum is ever turned away, and one that is longer than the clip by more than rounding is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.secagg.norms import longest_mean
from secure_fl.secagg.ring import FixedPoint, Ring


@given(st.integers(1, 6), st.sampled_from([16, 32]), st.integers(1, 400), st.floats(1e-3, 1e3), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_mean_of_honest_encodings_is_never_longer(members, bits, size, clip, seed) -> None:
    draw = np.random.default_rng(seed)
    encoding = FixedPoint(Ring(bits), members, clip, max_weight=9)
    total, weights = np.zeros(size, encoding.ring.dtype), draw.integers(1, 10, members).tolist()
    direction = draw.normal(size=size)  # all agree: the longest that their mean can be
    for number, weight in enumerate(weights):
        update = (direction * draw.uniform(0.5, 4) * clip / np.linalg.norm(direction)).astype(np.float32)
        words = np.empty(size, encoding.ring.dtype)
        encoding.encode(update, weight, words, rounding=bytes([number]) * 32)
        total += words
    mean = encoding.decode(total, sum(weights)).astype(np.float64)
    most = longest_mean(clip, coordinates=size, members=members, scale=encoding.scale, weight=sum(weights))
    assert np.linalg.norm(mean) <= most


def test_with_32_bits_the_slack_for_rounding_is_below_a_thousandth_of_the_clip() -> None:
    encoding = FixedPoint(Ring(32), 20, 5.0, max_weight=1000)
    most = longest_mean(5.0, coordinates=2_240_000, members=20, scale=encoding.scale, weight=20 * 300)
    assert most == pytest.approx(5.0, rel=1e-3) and most > 5.0
