import byzfl
import numpy as np
import pytest
from scipy import stats

from attacks.base import AttackError
from attacks.collusion import ALIE, IPM, FixedMimic, Mimic, alie_z
from tests.attacks.rounds import THREE, honest_updates, view


@pytest.mark.parametrize("z", [0.0, 0.3, 1.5, -2.0])
@pytest.mark.parametrize("d", [40, 40_000])
def test_alie_is_the_peers_in_float64(z, d):
    honest = honest_updates(d=d)
    oracle = byzfl.ALittleIsEnough(z)(honest.astype(np.float64))
    for sent in ALIE(z).craft(view(honest)):
        np.testing.assert_allclose(sent, oracle, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("tau", [0.1, 2.0, 100.0])
def test_ipm_is_the_peers_in_float64(tau):
    honest = honest_updates()
    oracle = byzfl.InnerProductManipulation(tau)(honest.astype(np.float64))
    for sent in IPM(tau).craft(view(honest)):
        np.testing.assert_allclose(sent, oracle, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("victim", [0, 5])
def test_a_fixed_mimic_is_the_peers(victim):
    honest = honest_updates()
    for sent in FixedMimic(victim).craft(view(honest)):
        np.testing.assert_array_equal(sent, byzfl.Mimic(victim)(honest))


def test_the_peers_golden_vectors_are_met():
    np.testing.assert_allclose(ALIE(1.5).craft(view(THREE, f=1)), [[8.5, 9.5, 10.5]], rtol=1e-7)
    np.testing.assert_allclose(IPM(2.0).craft(view(THREE, f=1)), [[-8, -10, -12]], rtol=1e-7)


@pytest.mark.parametrize(("n", "f"), [(50, 24), (50, 12), (20, 4), (10, 2), (10, 1), (7, 3)])
def test_alies_z_is_the_papers_formula(n, f):
    supporters = np.floor(n / 2 + 1) - f
    assert alie_z(n, f) == pytest.approx(stats.norm.ppf((n - f - supporters) / (n - f)), abs=1e-9)


def test_alies_z_at_a_value_worked_out_by_hand():
    assert alie_z(50, 24) == pytest.approx(1.4261, abs=1e-4)  # Φ⁻¹(24/26)


@pytest.mark.parametrize(("n", "f"), [(10, 6), (10, 9), (2, 1)])
def test_alies_z_is_refused_where_it_is_unbounded(n, f):
    with pytest.raises(AttackError, match="give z"):
        alie_z(n, f)


def test_enough_ipm_attackers_turn_the_mean_around():
    honest = honest_updates(h=8)
    mean = honest.mean(axis=0)
    for tau, sign in ((3.9, 1), (4.1, -1)):  # f τ against n − f
        step = np.vstack([honest, IPM(tau).craft(view(honest, f=2))]).mean(axis=0)
        assert np.sign(step @ mean) == sign


def exposed(honest):
    """argmax_i |⟨z, x_i⟩| by a full singular value decomposition in d dimensions."""
    wide = honest.astype(np.float64)
    z = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)[2][0]
    return int(np.argmax(np.abs(wide @ z)))


@pytest.mark.parametrize("seed", range(8))
def test_the_mimicked_client_is_the_most_exposed_along_the_largest_variance(seed):
    honest = honest_updates(seed=seed)
    for sent in Mimic().craft(view(honest)):
        np.testing.assert_array_equal(sent, honest[exposed(honest)])


def test_the_mimicked_client_stays_the_same_until_a_run_begins_anew():
    first, others = honest_updates(seed=0), [honest_updates(seed=s) for s in range(1, 6)]
    attack, chosen = Mimic(), exposed(first)
    assert any(exposed(each) != chosen for each in others)
    attack.craft(view(first))
    for number, each in enumerate(others, start=2):
        np.testing.assert_array_equal(attack.craft(view(each, round=number))[0], each[chosen])
    np.testing.assert_array_equal(attack.craft(view(others[0], round=1))[0], others[0][exposed(others[0])])


def test_a_mimicked_client_that_left_is_replaced():
    many = honest_updates(h=8, seed=next(s for s in range(99) if exposed(honest_updates(h=8, seed=s)) > 3))
    attack = Mimic()
    attack.craft(view(many))
    np.testing.assert_array_equal(attack.craft(view(many[:3], round=2))[0], many[exposed(many[:3])])


def test_a_victim_who_is_not_there_is_refused():
    with pytest.raises(AttackError, match="victim=8"):
        FixedMimic(8).craft(view(honest_updates(h=8)))


@pytest.mark.parametrize("build", [lambda: ALIE(np.nan), lambda: IPM(np.inf), lambda: FixedMimic(-1)])
def test_a_parameter_out_of_range_is_refused(build):
    with pytest.raises(AttackError):
        build()
