import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.base import AttackError
from attacks.dispersion import MinMax, MinMaxSign, MinMaxUnit, MinSum, MinSumSign, MinSumUnit
from tests.attacks.rounds import honest_updates, view

ALL = [MinMax, MinMaxSign, MinMaxUnit, MinSum, MinSumSign, MinSumUnit]
PERTURBATION = {
    MinMax: lambda mean, std: -std,
    MinMaxSign: lambda mean, std: -np.sign(mean),
    MinMaxUnit: lambda mean, std: -mean / np.linalg.norm(mean),
    MinSum: lambda mean, std: -std,
    MinSumSign: lambda mean, std: -np.sign(mean),
    MinSumUnit: lambda mean, std: -mean / np.linalg.norm(mean),
}


def inside(kind, vector, honest):
    """Whether the paper's bound holds for a crafted vector."""
    among = np.square(honest[:, None] - honest[None]).sum(axis=2)
    to = np.square(honest - vector).sum(axis=1)
    return to.max() <= among.max() if issubclass(kind, MinMax) else to.sum() <= among.sum(axis=1).max()


def algorithm_1(kind, honest):
    """The paper's search: γ goes up while the bound holds and down when it does not, with half the step each time."""
    wide = honest.astype(np.float64)
    mean, std = wide.mean(axis=0), wide.std(axis=0, ddof=1)
    perturbation = PERTURBATION[kind](mean, std)
    gamma, step, best = 1e4, 5e3, 0.0
    while step > 1e-9:
        if inside(kind, mean + gamma * perturbation, wide):
            best, gamma = gamma, gamma + step
        else:
            gamma -= step
        step /= 2
    return mean + best * perturbation


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_factor_is_what_the_papers_search_converges_to(kind, seed):
    honest = honest_updates(seed=seed)
    oracle = algorithm_1(kind, honest)
    for sent in kind().craft(view(honest)):
        np.testing.assert_allclose(sent, oracle, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=25, deadline=None)
@given(h=st.integers(2, 9), d=st.integers(2, 40), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_the_bound_holds_and_is_used_up(kind, h, d, seed, scale):
    honest = honest_updates(h, d, seed) * np.float32(scale)
    wide = honest.astype(np.float64)
    (sent,) = kind().craft(view(honest, f=1)).astype(np.float64)
    mean = wide.mean(axis=0)
    assert inside(kind, mean + 0.999 * (sent - mean), wide)
    assert not inside(kind, mean + 1.001 * (sent - mean), wide)


@pytest.mark.parametrize("kind", ALL)
def test_moving_and_scaling_the_updates_moves_and_scales_the_attack(kind):
    honest = honest_updates()
    (sent,) = kind().craft(view(honest, f=1))
    (scaled,) = kind().craft(view(honest * np.float32(4), f=1))
    np.testing.assert_allclose(scaled, 4 * sent, rtol=1e-6)
    if kind in (MinMax, MinSum):  # the other perturbations depend on where the origin is
        (moved,) = kind().craft(view(honest + np.float32(2), f=1))
        np.testing.assert_allclose(moved, sent + 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ALL)
def test_the_order_of_the_clients_does_not_matter(kind):
    honest = honest_updates()
    np.testing.assert_allclose(
        kind().craft(view(honest)), kind().craft(view(honest[::-1].copy())), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ALL)
def test_equal_updates_leave_no_room(kind):
    honest = np.repeat(honest_updates(h=1), 5, axis=0)
    np.testing.assert_allclose(kind().craft(view(honest)), honest[:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_zero_updates_stay_zero(kind):
    assert not kind().craft(view(np.zeros((4, 10), np.float32))).any()


@pytest.mark.parametrize("kind", ALL)
def test_too_little_knowledge_is_refused(kind):
    with pytest.raises(AttackError, match=kind.name):
        kind().craft(view(None))
