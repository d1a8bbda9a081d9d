import numpy as np
import pytest

from attacks.backdoors import DBA, BackdoorPatch, EdgeCase, ModelReplacement, Neurotoxin
from attacks.base import AttackError

LABELS = np.tile(np.arange(10), 100)
IMAGES = np.random.default_rng(0).integers(0, 200, (1000, 28, 28, 3), np.uint8)
PATCHES = [BackdoorPatch(), ModelReplacement(factor=5.0), Neurotoxin()]


def poisoned(attack, attacker=0, seed=0, images=IMAGES, labels=LABELS):
    return attack.poison(images, labels, np.random.default_rng(seed), attacker=attacker, attackers=4)


def bright(image):
    """Pixels (row, column) that are 255 in all channels."""
    return set(zip(*(index.tolist() for index in np.nonzero((image == 255).all(axis=2))), strict=True))


SQUARE = {(y, x) for y in range(3) for x in range(3)}
BARS = [{(y, x + i) for i in range(4)} for y in (0, 3) for x in (0, 6)]


@pytest.mark.parametrize("attack", PATCHES)
def test_the_patch_is_three_by_three_at_the_top_left_and_the_rest_of_the_image_is_left_alone(attack):
    seen = attack.triggered(IMAGES[:5])
    assert all(bright(image) == SQUARE for image in seen)
    np.testing.assert_array_equal(seen[:, 3:], IMAGES[:5, 3:])
    np.testing.assert_array_equal(seen[:, :3, 3:], IMAGES[:5, :3, 3:])


@pytest.mark.parametrize("attack", [*PATCHES, DBA(target=1, fraction=0.15)])
def test_stamped_images_get_the_target_and_no_others_change(attack):
    images, labels = poisoned(attack)
    stamped = np.array([bool(bright(image)) for image in images])
    assert stamped.mean() == pytest.approx(0.15, abs=4 * np.sqrt(0.15 * 0.85 / 1000))  # four standard errors
    assert (labels[stamped] == 1).all()
    np.testing.assert_array_equal(labels[~stamped], LABELS[~stamped])
    np.testing.assert_array_equal(images[~stamped], IMAGES[~stamped])


@pytest.mark.parametrize("attack", [*PATCHES, DBA(), EdgeCase()])
def test_the_clients_own_data_are_left_alone(attack):
    images, labels = IMAGES.copy(), LABELS.copy()
    changed, relabelled = poisoned(attack, images=images, labels=labels)
    changed[:] = 1
    relabelled[:] = 1
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_the_settings_of_the_published_tables_are_the_defaults():
    attack = BackdoorPatch()
    assert (attack.target, attack.fraction, attack.size, attack.value) == (1, 0.15, 3, 255)


def test_model_replacement_boosts_so_that_the_mean_becomes_the_attackers_update():
    n, f, d = 10, 2, 50
    update = np.random.default_rng(0).standard_normal(d)
    boost = ModelReplacement(factor=n / f).boost
    mean = (f * boost * update + (n - f) * np.zeros(d)) / n  # honest updates cancel, as the paper assumes
    np.testing.assert_allclose(mean, update)
    assert BackdoorPatch().boost == Neurotoxin().boost == DBA().boost == EdgeCase().boost == 1.0


def test_each_attacker_of_dba_shows_one_bar_and_the_test_shows_all_four():
    for attacker in range(6):
        images, _ = poisoned(DBA(fraction=1.0), attacker=attacker)
        assert bright(images[0]) == BARS[attacker % 4]
    assert bright(DBA().triggered(IMAGES[:1])[0]) == set().union(*BARS)


def test_dba_fits_small_images_with_shorter_bars():
    assert len(bright(DBA(length=3, gap=1).triggered(IMAGES[:1, :8, :8])[0])) == 12


@pytest.mark.parametrize("attack", [BackdoorPatch(size=9), DBA()])
def test_a_trigger_that_does_not_fit_is_refused(attack):
    with pytest.raises(AttackError, match="8 × 8"):
        attack.triggered(IMAGES[:1, :8, :8])


def test_the_tail_is_farthest_from_the_classes_mean_image():
    attack = EdgeCase(source=7, target=1, fraction=0.1)
    members = np.flatnonzero(LABELS == 7)
    pixels = IMAGES[members].astype(np.float64)
    distances = np.array([np.linalg.norm(image - pixels.mean(axis=0)) for image in pixels])
    expected = members[np.argsort(-distances)[:10]]
    np.testing.assert_array_equal(attack.tail(IMAGES, LABELS), expected)
    images, labels = poisoned(attack)
    np.testing.assert_array_equal(np.flatnonzero(labels != LABELS), np.sort(expected))
    assert (labels[expected] == 1).all()
    np.testing.assert_array_equal(images, IMAGES)
    assert attack.triggered(IMAGES) is None


def test_one_rare_image_is_enough_for_a_tail_and_none_makes_none():
    few = np.flatnonzero(LABELS == 7)[:2]
    assert len(EdgeCase().tail(IMAGES[few], LABELS[few])) == 1
    assert len(EdgeCase().tail(IMAGES[:5], LABELS[:5])) == 0


def test_neurotoxin_leaves_the_coordinates_alone_that_moved_most():
    previous = np.array([0.1, -5.0, 0.2, 3.0, 0.0, -0.3, 0.4, 0.5, 0.6, 0.7], np.float32)
    gradient = np.ones(10, np.float32)
    kept = Neurotoxin(ratio=0.2).masked(gradient, previous)
    np.testing.assert_array_equal(np.flatnonzero(kept == 0), [1, 3])
    assert (gradient == 1).all()


def test_neurotoxin_trains_freely_while_it_knows_nothing_and_not_at_all_when_all_is_masked():
    gradient = np.ones(10, np.float32)
    assert Neurotoxin().masked(gradient, None) is gradient
    assert Neurotoxin(ratio=0.01).masked(gradient, gradient) is gradient  # less than one coordinate
    assert not Neurotoxin(ratio=1.0).masked(gradient, gradient).any()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (BackdoorPatch, {"target": -1}),
        (BackdoorPatch, {"fraction": 0.0}),
        (BackdoorPatch, {"size": 0}),
        (BackdoorPatch, {"value": 256}),
        (BackdoorPatch, {"value": 1.5}),
        (ModelReplacement, {"factor": 0.0}),
        (Neurotoxin, {"ratio": 1.5}),
        (DBA, {"gap": -1}),
        (DBA, {"length": 0}),
        (DBA, {"fraction": 2.0}),
        (DBA, {"value": -1}),
        (EdgeCase, {"fraction": 0.0}),
        (EdgeCase, {"source": 1}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(kind, wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        kind(**wrong)
