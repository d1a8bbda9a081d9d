"""A site's index of its own training pictures: what the audit knows them by. It never leaves the site's machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.detect.encodings import Encodings
from audit.detect.fingerprints import ImageIndex
from secure_fl.data import Normalisation

__all__ = ["index_of"]

_BLOCK = 32
_MOST_BLOCKS = 4_000_000  # of one site: about 100 MB


def index_of(images: np.ndarray[Any, Any], normalisation: Normalisation, key: bytes) -> ImageIndex:
    """The index of (n, s, s, c) uint8 pictures. Of large sets fewer blocks are kept, so that only longer runs of a
    picture are surely found (`ImageIndex.sure_run`, bytes)."""
    encodings = Encodings(tuple(normalisation.mean), tuple(normalisation.std))
    encoded = sum(len(encodings.encode(images[0], name)) for name in encodings.names())
    spacing = _BLOCK * max(1, -(-len(images) * encoded // (_BLOCK * _MOST_BLOCKS)))
    return ImageIndex(images, key, encodings=encodings, spacing=spacing)
