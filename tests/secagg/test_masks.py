"""secure_fl/secagg/masks.py: against a cipher called once for the whole stream; threads and chunks change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secure_fl.secagg.masks import CHUNK, add_masks

PLUS = [bytes([k]) * 32 for k in range(3)]
MINUS = [bytes([k]) * 32 for k in range(7, 9)]
DTYPES = [np.uint16, np.uint32]


def naive(words: np.ndarray, plus: list[bytes], minus: list[bytes]) -> np.ndarray:
    """Python integers modulo 2^b, each stream in one call."""
    width = 8 * words.itemsize
    total = [int(word) for word in words]
    for sign, seeds in ((1, plus), (-1, minus)):
        for seed in seeds:
            stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor().update(bytes(words.nbytes))
            for place in range(words.size):
                word = int.from_bytes(stream[place * words.itemsize :][: words.itemsize], "little")
                total[place] = (total[place] + sign * word) % (1 << width)
    return np.array(total, words.dtype)


def random_words(size: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(size).integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1001])
def test_masks_are_the_streams_of_their_seeds_modulo_the_ring(size: int, dtype: type) -> None:
    words = random_words(size, dtype)
    expected = naive(words, PLUS, MINUS)
    add_masks(words, plus=PLUS, minus=MINUS)
    assert np.array_equal(words, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("past", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 3])
def test_threads_split_any_length_without_a_trace(dtype: type, chunks: int, past: int) -> None:
    words = random_words(chunks * CHUNK // np.dtype(dtype).itemsize + past, dtype)
    whole = np.frombuffer(
        Cipher(algorithms.AES256(PLUS[0]), modes.CTR(bytes(16))).encryptor().update(bytes(words.nbytes)), dtype
    )
    expected = words + whole
    for threads in (1, 2, 3, 8):
        masked = words.copy()
        add_masks(masked, plus=PLUS[:1] + PLUS[1:], minus=PLUS[1:], threads=threads)
        assert np.array_equal(masked, expected), threads


@pytest.mark.parametrize("threads", [1, 2, 64])
@pytest.mark.parametrize("size", [0, 1])
def test_more_threads_than_work_do_no_harm(size: int, threads: int) -> None:
    words = np.full(size, 5, np.uint32)
    add_masks(words, plus=PLUS, minus=PLUS, threads=threads)
    assert np.array_equal(words, np.full(size, 5, np.uint32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairwise_masks_cancel_in_the_sum_of_all_sites(dtype: type) -> None:
    sites = 5
    vectors = [random_words(300, dtype) + dtype(site) for site in range(sites)]
    clear = np.add.reduce(vectors, dtype=dtype)
    pair = {(low, high): bytes([low, high]) * 16 for high in range(sites) for low in range(high)}
    for site, vector in enumerate(vectors):
        add_masks(
            vector,
            plus=[seed for (low, _), seed in pair.items() if low == site],
            minus=[seed for (_, high), seed in pair.items() if high == site],
        )
    assert np.array_equal(np.add.reduce(vectors, dtype=dtype), clear)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_zeros_look_uniform_and_unmasked_ones_do_not(dtype: type) -> None:
    """A forgotten mask is caught; that a test of uniformity passes proves nothing about the generator."""

    def chi_square_z(words: np.ndarray) -> float:
        counts = np.bincount(words.view(np.uint8), minlength=256)
        expected = words.nbytes / 256
        return (((counts - expected) ** 2 / expected).sum() - 255) / np.sqrt(2 * 255)

    words = np.zeros(1 << 16, dtype)
    assert chi_square_z(words) > 1e3
    add_masks(words, plus=PLUS, minus=MINUS)
    assert abs(chi_square_z(words)) < 5


@pytest.mark.parametrize(
    "words", [np.zeros(4, np.int32), np.zeros(4, np.uint64), np.zeros((2, 2), np.uint32), np.zeros(8, np.uint32)[::2]]
)
def test_other_arrays_are_refused(words: np.ndarray) -> None:
    with pytest.raises(ValueError, match="contiguous vector of uint16 or uint32"):
        add_masks(words, plus=PLUS, minus=[])


def test_no_thread_and_short_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="threads=0"):
        add_masks(np.zeros(4, np.uint32), plus=PLUS, minus=[], threads=0)
    with pytest.raises(ValueError, match="32 bytes"):
        add_masks(np.zeros(4, np.uint32), plus=[bytes(16)], minus=[])
