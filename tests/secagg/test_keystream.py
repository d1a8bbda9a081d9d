"""secure_fl/secagg/keystream.py: the standard's own answers, and entering a stream midway."""

from __future__ import annotations

import pytest

from secure_fl.secagg.keystream import BLOCK, KeyStream

# NIST SP 800-38A, F.5.5 CTR-AES256.Encrypt: key, initial counter block, plaintext and ciphertext.
KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
COUNTER = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CIPHER = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)


def read(stream: KeyStream, count: int) -> bytes:
    buffer = bytearray(count + BLOCK - 1)
    stream.fill(memoryview(bytes(count)), buffer)
    return bytes(buffer[:count])


def test_the_stream_is_that_of_the_standard_entered_at_its_counter() -> None:
    stream = KeyStream(KEY, skip=int.from_bytes(COUNTER, "big") * BLOCK)
    assert bytes(a ^ b for a, b in zip(read(stream, len(PLAIN)), PLAIN, strict=True)) == CIPHER


@pytest.mark.parametrize("skip", [0, 16, 160, 4096])
def test_a_stream_entered_midway_goes_on_as_the_whole_one(skip: int) -> None:
    assert read(KeyStream(KEY, skip=skip), 100) == read(KeyStream(KEY), skip + 100)[skip:]


def test_reading_moves_the_stream_forward() -> None:
    stream = KeyStream(KEY)
    assert read(stream, 48) + read(stream, 5) + read(stream, 20) == read(KeyStream(KEY), 73)


@pytest.mark.parametrize("skip", [1, 15, 17, -16])
def test_a_stream_is_entered_at_a_block_only(skip: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        KeyStream(KEY, skip=skip)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyStream(bytes(size))
