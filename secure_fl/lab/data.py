"""What a simulated federation trains on: all images as bytes in memory, and who holds which.

The partition is the one that a real run with the same settings and seed makes (`secure_fl.data.partition_labels`), so
a scenario can move between the lab and the deployment grid. Images stay uint8 until their batch is needed; random
crops are windows into one padded array, so augmenting a batch copies it once and draws nothing for each image apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from secure_fl.config import RunConfig
from secure_fl.data import fingerprint_partition, open_dataset, partition_labels, resolved_image_size
from secure_fl.data.sampling import complement, stratified_pick
from secure_fl.data.source import ImageSource, Labels, Normalisation, Pixels
from secure_fl.lab.networks import Network
from secure_fl.lab.scenario import Scenario
from secure_fl.training.batches import augmented
from secure_fl.training.seeds import derive_seed

__all__ = ["Federation", "Shard", "augment_batch", "data_config", "load_federation", "to_input"]

_PAD_PX = 4


@dataclass(frozen=True, eq=False)
class Shard:
    """Images of one owner. images: (N, s, s, c) uint8; labels: (N,) int64."""

    images: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Labels) -> Shard:
        """The images at `indices` (m,), copied."""
        return Shard(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Federation:
    """Who holds what. clients: one shard each; root: the coordinator's own; test: nobody's.

    mean, std: of the pixels in 0..1, by channel; fingerprint: of the partition.
    """

    clients: tuple[Shard, ...]
    root: Shard
    test: Shard
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str


def data_config(scenario: Scenario) -> RunConfig:
    """The scenario's data settings as those of a run, for the functions of `secure_fl.data`."""
    return RunConfig(
        dataset=scenario.dataset,
        data_dir=scenario.data_dir,
        samples=scenario.samples,
        test_samples=scenario.test_samples,
        image_size=scenario.image_size,
        partition=scenario.partition,
        alpha=scenario.alpha,
        classes_per_site=scenario.classes_per_site,
        min_size=scenario.min_size,
        sites=scenario.clients,
        seed=scenario.seed,
    )


def load_federation(scenario: Scenario, network: Network) -> Federation:
    """Decode the data set once and deal it out.

    Raises:
        DataError: as `open_dataset` and `partition_labels`.
    """
    config = data_config(scenario)
    pair = open_dataset(config)
    side = network.image_size_px or resolved_image_size(config, pair)
    train, test = (_decoded(half, side, network.channels) for half in (pair.train, pair.test))
    stream = np.random.default_rng(derive_seed(scenario.seed, "data"))
    root = stratified_pick(train.labels, scenario.root_samples, stream)
    dealt = complement(len(train), root)
    parts = [dealt[part] for part in partition_labels(train.labels[dealt], config=config)]
    kept = [_training_part(part, scenario, client) for client, part in enumerate(parts)]
    mean, std = _normalisation(scenario, pair.train.normalisation, network.channels)
    return Federation(
        clients=tuple(train.pick(part) for part in kept),
        root=train.pick(root),
        test=test,
        classes=len(pair.train.classes),
        mean=mean,
        std=std,
        fingerprint=fingerprint_partition(kept),
    )


def augment_batch(images: Pixels, how: str, generator: torch.Generator) -> Pixels:
    """Random changes of a batch (B, s, s, c), drawn anew for each image; `how` as in `Scenario.augment`."""
    if how != "flip-pad":
        return augmented(images, how, generator)
    count, side = images.shape[:2]
    padded = np.zeros((count, side + 2 * _PAD_PX, side + 2 * _PAD_PX, images.shape[3]), dtype=np.uint8)
    padded[:, _PAD_PX:-_PAD_PX, _PAD_PX:-_PAD_PX] = images
    windows = sliding_window_view(padded, (side, side), axis=(1, 2))  # (B, 9, 9, c, s, s), no copy
    down, right = torch.randint(0, 2 * _PAD_PX + 1, (2, count), generator=generator).numpy()
    cropped: Pixels = np.moveaxis(windows[np.arange(count), down, right], 1, -1)
    mirrored = torch.rand(count, generator=generator).numpy() < 0.5
    cropped[mirrored] = cropped[mirrored, :, ::-1]
    return cropped


def to_input(images: Pixels, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, s, s, c) uint8 to (B, c, s, s) float32, scaled to 0..1 and normalised; channels-last where c > 1."""
    values = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32)
    if len(mean) == 1:  # one channel: both layouts are the same bytes
        values = values.view(len(images), 1, *images.shape[1:3])
        return values.mul_(1 / (255 * std[0])).sub_(mean[0] / std[0])
    scale = torch.tensor([1 / (255 * each) for each in std])
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)])
    return values.mul_(scale).sub_(shift).permute(0, 3, 1, 2)


def _decoded(source: ImageSource, side_px: int, channels: int) -> Shard:
    loaded = source.load(np.arange(len(source)), side_px, skip_bad_images=False)
    return Shard(np.ascontiguousarray(loaded.images[..., :channels]), loaded.labels)


def _training_part(part: Labels, scenario: Scenario, client: int) -> Labels:
    """A client's indices without those that it sets aside; at least one image is left."""
    aside = min(round(scenario.val_fraction * len(part)), len(part) - 1)
    order = np.random.default_rng(derive_seed(scenario.seed, "data", "validation", client)).permutation(len(part))
    return np.sort(part[order[aside:]])


def _normalisation(
    scenario: Scenario, own: Normalisation, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if scenario.pixel_std > 0:
        return (scenario.pixel_mean,) * channels, (scenario.pixel_std,) * channels
    return own.mean[:channels], own.std[:channels]
