"""What each party of a run gets to see: a site its own images, the coordinator the test set.

Every party derives the same partition from the same config, so nobody has to be told which images are
whose; a site decodes only its own. The fingerprint that a site reports is over the stored bytes of its
images, the same that `describe_data` writes into the run record: they can be compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from secure_fl.config import RunConfig
from secure_fl.data.fingerprint import fingerprint_partition
from secure_fl.data.partition import partition_labels
from secure_fl.data.registry import open_dataset, resolved_image_size
from secure_fl.data.sampling import SPLIT_SEED, complement, stratified_pick
from secure_fl.data.source import DatasetPair, ImageSet, ImageSource, Labels, Normalisation, fingerprint_stored
from secure_fl.errors import DataError

__all__ = ["SiteData", "describe_data", "load_root", "load_site", "load_test", "site_sizes"]

_VALIDATION = 3  # purpose of the generator that sets validation images apart
_ROOT = 4  # and of the one that sets the coordinator's root images apart


@dataclass(frozen=True, eq=False)
class SiteData:
    """A site's own images. `fingerprint` is over their stored bytes, training and validation together."""

    train: ImageSet
    validation: ImageSet
    normalisation: Normalisation
    fingerprint: str


def load_site(config: RunConfig, site: int) -> SiteData:
    """Decode the images of one site, 0 <= site < config.sites, and of no other.

    Raises:
        DataError: as `open_dataset`, `partition_labels` and `ImageSource.load`; or every image was bad.
    """
    if not 0 <= site < config.sites:
        raise DataError(f"there is no site {site}", why=f"sites are numbered 0 to {config.sites - 1}")
    pair = open_dataset(config)
    size_px = resolved_image_size(config, pair)
    own = partition_labels(pair.train.labels, config=config)[site]
    train, validation = _split(pair.train.labels, own, site, config)
    trained = pair.train.load(train, size_px, skip_bad_images=config.skip_bad_images)
    if not len(trained):
        raise DataError(f"site {site} has no usable training image", why=f"all {len(trained.skipped)} were bad")
    return SiteData(
        train=trained,
        validation=pair.train.load(validation, size_px, skip_bad_images=config.skip_bad_images),
        normalisation=pair.train.normalisation,
        fingerprint=pair.train.subset(own).fingerprint(),
    )


def load_test(config: RunConfig) -> tuple[ImageSet, Normalisation]:
    """Decode the test images, which no site has; the coordinator's root images are not among them.

    Raises:
        DataError: as `open_dataset` and `ImageSource.load`; or every image was bad, or is a root image.
    """
    pair = open_dataset(config)
    left = complement(len(pair.test), _root(config, pair))
    images = _test_images(config, pair, left)
    if not len(images):
        raise DataError(f"{pair.name} has no usable test image", why=f"all {len(images.skipped)} were bad")
    return images, pair.test.normalisation


def load_root(config: RunConfig) -> ImageSet:
    """Decode the `root_samples` test images that the coordinator trains on instead of testing.

    Raises:
        DataError: as `load_test`; or there are not more test images than that.
    """
    pair = open_dataset(config)
    return _test_images(config, pair, _root(config, pair))


def _root(config: RunConfig, pair: DatasetPair) -> Labels:
    """Positions of the root images; the same for every seed of a run, like the test split itself."""
    if config.root_samples and config.root_samples >= len(pair.test):
        raise DataError(
            f"`root-samples` is {config.root_samples}",
            why=f"{pair.name} has {len(pair.test)} test images, and some must be left to test on",
        )
    return stratified_pick(pair.test.labels, config.root_samples, np.random.default_rng([SPLIT_SEED, _ROOT]))


def _test_images(config: RunConfig, pair: DatasetPair, chosen: Labels) -> ImageSet:
    size_px = resolved_image_size(config, pair)
    return pair.test.load(chosen, size_px, skip_bad_images=config.skip_bad_images)


def site_sizes(config: RunConfig) -> list[int]:
    """Training images of each site, without its validation images.

    From labels alone: with `skip_bad_images` a site may turn out to have fewer, never more.
    """
    labels = open_dataset(config).train.labels
    parts = partition_labels(labels, config=config)
    return [len(_split(labels, own, site, config)[0]) for site, own in enumerate(parts)]


def describe_data(config: RunConfig) -> dict[str, Any]:
    """Everything that a run record says about its data, ready for JSON; nothing is decoded.

    Counts are by class in the order of `classes`, training and validation images together.
    """
    pair = open_dataset(config)
    labels, classes = pair.train.labels, pair.train.classes
    parts = partition_labels(labels, config=config)
    digests = pair.train.digests(np.arange(len(labels)))
    return {
        "dataset": {
            "name": pair.name,
            "classes": list(classes),
            "image_size_px": resolved_image_size(config, pair),
            "native_size_px": pair.train.native_size_px,
            "normalisation": asdict(pair.train.normalisation),
            "train": _described(pair.train, fingerprint_stored(classes, labels, digests)),
            "test": _described(pair.test, pair.test.fingerprint()),
        },
        "partition": {
            "kind": config.partition,
            "seed": config.seed,
            "fingerprint": fingerprint_partition(parts),
        },
        "sites": [
            {
                "site": site,
                "images": len(own),
                "train_images": len(_split(labels, own, site, config)[0]),
                "counts": _counts(labels[own], classes),
                "fingerprint": fingerprint_stored(classes, labels[own], [digests[index] for index in own]),
            }
            for site, own in enumerate(parts)
        ],
    }


def _described(source: ImageSource, fingerprint: str) -> dict[str, Any]:
    return {
        "images": len(source),
        "counts": _counts(source.labels, source.classes),
        "left_out": len(source.left_out),
        "fingerprint": fingerprint,
    }


def _counts(labels: Labels, classes: tuple[str, ...]) -> list[int]:
    return [int(count) for count in np.bincount(labels, minlength=len(classes))]


def _split(labels: Labels, own: Labels, site: int, config: RunConfig) -> tuple[Labels, Labels]:
    """A site's indices as (training, validation): `val_fraction` of them, by class, at least one if there
    are two and the fraction is not 0, and never all."""
    wanted = 0
    if config.val_fraction > 0 and len(own) >= 2:
        wanted = min(max(round(config.val_fraction * len(own)), 1), len(own) - 1)
    rng = np.random.default_rng([config.seed, _VALIDATION, site])
    validation = stratified_pick(labels[own], wanted, rng)
    return own[complement(len(own), validation)], own[validation]
