"""Drawing a part of a labelled set so that the part looks like the whole.

Systematic sampling from a shuffled list that is sorted by label (proportionate stratification; Cochran,
"Sampling Techniques", 1977, chapter 8): the number drawn is exact, and each class gets its share rounded
up or down. Test splits, validation splits and the `samples` setting all draw this way.
"""

from __future__ import annotations

import numpy as np

from secure_fl.data.source import Labels

__all__ = ["SPLIT_SEED", "TEST_SHARE", "complement", "stratified_pick"]

# Test splits never depend on the run's seed: runs with different seeds are tested on the same images.
SPLIT_SEED = 20_170_217
TEST_SHARE = 0.2


def stratified_pick(labels: Labels, count: int, rng: np.random.Generator) -> Labels:
    """Sorted positions of `count` of the N labels, 0 <= count <= N, each class with its share ± 1."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    every = (np.arange(count) * 2 + 1) * len(labels) // (2 * max(count, 1))
    return np.sort(order[every]).astype(np.int64)


def complement(count: int, picked: Labels) -> Labels:
    """Sorted positions of 0..count-1 that are not in `picked`."""
    left = np.ones(count, dtype=bool)
    left[picked] = False
    return np.flatnonzero(left).astype(np.int64)
