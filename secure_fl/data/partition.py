"""How images are dealt to sites. Four ways, all seeded, all NumPy, all from labels alone.

Every way deals each image to exactly one site. `min_size` is a promise: where a drawing breaks it the
drawing is repeated, and where no drawing can keep it the partition is refused with the reason.

Two generators are used: one draws the shares, exactly as flwr-datasets does with the same seed (the
tests compare), the other shuffles which images make up a share, so that the order of files, which often
follows the camera or the patient, does not decide who holds what.

NumPy may change a generator's stream in a new version; the partition's fingerprint in the run record
tells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secure_fl.config import RunConfig
from secure_fl.data.source import Labels
from secure_fl.errors import DataError

__all__ = ["dirichlet", "iid", "partition_labels", "quantity", "shards"]

Counts = npt.NDArray[np.int64]
_MAX_DRAWINGS = 1000
_DEALING = 1  # the second generator is seeded with (seed, 1)


def partition_labels(labels: Labels, *, config: RunConfig) -> list[Labels]:
    """Deal N images to sites by `config.partition` and `config.seed`.

    Args:
        labels: (N,) int64.

    Returns:
        One sorted index array a site: disjoint, together 0..N-1, none shorter than `config.min_size`.

    Raises:
        DataError: the partition cannot be made, or not within 1000 drawings; the message says why.
    """
    sites, min_size = config.sites, config.min_size
    if len(labels) < sites * min_size:
        raise DataError(
            f"{len(labels):,} images are too few for {sites} sites",
            why=f"min-size promises each at least {min_size}, together {sites * min_size:,}",
            fix="fewer sites, a smaller min-size, or more images (samples=0 uses all)",
        )
    match config.partition:
        case "iid":
            parts = iid(len(labels), sites, seed=config.seed)
        case "dirichlet":
            parts = dirichlet(labels, sites, alpha=config.alpha, min_size=min_size, seed=config.seed)
        case "shards":
            parts = shards(labels, sites, classes_per_site=config.classes_per_site, seed=config.seed)
        case "quantity":
            parts = quantity(len(labels), sites, alpha=config.alpha, min_size=min_size, seed=config.seed)
        case other:
            raise DataError(f"no partition `{other}`", fix="choose iid, dirichlet, shards or quantity")
    smallest = min(len(part) for part in parts)
    if smallest < min_size:  # only shards can come here: the others keep the promise themselves
        raise DataError(
            f"one of {sites} sites would hold {smallest} images, and min-size promises {min_size}",
            fix="more classes a site, fewer sites or a smaller min-size",
        )
    return parts


def iid(count: int, sites: int, *, seed: int) -> list[Labels]:
    """Shuffle and cut into equal parts; sizes differ by one at most (McMahan et al. 2017, section 3)."""
    order = _dealer(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, sites)]


def dirichlet(labels: Labels, sites: int, *, alpha: float, min_size: int, seed: int) -> list[Labels]:
    """Share out each class by its own draw from Dirichlet(alpha, …, alpha) over the sites.

    Yurochkin et al. 2019 (arXiv 1905.12022), NIID-Bench's "label skew" (Li et al. 2022, arXiv 2102.02079).
    Site sizes follow from the shares. Hsu, Qi and Brown 2019 (arXiv 1909.06335), to whom the idea is often
    credited, draw each *site's* mix of classes instead and give all sites one size. The whole drawing is
    repeated until every site has `min_size` images.
    """
    classes, class_sizes = np.unique(labels, return_counts=True)
    counts = _drawn_counts(class_sizes, sites, alpha=alpha, min_size=min_size, seed=seed)
    return _dealt(_members(labels, classes, seed), counts)


def quantity(count: int, sites: int, *, alpha: float, min_size: int, seed: int) -> list[Labels]:
    """Sizes by one draw from Dirichlet(alpha, …, alpha), images at random.

    NIID-Bench's "quantity skew" (Li et al. 2022, arXiv 2102.02079, section IV-C): unequal amounts of alike data.
    """
    counts = _drawn_counts(np.array([count]), sites, alpha=alpha, min_size=min_size, seed=seed)
    return _dealt([_dealer(seed).permutation(count)], counts)


def shards(labels: Labels, sites: int, *, classes_per_site: int, seed: int) -> list[Labels]:
    """Cut the classes into sites x classes_per_site shards and give each site that many, of as many classes.

    McMahan et al. 2017 (arXiv 1602.05629, section 3) sort by label and cut equal shards; one that straddles
    two labels then gives a site more classes than meant. Here cuts fall on class boundaries, so that
    `classes_per_site` is exact; larger classes are cut into more shards, so that shards are about equal.
    With equal classes whose number divides sites x classes_per_site it is McMahan's partition.

    Raises:
        DataError: too few classes, too few shards to hold every class, or a class with too few images.
    """
    classes, class_sizes = np.unique(labels, return_counts=True)
    if classes_per_site > len(classes):
        raise DataError(f"no site can hold {classes_per_site} classes: there are {len(classes)}")
    if sites * classes_per_site < len(classes):
        raise DataError(
            f"{sites} sites with {classes_per_site} classes each leave some of the {len(classes)} classes to nobody",
            fix=f"give classes-per-site at least {-(-len(classes) // sites)}, or more sites",
        )
    rng = np.random.default_rng(seed)
    holders = _holders(class_sizes, sites, sites * classes_per_site, rng)
    if (holders > class_sizes).any():
        scarce = int(np.argmax(holders > class_sizes))
        raise DataError(f"class {classes[scarce]} has {class_sizes[scarce]} images for {holders[scarce]} sites")
    held = _assigned(holders, sites, classes_per_site, rng)
    counts = np.zeros((len(classes), sites), dtype=np.int64)
    for position, size in enumerate(class_sizes):
        owners = np.flatnonzero(held[:, position])
        counts[position, owners] = [len(part) for part in np.array_split(np.arange(size), len(owners))]
    return _dealt(_members(labels, classes, seed), counts)


def _drawn_counts(class_sizes: Counts, sites: int, *, alpha: float, min_size: int, seed: int) -> Counts:
    """(C, sites): how many images of each class go to each site; rows sum to `class_sizes` (C,)."""
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_DRAWINGS):
        shares = rng.dirichlet(np.full(sites, alpha), size=len(class_sizes))
        cuts = (np.cumsum(shares, axis=1) * class_sizes[:, None]).astype(np.int64)
        cuts[:, -1] = class_sizes  # what rounding would lose
        counts = np.diff(cuts, axis=1, prepend=0)
        if counts.sum(axis=0).min() >= min_size:
            return counts
    raise DataError(
        f"alpha {alpha:g} is too small for {sites} sites",
        why=f"each of {_MAX_DRAWINGS:,} drawings left a site with fewer than {min_size} images (min-size)",
        fix="a larger alpha, fewer sites, a smaller min-size, or more images",
    )


def _holders(class_sizes: Counts, sites: int, total: int, rng: np.random.Generator) -> Counts:
    """(C,): into how many shards each class is cut, `total` together, at most one a site.

    Cuts the class with the largest shards once more until there are enough; equal ones in random order.
    """
    holders = np.ones(len(class_sizes), dtype=np.int64)
    tie_break = rng.permutation(len(class_sizes))
    while holders.sum() < total:
        shard_size = np.where(holders < sites, class_sizes / holders, -1.0)
        holders[np.lexsort((tie_break, -shard_size))[0]] += 1
    return holders


def _assigned(holders: Counts, sites: int, classes_per_site: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(sites, C): who holds which class, classes_per_site in each row and `holders` in each column.

    Each site in turn takes the classes with the most shards left (ties at random). That never gets stuck:
    a class with as many shards left as there are sites left is always among the first (Gale 1957, Ryser 1957).
    """
    held = np.zeros((sites, len(holders)), dtype=bool)
    left = holders.copy()
    for site in rng.permutation(sites):
        taken = np.lexsort((rng.permutation(len(left)), -left))[:classes_per_site]
        held[site, taken] = True
        left[taken] -= 1
    return held


def _members(labels: Labels, classes: Labels, seed: int) -> list[Labels]:
    """The shuffled indices of each class."""
    rng = _dealer(seed)
    return [rng.permutation(np.flatnonzero(labels == each)) for each in classes]


def _dealt(members: list[Labels], counts: Counts) -> list[Labels]:
    """One sorted index array a site; members: C index arrays; counts: (C, sites)."""
    piles = [np.split(indices, np.cumsum(row)[:-1]) for indices, row in zip(members, counts, strict=True)]
    return [np.sort(np.concatenate(pile)) for pile in zip(*piles, strict=True)]


def _dealer(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, _DEALING])
