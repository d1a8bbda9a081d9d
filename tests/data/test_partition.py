from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secure_fl.config import RunConfig
from secure_fl.data.partition import dirichlet, iid, partition_labels, quantity, shards
from secure_fl.errors import DataError

KINDS = ("iid", "dirichlet", "shards", "quantity")


def balanced(classes: int = 10, each: int = 100) -> np.ndarray:
    return np.repeat(np.arange(classes), each).astype(np.int64)


def deal(labels: np.ndarray, **settings: Any) -> list[np.ndarray]:
    return partition_labels(labels, config=RunConfig(**settings))


def refusal(labels: np.ndarray, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        deal(labels, **settings)
    return f"{caught.value} {caught.value.fix}"


def classes_held(labels: np.ndarray, parts: list[np.ndarray]) -> list[int]:
    return [len(np.unique(labels[part])) for part in parts]


# --- what holds for every way of dealing

unequal = st.lists(st.integers(0, 5), min_size=60, max_size=300).map(lambda each: np.array(each, dtype=np.int64))


@given(
    labels=unequal,
    kind=st.sampled_from(KINDS),
    sites=st.integers(1, 6),
    alpha=st.sampled_from([0.01, 0.1, 0.5, 5.0, 1e6]),
    min_size=st.integers(1, 5),
    classes_per_site=st.integers(1, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_image_goes_to_one_site_and_none_gets_too_few(
    labels: np.ndarray, kind: str, sites: int, alpha: float, min_size: int, classes_per_site: int, seed: int
) -> None:
    settings = {"partition": kind, "sites": sites, "alpha": alpha, "min_size": min_size, "seed": seed}
    try:
        parts = deal(labels, **settings, classes_per_site=classes_per_site)
    except DataError:
        # Only what cannot be had may be refused. With alpha 0.5 the hardest is 60 images of one kind for 6 sites of 5:
        # of 1000 drawings each keeps the promise with a chance of 0.8 %, so one partition in 2700 is refused. With 5
        # sites it is 3.7 %, and one in 10^16; with a larger alpha there is no such partition.
        assert kind == "shards" or (kind != "iid" and (alpha < 0.5 or (alpha, sites, min_size) == (0.5, 6, 5)))
        return
    assert len(parts) == sites
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert min(len(part) for part in parts) >= min_size
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str) -> None:
    first, again, other = (deal(balanced(), partition=kind, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_files_does_not_decide_who_holds_what(kind: str) -> None:
    # Ten images in a row come from one patient; no site may get such runs.
    parts = deal(balanced(2, 1000), partition=kind, sites=2, alpha=100.0)
    for part in parts:
        neighbours = np.mean(np.diff(part) == 1)
        assert neighbours < 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_one_site_gets_everything(kind: str) -> None:
    (part,) = deal(balanced(), partition=kind, sites=1, classes_per_site=10)
    assert np.array_equal(part, np.arange(1000))


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_images_than_promised_are_refused(kind: str) -> None:
    message = refusal(balanced(5, 9), partition=kind, sites=5, min_size=10)
    assert "45 images are too few for 5 sites" in message and "50" in message and "min-size" in message


# --- iid


@given(count=st.integers(1, 500), sites=st.integers(1, 20), seed=st.integers(0, 99))
def test_iid_sizes_differ_by_one_at_most(count: int, sites: int, seed: int) -> None:
    sizes = [len(part) for part in iid(count, sites, seed=seed)]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == count


def test_iid_sites_see_the_same_mix() -> None:
    labels = balanced(10, 1000)
    for part in deal(labels, partition="iid"):
        # Hypergeometric with mean 200 and standard deviation 12; five of them is our limit.
        assert np.abs(np.bincount(labels[part]) - 200).max() < 60


# --- dirichlet


def test_a_large_alpha_deals_evenly_and_a_small_one_does_not() -> None:
    labels = balanced(10, 1000)
    even = dirichlet(labels, 5, alpha=1e6, min_size=1, seed=0)
    skewed = dirichlet(labels, 5, alpha=0.1, min_size=1, seed=0)
    assert all(np.abs(np.bincount(labels[part]) - 200).max() <= 3 for part in even)
    assert max(np.bincount(labels[part], minlength=10).max() / len(part) for part in skewed) > 0.4


def test_shares_have_the_moments_of_a_dirichlet_distribution() -> None:
    alpha, sites = 0.5, 5
    labels = balanced(10, 1000)
    shares = np.array([
        np.bincount(labels[part], minlength=10) / 1000
        for seed in range(300)
        for part in dirichlet(labels, sites, alpha=alpha, min_size=1, seed=seed)
    ])  # fmt: skip
    # Mean 1/n and variance (1/n)(1 - 1/n)/(n alpha + 1), each estimated from 15,000 numbers.
    assert shares.mean() == pytest.approx(1 / sites, abs=1e-9)
    assert shares.var() == pytest.approx(0.2 * 0.8 / (sites * alpha + 1), rel=0.05)


def test_a_class_that_nobody_has_is_no_trouble() -> None:
    labels = np.where(balanced() == 3, 4, balanced())
    assert sum(len(part) for part in dirichlet(labels, 5, alpha=0.5, min_size=1, seed=0)) == 1000


@pytest.mark.parametrize("kind", ["dirichlet", "quantity"])
def test_an_alpha_that_cannot_keep_the_promise_is_refused_with_the_reason(kind: str) -> None:
    message = refusal(balanced(2, 100), partition=kind, alpha=0.01, sites=20, min_size=9)
    assert "alpha 0.01 is too small for 20 sites" in message
    assert "fewer than 9 images" in message and "larger alpha" in message


# --- quantity


def test_quantity_skews_sizes_but_not_the_mix() -> None:
    labels = balanced(4, 5000)
    parts = quantity(len(labels), 5, alpha=0.5, min_size=10, seed=3)
    sizes = [len(part) for part in parts]
    assert max(sizes) > 4 * min(sizes)
    for part in parts:
        mix = np.bincount(labels[part], minlength=4) / len(part)
        assert np.abs(mix - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / len(part))


# --- shards


@given(
    classes=st.integers(2, 12),
    each=st.integers(20, 60),
    sites=st.integers(1, 12),
    classes_per_site=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_every_site_holds_exactly_so_many_classes(
    classes: int, each: int, sites: int, classes_per_site: int, seed: int
) -> None:
    assume(classes_per_site <= classes <= sites * classes_per_site)
    labels = balanced(classes, each)
    assert classes_held(labels, shards(labels, sites, classes_per_site=classes_per_site, seed=seed)) == (
        [classes_per_site] * sites
    )


def test_shards_are_about_equal_even_if_classes_are_not() -> None:
    labels = np.repeat([0, 1], [900, 100])
    sizes = sorted(len(part) for part in shards(labels, 10, classes_per_site=1, seed=0))
    assert sizes == [100] * 10  # nine sites share the large class, one holds the small one


def test_with_equal_classes_it_is_the_partition_of_mcmahan() -> None:
    labels = balanced(10, 600)
    parts = shards(labels, 100, classes_per_site=2, seed=0)
    assert [len(part) for part in parts] == [60] * 100
    assert all((np.bincount(labels[part], minlength=10)[np.unique(labels[part])] == 30).all() for part in parts)


def test_which_classes_a_site_holds_is_random() -> None:
    held = {tuple(np.unique(balanced()[shards(balanced(), 5, classes_per_site=2, seed=seed)[0]])) for seed in range(40)}
    assert len(held) > 15


def test_more_classes_a_site_than_there_are_is_refused() -> None:
    assert "no site can hold 3 classes: there are 2" in refusal(balanced(2), partition="shards", classes_per_site=3)


def test_classes_that_nobody_would_hold_are_refused() -> None:
    message = refusal(balanced(10), partition="shards", sites=3, classes_per_site=2)
    assert "3 sites with 2 classes each" in message and "at least 4" in message


def test_a_class_with_too_few_images_for_its_sites_is_refused() -> None:
    labels = np.repeat([0, 1], [3, 997])
    assert "class 0 has 3 images for 10 sites" in refusal(labels, partition="shards", sites=10, classes_per_site=2)


def test_a_shard_below_the_promise_is_refused() -> None:
    labels = np.repeat([0, 1, 2], [5, 500, 500])
    message = refusal(labels, partition="shards", sites=3, classes_per_site=1)
    assert "would hold 5 images" in message and "min-size promises 10" in message
