"""The paper's search finds bare magics in plain packets, and nothing of a picture in encrypted ones."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.detect.paper import search_packets
from tests.audit.detect.samples import FILES


def test_magics_in_plain_packets_are_counted() -> None:
    found = search_packets([b"head" + FILES["jpeg"], memoryview(FILES["png"]), b"", b"\xff\xd8\xff" * 2])
    assert (found.packets, found.jpeg, found.png) == (4, 3, 1)
    assert found.bytes == 4 + len(FILES["jpeg"]) + len(FILES["png"]) + 6


def test_an_encrypted_picture_is_not_found() -> None:
    sealed = AESGCM(bytes(32)).encrypt(bytes(12), FILES["jpeg"] + FILES["png"], None)
    found = search_packets([sealed])
    assert (found.jpeg, found.png) == (0, 0)


def test_a_magic_that_is_split_over_two_packets_is_missed() -> None:
    assert search_packets([FILES["png"][:4], FILES["png"][4:]]).png == 0


def test_chance_alone_gives_the_expected_hits() -> None:
    found = search_packets([np.random.default_rng(0).bytes(4 << 20) for _ in range(16)])
    assert found.jpeg_expected_by_chance == 4.0
    assert found.jpeg < 20
