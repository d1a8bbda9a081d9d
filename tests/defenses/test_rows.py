"""defenses/rows.py: what is let in, and sums and mixtures in pieces against those in one."""

from __future__ import annotations

import numpy as np
import pytest

from defenses.base import DefenseError
from defenses.compiled_mixing import mix_into
from defenses.rows import combine, finite_rows, mix, rows_of
from tests.defenses.rounds import updates

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "no updates"),
        (np.zeros((3, 4), np.int64), "not floats"),
        (np.zeros((3, 4), bool), "not floats"),
        ([np.zeros(3, np.float32), np.zeros(4, np.float32)], "one length"),
        (np.zeros((3, 2, 2), np.float32), "one length"),
        (np.zeros((3, 0), np.float32), "one length"),
    ],
)
def test_what_is_no_set_of_float_vectors_is_refused(given: object, what: str) -> None:
    with pytest.raises(DefenseError) as refusal:
        rows_of(given)  # type: ignore[arg-type]
    assert what in refusal.value.what and refusal.value.why and refusal.value.fix


def test_a_matrix_is_not_copied_and_float64_is_rounded() -> None:
    rows = updates(3, 10)
    assert all(np.shares_memory(row, rows) for row in rows_of(rows))
    assert rows_of(np.full((1, 2), 0.1))[0].dtype == np.float32


def test_a_double_that_is_too_large_for_float32_counts_as_not_finite() -> None:
    assert finite_rows(rows_of(np.array([[1.0, 2.0], [1e300, 0.0]]))).tolist() == [True, False]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_found_wherever_the_fault_is(value: float) -> None:
    rows = updates(3, 1_200_000)
    rows[1, -1] = value
    rows[2, 0] = LARGEST
    assert finite_rows(list(rows)).tolist() == [True, False, True]


def test_a_sum_in_pieces_is_the_sum() -> None:
    rows, weights = updates(5, 300_000), np.array([0.5, 0.0, -1.0, 2.0, 1e-3])
    np.testing.assert_allclose(combine(list(rows), weights), weights @ rows, atol=1e-5)
    assert (combine(list(rows), np.zeros(5)) == 0).all()


def test_a_sum_beyond_float32_stops_at_its_largest() -> None:
    rows = np.array([[LARGEST, -LARGEST, 1.0], [LARGEST, LARGEST, 1.0]], np.float32)
    np.testing.assert_allclose(combine(list(rows), np.array([1.0, 1.0])), [LARGEST, 0.0, 2.0])


def test_a_mixture_in_pieces_is_the_mixture() -> None:
    rows, mixing = updates(5, 300_000), np.random.default_rng(0).dirichlet(np.ones(5), size=3)
    np.testing.assert_allclose(mix(list(rows), mixing), mixing @ rows, atol=1e-5)


@pytest.fixture(params=["compiled", "portable"])
def both_kinds_of_mixing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixing by machine code, and as on a machine without llvmlite."""
    if request.param == "portable":
        monkeypatch.setattr("defenses.rows._compiled", lambda: None)


@pytest.mark.usefixtures("both_kinds_of_mixing")
@pytest.mark.parametrize("size", [1, 479, 480, 481, 1440, 100_003])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (3, 3), (4, 4), (7, 5), (10, 10), (13, 6), (65, 8)])
def test_mixed_rows_are_the_product_of_the_mixing_and_the_rows(n: int, m: int, size: int) -> None:
    rows, mixing = updates(n, size), np.random.default_rng(m).standard_normal((m, n))
    mixed = mix(list(rows), mixing)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, mixing @ rows.astype(np.float64), atol=2e-6 * n)


@pytest.mark.usefixtures("both_kinds_of_mixing")
def test_a_mixing_that_only_picks_rows_gives_them_back_to_the_bit() -> None:
    rows = updates(9, 5000)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(mix(list(rows), np.eye(9)[order]), rows[order])


def test_machine_code_is_not_run_on_shapes_that_do_not_fit() -> None:
    rows = list(updates(5, 1000))
    weights = np.ones((4, 5), np.float32)
    for given, out in (
        (weights, np.empty((4, 479), np.float32)),
        (weights[:3], np.empty((3, 1000), np.float32)),
        (weights[:, :4], np.empty((4, 1000), np.float32)),
        (weights, np.empty((1000, 4), np.float32).T),
        (weights, np.empty((4, 2000), np.float32)),
        (weights, np.empty((4, 1000))),
    ):
        with pytest.raises(ValueError, match="cannot be mixed"):
            mix_into(rows, given, out)  # type: ignore[arg-type]
