from __future__ import annotations

import hashlib

import numpy as np
import pytest

from secure_fl.data.fingerprint import array_bytes, fingerprint, fingerprint_partition


def test_the_form_is_stable_across_versions() -> None:
    # A known answer: run records of yesterday must stay comparable tomorrow.
    lengths_and_parts = bytes(7) + b"\x01" + b"a" + bytes(7) + b"\x02" + b"bc"
    assert fingerprint(b"a", b"bc") == "sha256:" + hashlib.sha256(lengths_and_parts).hexdigest()
    assert fingerprint_partition([np.array([0, 2]), np.array([1, 3])]) == (
        "sha256:4e517a19f2dd115f0d66110358e12ce16ea6ada57e2420622f4e1ba5c2d2b90c"
    )


def test_moving_a_byte_from_part_to_part_changes_it() -> None:
    assert fingerprint(b"a", b"bc") != fingerprint(b"ab", b"c") != fingerprint(b"abc")
    assert fingerprint() != fingerprint(b"")


@pytest.mark.parametrize("other", [np.array([1, 2], dtype=np.int32), np.array([[1, 2]]), np.array([2, 1])])
def test_dtype_shape_and_order_of_an_array_count(other: np.ndarray) -> None:
    assert array_bytes(other) != array_bytes(np.array([1, 2], dtype=np.int64))


def test_byte_order_and_memory_layout_do_not_count() -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert array_bytes(array.astype(">i8")) == array_bytes(array)
    assert array_bytes(np.asfortranarray(array)) == array_bytes(array)


def test_a_partition_is_known_by_who_holds_what() -> None:
    parts = [np.array([0, 2]), np.array([1, 3])]
    assert fingerprint_partition(parts) == fingerprint_partition([part.astype(np.int32) for part in parts])
    assert fingerprint_partition(parts) != fingerprint_partition(parts[::-1])
    assert fingerprint_partition(parts) != fingerprint_partition([np.array([0, 2, 1, 3])])
