"""Images, from a name or a path to what each site trains on.

    config ──► registry ──► ImageSource ──► partition ──► site's indices ──► gate ──► ImageSet
               (by kind)    (labels now,    (labels only)                   (decode,
                             pixels later)                                   resize)

Kinds: `digits`, `cifar`, `idx`, `npz`, and image files (`files` = `tree` of names + `stores` of bytes).
Every byte that comes from a file of somebody's passes the gate in `images`. No pickle is ever read.
"""

from secure_fl.data.fingerprint import fingerprint_partition
from secure_fl.data.partition import partition_labels
from secure_fl.data.registry import DATASETS, IMAGENET, open_dataset, resolved_image_size
from secure_fl.data.sites import SiteData, describe_data, load_root, load_site, load_test, site_sizes
from secure_fl.data.source import BadImage, DatasetPair, ImageSet, ImageSource, Normalisation

__all__ = [
    "DATASETS",
    "IMAGENET",
    "BadImage",
    "DatasetPair",
    "ImageSet",
    "ImageSource",
    "Normalisation",
    "SiteData",
    "describe_data",
    "fingerprint_partition",
    "load_root",
    "load_site",
    "load_test",
    "open_dataset",
    "partition_labels",
    "resolved_image_size",
    "site_sizes",
]
