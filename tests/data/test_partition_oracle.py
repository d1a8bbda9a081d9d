"""Our partitions beside those of flwr-datasets, Flower's own library, which we do not ship (see docs/dependencies.md).

Where the algorithm is the same, the numbers must be: the same seed draws the same shares. Which images
make up a share differs on purpose (ours are shuffled), so counts are compared, not indices.
"""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from flwr_datasets.partitioner import (
    DirichletPartitioner,
    IidPartitioner,
    Partitioner,
    PathologicalPartitioner,
    ShardPartitioner,
)

from secure_fl.data.partition import dirichlet, iid, shards

pytestmark = [
    pytest.mark.filterwarnings("ignore:The specified min_partition_size"),
    pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning"),
]

LABELS = {
    "balanced": np.repeat(np.arange(10), 200),
    "unequal": np.repeat(np.arange(7), [300, 20, 150, 90, 411, 33, 60]),
    "gaps": np.repeat([2, 5, 9], 333),
}


def theirs(partitioner: Partitioner, labels: np.ndarray) -> np.ndarray:
    """(sites, classes) counts of their partition."""
    partitioner.dataset = Dataset.from_dict({"label": labels.tolist()})
    parts = [np.array(partitioner.load_partition(site)["label"]) for site in range(partitioner.num_partitions)]
    return np.stack([np.bincount(part, minlength=10) for part in parts])


def ours(parts: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(labels[part], minlength=10) for part in parts])


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 100.0])
@pytest.mark.parametrize("seed", [0, 1, 42])
def test_dirichlet_deals_the_very_same_counts(name: str, alpha: float, seed: int) -> None:
    labels = LABELS[name]
    peer = DirichletPartitioner(5, "label", alpha, min_partition_size=1, self_balancing=False, seed=seed)
    assert np.array_equal(ours(dirichlet(labels, 5, alpha=alpha, min_size=1, seed=seed), labels), theirs(peer, labels))


def test_dirichlet_repeats_the_drawing_in_the_same_way() -> None:
    labels = LABELS["balanced"]
    peer = DirichletPartitioner(5, "label", 0.1, min_partition_size=150, self_balancing=False, seed=1)
    mine = ours(dirichlet(labels, 5, alpha=0.1, min_size=150, seed=1), labels)
    once = ours(dirichlet(labels, 5, alpha=0.1, min_size=1, seed=1), labels)
    assert once.sum(axis=1).min() < 150 <= mine.sum(axis=1).min()
    assert np.array_equal(mine, theirs(peer, labels))


@pytest.mark.parametrize("sites", [1, 3, 7])
def test_iid_sizes_are_the_same(sites: int) -> None:
    labels = LABELS["balanced"]
    mine = [len(part) for part in iid(len(labels), sites, seed=0)]
    assert mine == theirs(IidPartitioner(sites), labels).sum(axis=1).tolist()


@pytest.mark.parametrize(("sites", "classes_per_site"), [(5, 2), (10, 2), (10, 1), (20, 4)])
def test_shards_are_those_of_mcmahan_where_classes_are_equal(sites: int, classes_per_site: int) -> None:
    labels = LABELS["balanced"]
    mine = ours(shards(labels, sites, classes_per_site=classes_per_site, seed=0), labels)
    peer = theirs(ShardPartitioner(sites, "label", num_shards_per_partition=classes_per_site, seed=0), labels)
    assert np.array_equal(mine.sum(axis=1), peer.sum(axis=1))  # equal sites
    assert np.array_equal(mine.sum(axis=0), peer.sum(axis=0))  # every image dealt
    shard = len(labels) // (sites * classes_per_site)
    assert set(np.unique(mine)) <= {0, shard}
    assert (peer % shard == 0).all()  # their sites may draw two shards of one class; ours never do
    assert ((mine > 0).sum(axis=1) >= (peer > 0).sum(axis=1)).all()


@pytest.mark.parametrize("classes_per_site", [1, 2, 3])
def test_shards_hold_as_many_classes_as_the_pathological_partition(classes_per_site: int) -> None:
    labels = LABELS["balanced"]
    mine = ours(shards(labels, 10, classes_per_site=classes_per_site, seed=0), labels)
    peer = theirs(PathologicalPartitioner(10, "label", classes_per_site, "deterministic"), labels)
    assert np.array_equal((mine > 0).sum(axis=1), (peer > 0).sum(axis=1))
    # Each shard may be rounded up or down.
    assert np.abs(mine.sum(axis=1) - peer.sum(axis=1)).max() <= classes_per_site
