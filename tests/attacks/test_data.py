import numpy as np
import pytest

from attacks.base import AttackError
from attacks.data import AllToOne, Pairwise, Reverse

LABELS = np.tile(np.arange(10), 200)
IMAGES = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 1), np.uint8)


def poisoned(attack, labels=LABELS, seed=0):
    return attack.poison(IMAGES[: len(labels)], labels, np.random.default_rng(seed), attacker=0, attackers=2)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (Pairwise(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]),
        (Reverse(), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (AllToOne(target=2), [2] * 10),
        (AllToOne(target=2, spare=9), [2] * 9 + [9]),
    ],
)
def test_the_map_of_labels_is_the_one_in_the_name(attack, expected):
    images, labels = poisoned(attack)
    np.testing.assert_array_equal(labels[:10], expected)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize("attack", [Pairwise(), Reverse(), AllToOne()])
def test_the_clients_own_data_are_left_alone(attack):
    images, labels = IMAGES.copy(), LABELS.copy()
    changed, _ = attack.poison(images, labels, np.random.default_rng(0), attacker=0, attackers=1)
    changed[:] = 0
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_pairwise_comes_round_after_as_many_turns_as_there_are_classes_and_reverse_after_two():
    labels = LABELS
    for _ in range(10):
        _, labels = poisoned(Pairwise(), labels)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(poisoned(Reverse(), poisoned(Reverse())[1])[1], LABELS)


def test_a_fraction_of_the_labels_is_flipped_and_which_depends_on_the_generator():
    _, labels = poisoned(AllToOne(target=2, fraction=0.3))
    changed = np.mean(labels[LABELS != 2] == 2)
    assert changed == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 1800))  # four standard errors
    np.testing.assert_array_equal(labels, poisoned(AllToOne(target=2, fraction=0.3))[1])
    assert not np.array_equal(labels, poisoned(AllToOne(target=2, fraction=0.3), seed=1)[1])


@pytest.mark.parametrize("attack", [Pairwise(), Reverse(), AllToOne()])
def test_label_flips_have_no_trigger_no_boost_and_no_mask(attack):
    assert attack.triggered(IMAGES) is None
    assert attack.boost == 1.0
    gradient = np.ones(3, np.float32)
    assert attack.masked(gradient, gradient) is gradient


def test_only_all_to_one_has_a_target():
    assert (Pairwise().target, Reverse().target, AllToOne(target=3).target) == (None, None, 3)


@pytest.mark.parametrize("attack", [Pairwise(classes=5), Reverse(classes=5)])
def test_labels_beyond_the_number_of_classes_are_refused(attack):
    with pytest.raises(AttackError, match="labels run from 0 to 9"):
        poisoned(attack)


@pytest.mark.parametrize("attack", [Pairwise(), Reverse(), AllToOne()])
def test_an_empty_client_stays_empty(attack):
    images, labels = poisoned(attack, LABELS[:0])
    assert len(images) == len(labels) == 0


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Pairwise, {"classes": 1}),
        (Reverse, {"classes": 2.5}),
        (AllToOne, {"target": -1}),
        (AllToOne, {"fraction": 0.0}),
        (AllToOne, {"fraction": 1.1}),
        (AllToOne, {"spare": -1}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(kind, wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        kind(**wrong)
