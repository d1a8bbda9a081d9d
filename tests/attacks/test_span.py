import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.span import against_mean, against_sign, against_std, along_std, span_of
from tests.attacks.rounds import honest_updates


@pytest.mark.parametrize("d", [1, 500, 16_384, 40_000])
def test_mean_and_deviation_equal_the_plain_ones_across_chunks(d):
    honest = honest_updates(d=d)
    span = span_of(honest, along_std)
    wide = honest.astype(np.float64)
    np.testing.assert_allclose(span.mean, wide.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(span.direction, wide.std(axis=0, ddof=1), rtol=1e-12)


def test_each_direction_is_what_its_name_says():
    honest = honest_updates()
    wide = honest.astype(np.float64)
    mean, std = wide.mean(axis=0), wide.std(axis=0, ddof=1)
    for direction, expected in ((against_std, -std), (against_mean, -mean), (against_sign, -np.sign(mean))):
        np.testing.assert_allclose(span_of(honest, direction).direction, expected, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    h=st.integers(1, 9),
    d=st.integers(1, 60),
    f=st.integers(0, 4),
    a=st.floats(-3, 3),
    t=st.floats(-50, 50),
    seed=st.integers(0, 99),
)
def test_products_and_distances_equal_those_of_the_vectors_themselves(h, d, f, a, t, seed):
    honest = honest_updates(h, d, seed)
    span = span_of(honest, along_std)
    rows = span.coordinates(f, a, t)
    vectors = np.vstack([honest.astype(np.float64), np.tile(span.vector(a, t), (f, 1))])
    scale = 1 + np.abs(vectors).max() ** 2 * d
    np.testing.assert_allclose(span.products(rows), vectors @ vectors.T, atol=1e-12 * scale)
    naive = np.square(vectors[:, None] - vectors[None]).sum(axis=2)
    np.testing.assert_allclose(span.squared_distances(rows), naive, atol=1e-12 * scale)


def test_distances_of_nearly_equal_updates_do_not_cancel():
    honest = (1e3 + 1e-3 * np.random.default_rng(0).standard_normal((6, 4000))).astype(np.float32)
    span = span_of(honest, along_std)
    wide = honest.astype(np.float64)
    naive = np.square(wide[:, None] - wide[None]).sum(axis=2)
    np.testing.assert_allclose(span.squared_distances(span.coordinates(0, 0.0, 0.0)), naive, rtol=1e-9)


def test_a_single_honest_client_has_no_spread():
    span = span_of(honest_updates(h=1), along_std)
    assert not span.direction.any()
