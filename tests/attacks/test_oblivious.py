import byzfl
import numpy as np
import pytest

from attacks.base import AttackError
from attacks.oblivious import FreeRider, Gaussian, Random, Scaled, SignFlip, Zero
from tests.attacks.rounds import view

BLIND = view(None, f=3, d=200_000)


def test_sign_flip_is_the_peers_of_each_client_alone():
    sent = SignFlip().craft(BLIND)
    for own, flipped in zip(BLIND.own, sent, strict=True):
        np.testing.assert_array_equal(flipped, byzfl.SignFlipping()(own[None].astype(np.float64)).astype(np.float32))


def test_scaled_by_minus_one_is_sign_flip_and_lengths_scale():
    np.testing.assert_array_equal(Scaled(-1.0).craft(BLIND), SignFlip().craft(BLIND))
    lengths = np.linalg.norm(Scaled(-4.0).craft(BLIND), axis=1) / np.linalg.norm(BLIND.own, axis=1)
    np.testing.assert_allclose(lengths, 4.0, rtol=1e-6)


def test_gaussian_noise_has_mean_zero_and_the_asked_deviation():
    sent = Gaussian(0.5).craft(BLIND).astype(np.float64)
    assert abs(sent.mean()) < 4 * 0.5 / np.sqrt(sent.size)  # four standard errors
    assert sent.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * sent.size))


def test_random_noise_fills_its_interval_evenly():
    sent = Random(2.0).craft(BLIND).astype(np.float64)
    assert -2 <= sent.min() < -1.999 and 1.999 < sent.max() <= 2
    counts, _ = np.histogram(sent, bins=10, range=(-2, 2))
    expected = sent.size / 10
    assert ((counts - expected) ** 2 / expected).sum() < 33.7  # chi-squared with 9 degrees of freedom, p = 1e-4


@pytest.mark.parametrize("attack", [Gaussian(), Random()])
def test_noise_differs_between_clients_and_not_between_equal_generators(attack):
    sent = attack.craft(view(None, f=3))
    assert not np.array_equal(sent[0], sent[1])
    np.testing.assert_array_equal(sent, attack.craft(view(None, f=3)))
    assert not np.array_equal(sent, attack.craft(view(None, f=3, seed=1)))


def test_zero_sends_nothing():
    assert not Zero().craft(BLIND).any()


def test_a_free_rider_has_nothing_to_echo_in_round_1():
    assert not FreeRider().craft(BLIND).any()


def test_a_free_rider_without_noise_echoes_the_last_step():
    previous = BLIND.own[0] * np.float32(3)
    sent = FreeRider(noise=0.0).craft(view(None, d=BLIND.d, previous=previous, round=2))
    np.testing.assert_array_equal(sent, np.stack([previous, previous]))


def test_a_free_riders_noise_is_relative_to_the_step():
    previous = np.full(200_000, 0.03, np.float32)
    sent = FreeRider(noise=0.1).craft(view(None, d=200_000, previous=previous, round=2))
    assert (sent - previous).astype(np.float64).std() == pytest.approx(0.003, rel=0.02)
    assert not np.array_equal(sent[0], sent[1])


@pytest.mark.parametrize(
    ("attack", "value"),
    [(Scaled, np.nan), (Scaled, np.inf), (Gaussian, 0.0), (Gaussian, np.nan), (Random, -1.0), (FreeRider, -0.1)],
)
def test_a_parameter_out_of_range_is_refused_by_name(attack, value):
    with pytest.raises(AttackError, match=attack.name):
        attack(value)
