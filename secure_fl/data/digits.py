"""The 1,797 handwritten digits that come with scikit-learn: real images on every machine, no download.

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998; UCI
repository, CC BY 4.0): 8x8 pixels with 17 grey levels, from 13 people. The file is read in place, because
importing scikit-learn takes two seconds in each process; a test compares it with `load_digits`.

A stratified fifth (359 images) is the test set, the same in every run.
"""

from __future__ import annotations

import gzip
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from secure_fl.data.arrays import ArraySource
from secure_fl.data.sampling import SPLIT_SEED, TEST_SHARE, complement, stratified_pick
from secure_fl.data.source import DatasetPair, Labels, Normalisation
from secure_fl.errors import DataError

__all__ = ["open_digits"]

_FILE = Path("datasets", "data", "digits.csv.gz")
_DARKEST = 16
# Of the 1,438 training images at 16x16, grey in all three channels.
_NORMALISATION = Normalisation((0.3047,) * 3, (0.3185,) * 3)


def open_digits() -> DatasetPair:
    """The digits as a data set.

    Raises:
        DataError: scikit-learn is not installed, or keeps the file elsewhere.
    """
    rows = _rows()
    pixels = np.rint(rows[:, :-1] * (255 / _DARKEST)).astype(np.uint8).reshape(-1, 8, 8)
    labels = rows[:, -1].astype(np.int64)
    test = stratified_pick(labels, round(TEST_SHARE * len(labels)), np.random.default_rng(SPLIT_SEED))

    def source(chosen: Labels) -> ArraySource:
        return ArraySource(
            name="digits",
            classes=tuple("0123456789"),
            labels=labels[chosen],
            normalisation=_NORMALISATION,
            blocks=(pixels[chosen],),
        )

    return DatasetPair(name="digits", train=source(complement(len(labels), test)), test=source(test))


def _rows() -> np.ndarray:
    """(1797, 65): 64 grey levels 0..16 and the label."""
    found = find_spec("sklearn")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = [Path(folder) / _FILE for folder in folders]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise DataError("the digits data set is missing", why="it comes with scikit-learn", fix="install scikit-learn")
    with gzip.open(file, "rt", encoding="ascii") as stream:
        return np.loadtxt(io.StringIO(stream.read()), delimiter=",", dtype=np.uint8)
