"""Rules that look at signs only: what large values hide, their directions may show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.base import Guarantee, Mask
from defenses.coordinates import mixed_chunks
from defenses.gram import ORIGIN
from defenses.parameters import at_least, whole
from defenses.scene import Decision, Formed, Rule, Scene, Weighted

__all__ = ["RLR", "SignGuard", "largest_cluster", "sign_shares"]


@dataclass(frozen=True)
class RLR(Rule):
    """The mean, but against its own direction in each coordinate where too few clients agree on the sign.

    `threshold`: how far the signs must lean, |Σ sign| ≥ threshold; 0 means f + 1, the least value of the paper.
    """

    threshold: float = 0

    name = "rlr"
    guarantee = Guarantee(
        paper="Özdayi et al. 2021, Defending against Backdoors with Robust Learning Rate, Section 4",
        tolerates="backdoors of f < n/2 clients in coordinates where the honest do not agree",
        breaks="under skewed data, where honest signs differ and honest steps are reversed; norms are not bounded",
        costs="one read of the data",
    )

    def __post_init__(self) -> None:
        whole(0, self.name, threshold=self.threshold)

    def least_rows(self, f: int) -> int:
        """2f + 1, and enough to reach the threshold."""
        return max(2 * f + 1, int(self.threshold))

    def decide(self, scene: Scene) -> Decision:
        """The step itself."""
        threshold = int(self.threshold) or scene.f + 1
        step = np.empty(scene.rows[0].size, np.float32)
        weights = np.full(scene.n, 1.0 / scene.n)
        for start, stop, values in mixed_chunks(scene.rows, scene.row_mixing):
            mean = weights @ values.astype(np.float64)
            agree = np.abs(np.sign(values).sum(axis=0)) >= threshold
            step[start:stop] = np.where(agree, mean, -mean)
        return Formed(step)


@dataclass(frozen=True)
class SignGuard(Rule):
    """Keep updates of ordinary length and ordinary shares of signs; shorten them to the median norm and average.

    `shortest`, `longest`: the bounds of the length in units of the median norm (L and R of the paper). Signs are
    counted over all coordinates, not over a random tenth, so nothing is drawn.
    """

    shortest: float = 0.1
    longest: float = 3.0

    name = "signguard"
    geometric = True
    measures_distances = False
    guarantee = Guarantee(
        paper="Xu et al. 2022, Byzantine-robust Federated Learning through Collaborative Malicious Gradient Filtering, "
        "Algorithm 2 (plain SignGuard)",
        tolerates="f < n/2 whose share of positive signs differs from the honest ones'; lengths count for little",
        breaks="by attackers with honest shares of signs: permuted or slightly shifted coordinates",
        costs="one read for the norms, one for the signs, one for the mean",
    )

    def __post_init__(self) -> None:
        at_least(0.0, self.name, shortest=self.shortest)
        at_least(1.0, self.name, longest=self.longest)

    def least_rows(self, f: int) -> int:
        """2f + 1."""
        return 2 * f + 1

    def decide(self, scene: Scene) -> Decision:
        """The clipped mean of those that pass both filters; of those of ordinary length if no one does."""
        norms = np.sqrt(scene.gram.distances2_to(ORIGIN))
        bound = float(np.median(norms))
        ordinary = (norms >= self.shortest * bound) & (norms <= self.longest * bound)
        both = ordinary & largest_cluster(sign_shares(scene))
        kept = both if both.any() else ordinary
        weights = np.where(kept, np.minimum(1.0, bound / np.maximum(norms, bound or 1.0)), 0.0)
        return Weighted(weights / max(kept.sum(), 1), kept=kept)


def sign_shares(scene: Scene) -> NDArray[np.float64]:
    """(m, 3): of each vector the shares of coordinates above, at and below zero."""
    counts = np.zeros((scene.n, 3))
    for _, _, values in mixed_chunks(scene.rows, scene.row_mixing):
        above, below = (values > 0).sum(axis=1), (values < 0).sum(axis=1)
        counts += np.stack([above, values.shape[1] - above - below, below], axis=1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def largest_cluster(features: NDArray[np.float64]) -> Mask:
    """(n,): the largest cluster by mean shift with a flat window (Comaniciu and Meer 2002) over (n, k) features.

    The window reaches, on average over the points, to the nearest half of all points, as scikit-learn estimates it;
    of modes with as many points the one with the greater features goes first, as there. The order of the points
    does not matter, to the bit: they are sorted first.
    """
    order = np.lexsort(features.T[::-1])
    largest = np.zeros(len(features), bool)
    largest[order] = _largest_of_sorted(features[order])
    return largest


def _largest_of_sorted(features: NDArray[np.float64]) -> Mask:
    n = len(features)
    apart = np.linalg.norm(features[:, None] - features[None, :], axis=2)
    width = max(float(np.sort(apart, axis=1)[:, max(n // 2, 1) - 1].mean()), 1e-12)
    modes = np.array([_mode(features, start, width) for start in features])
    weight = (np.linalg.norm(features[None, :] - modes[:, None], axis=2) <= width).sum(axis=1)
    centres: list[NDArray[np.float64]] = []
    for index in np.lexsort([*modes.T[::-1], weight])[::-1]:
        if all(np.linalg.norm(modes[index] - centre) > width for centre in centres):
            centres.append(modes[index])
    label = np.argmin(np.linalg.norm(features[:, None] - np.array(centres)[None, :], axis=2), axis=1)
    return np.asarray(label == np.bincount(label).argmax())


def _mode(features: NDArray[np.float64], start: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    centre = start
    for _ in range(300):
        within = np.linalg.norm(features - centre, axis=1) <= width
        moved = features[within].mean(axis=0)
        if np.linalg.norm(moved - centre) <= 1e-3 * width:
            break
        centre = moved
    return centre
