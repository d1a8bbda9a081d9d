import numpy as np
import pytest

from attacks.base import AttackError
from attacks.tailored import ROP, FangKrum, FangTrimmedMean, krum_choice
from tests.attacks.rounds import honest_updates, view


def naive_krum(updates, f):
    """Krum by the book: squared distances to the n − f − 2 nearest others."""
    wide = updates.astype(np.float64)
    scores = []
    for i, row in enumerate(wide):
        others = sorted(np.square(row - other).sum() for j, other in enumerate(wide) if j != i)
        scores.append(sum(others[: len(wide) - f - 2]))
    return int(np.argmin(scores))


def fang_by_the_book(honest, f, threshold=1e-5):
    """λ of section 4.2: the upper bound of theorem 1, halved until Krum chooses the crafted model."""
    wide = honest.astype(np.float64)
    n, d = len(wide) + f, wide.shape[1]
    signs = np.sign(wide.mean(axis=0))
    distances = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    crowd = min(sum(np.sort(row)[1 : n - f - 1]) for row in distances)
    factor = crowd / ((n - 2 * f - 1) * np.sqrt(d)) + np.linalg.norm(wide, axis=1).max() / np.sqrt(d)
    while factor >= threshold:
        crafted = np.repeat(-factor * signs[None], f, axis=0)
        if naive_krum(np.vstack([wide, crafted]), f) >= len(wide):
            break
        factor /= 2
    return -factor * signs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("h", "f"), [(8, 2), (7, 3), (16, 4)])
def test_fangs_krum_attack_is_the_paper_by_the_book(h, f, seed):
    honest = honest_updates(h=h, d=200, seed=seed)
    sent = FangKrum().craft(view(honest, f=f))
    np.testing.assert_allclose(sent[0], fang_by_the_book(honest, f), rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_krum_falls_for_what_fang_sends(seed):
    honest = honest_updates(h=7, d=200, seed=seed)
    sent = FangKrum().craft(view(honest, f=3))
    assert naive_krum(np.vstack([honest, sent]), 3) >= 7
    assert sent[0] @ honest.mean(axis=0) < 0


def test_the_supporters_stay_within_epsilon_and_differ():
    honest = honest_updates()
    sent = FangKrum(epsilon=0.01).craft(view(honest, f=4)).astype(np.float64)
    gaps = np.linalg.norm(sent[1:] - sent[0], axis=1)
    assert (gaps > 0).all() and (gaps < 0.01 + 1e-5).all()
    assert not np.array_equal(sent[1], sent[2])


def test_the_search_ends_at_the_threshold_when_krum_never_falls():
    crowd = np.ones((12, 50), np.float32) + np.float32(1e-6) * honest_updates(h=12, d=50)
    sent = FangKrum(threshold=1e-3).craft(view(crowd, f=1))
    assert 0 < np.abs(sent[0]).max() < 1e-3


@pytest.mark.parametrize("f", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_krums_choice_by_distances_is_krums_choice(f, seed):
    updates = honest_updates(h=9, seed=seed)
    wide = updates.astype(np.float64)
    squared = np.square(wide[:, None] - wide[None]).sum(axis=2)
    assert krum_choice(squared, f) == naive_krum(updates, f)


def test_fang_refuses_more_attackers_than_krum_is_defined_for():
    with pytest.raises(AttackError, match="2f"):
        FangKrum().craft(view(honest_updates(h=4), f=2))


def test_fangs_trimmed_mean_attack_lies_beyond_the_honest_range_on_the_right_side():
    honest = honest_updates(h=6, d=5000)
    sent = FangTrimmedMean(b=2.0).craft(view(honest, f=3)).astype(np.float64)
    low, high = honest.min(axis=0).astype(np.float64), honest.max(axis=0).astype(np.float64)
    rises = honest.mean(axis=0, dtype=np.float64) > 0
    for client in sent:
        below, above = client[rises], client[~rises]
        floor = np.where(low[rises] < 0, 2 * low[rises], low[rises] / 2)
        ceiling = np.where(high[~rises] > 0, 2 * high[~rises], high[~rises] / 2)
        assert (below <= low[rises] + 1e-5).all() and (below >= floor - 1e-5).all()
        assert (above >= high[~rises] - 1e-5).all() and (above <= ceiling + 1e-5).all()
    assert not np.array_equal(sent[0], sent[1])


def test_it_pulls_every_coordinate_of_a_trimmed_mean_away_from_where_it_would_go():
    honest = honest_updates(h=8, d=2000)
    sent = FangTrimmedMean().craft(view(honest, f=2))
    ordered = np.sort(np.vstack([honest, sent]), axis=0)
    trimmed, mean = ordered[2:-2].mean(axis=0), np.sort(honest, axis=0)[2:-2].mean(axis=0)
    assert (np.sign(honest.mean(axis=0)) * (trimmed - mean) <= 1e-6).all()


def rop_by_the_authors_program(honest, previous, *, z, pi, lamb, angle):
    """Their steps in their order, in float64."""
    mean = honest.astype(np.float64).mean(axis=0)
    momentum = previous.astype(np.float64)
    location = momentum * pi + mean * (1 - pi)
    reference = momentum * lamb + mean * (1 - lamb)
    ones = np.ones_like(mean)
    ones -= reference * (ones @ reference) / (reference @ reference)
    turned = ones / np.linalg.norm(ones) * np.sin(np.radians(angle))
    turned += reference / np.linalg.norm(reference) * np.cos(np.radians(angle))
    return location + turned * z / np.linalg.norm(turned)


@pytest.mark.parametrize(("z", "pi", "lamb", "angle"), [(1, 1, 0.9, 270), (2, 0, 0.5, 90), (0.5, 0.3, 1, 180)])
def test_rop_is_the_authors_program(z, pi, lamb, angle):
    honest, previous = honest_updates(), honest_updates(h=1, seed=9)[0]
    oracle = rop_by_the_authors_program(honest, previous, z=z, pi=pi, lamb=lamb, angle=angle)
    attack = ROP(z=z, relocation=pi, blend=lamb, angle=angle)
    for sent in attack.craft(view(honest, previous=previous, round=2)):
        np.testing.assert_allclose(sent, oracle, rtol=1e-6, atol=1e-6)


def test_rop_passes_centered_clipping_whole_and_to_the_side():
    honest, previous = honest_updates(), honest_updates(h=1, seed=9)[0]
    (sent,) = ROP(z=1.0, blend=1.0).craft(view(honest, f=1, previous=previous, round=2)).astype(np.float64)
    moved = sent - previous
    assert np.linalg.norm(moved) == pytest.approx(1.0, abs=1e-5)
    assert moved @ previous / np.linalg.norm(previous) == pytest.approx(0.0, abs=1e-5)


def test_rop_starts_from_the_mean_when_there_is_no_past():
    honest = honest_updates()
    (sent,) = ROP(z=0.5).craft(view(honest, f=1))
    assert np.linalg.norm(sent - honest.mean(axis=0)) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("attack", [FangKrum(), FangTrimmedMean(), ROP()])
def test_too_little_knowledge_is_refused(attack):
    with pytest.raises(AttackError, match=attack.name):
        attack.craft(view(None))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FangKrum, {"epsilon": 0.0}),
        (FangKrum, {"threshold": 0.0}),
        (FangTrimmedMean, {"b": 1.0}),
        (FangTrimmedMean, {"b": np.nan}),
        (ROP, {"z": -1.0}),
        (ROP, {"relocation": 1.1}),
        (ROP, {"blend": -0.1}),
        (ROP, {"angle": np.inf}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(kind, wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        kind(**wrong)
