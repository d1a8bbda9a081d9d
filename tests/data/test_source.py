from __future__ import annotations

import numpy as np
import pytest

from secure_fl.data.source import ImageSet, fingerprint_stored


def image_set(**changes: object) -> ImageSet:
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    return ImageSet(**{"images": images, "labels": np.array([0, 1]), "classes": ("a", "b"), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.ones((2, 4, 4, 3), dtype=np.uint8)},
        {"images": np.zeros((2, 8, 2, 3), dtype=np.uint8)},
        {"labels": np.array([1, 0])},
        {"classes": ("a", "c")},
        {"classes": ("a,b", "")},
    ],
)
def test_pixels_shape_labels_and_classes_count(changes: dict[str, object]) -> None:
    assert image_set(**changes).fingerprint() != image_set().fingerprint()


def test_what_was_skipped_does_not_count() -> None:
    assert image_set(skipped=("x.png",)).fingerprint() == image_set().fingerprint()
    assert image_set().fingerprint().startswith("sha256:") and len(image_set()) == 2


def test_stored_images_are_known_by_their_order_too() -> None:
    labels = np.array([0, 0])
    assert fingerprint_stored(("a",), labels, [b"x" * 32, b"y" * 32]) != (
        fingerprint_stored(("a",), labels, [b"y" * 32, b"x" * 32])
    )
