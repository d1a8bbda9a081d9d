"""secure_fl/secagg/compiled_masks.py: the same words as OpenSSL and NumPy, or none at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from secure_fl.secagg import compiled_masks, masks
from secure_fl.secagg.compiled_masks import STEP, Kernel, kernel_that_pays, mask_kernel
from secure_fl.secagg.keystream import BLOCK
from secure_fl.secagg.masks import add_masks

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


@pytest.fixture(params=[16, 32])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return kernel_here(request.param)


def kernel_here(bits: int) -> Kernel:
    """The kernel where there has to be one."""
    machine_code = pytest.importorskip("defenses.machine_code")
    if not machine_code.has_instructions("vaes"):
        pytest.skip("this processor has no VAES")
    made = mask_kernel(bits)
    assert made is not None
    return made


@pytest.fixture
def words(request: pytest.FixtureRequest, kernel: Kernel) -> np.ndarray:
    bits = request.node.callspec.params["kernel"]
    return np.random.default_rng(bits).integers(0, 2**bits, 3 * MIB * 8 // bits + 77, dtype=f"uint{bits}")


def seeds(count: int, first: int = 0) -> list[bytes]:
    return [np.random.default_rng(first + each).bytes(32) for each in range(count)]


def without_kernel(words: np.ndarray, plus: list[bytes], minus: list[bytes]) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "kernel_that_pays", lambda bits, work: None)
        expected = words.copy()
        add_masks(expected, plus=plus, minus=minus)
    return expected


def test_a_block_of_zeros_is_what_the_standard_says() -> None:
    """NIST AESAVS, appendix C.3 (KeySbox, 256 bits, the first): the first block of a stream is AES of zero."""
    words = np.zeros(STEP // 4, np.uint32)
    key = bytes.fromhex("c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558")
    kernel_here(32)(words, 0, [key], [])
    assert words.tobytes()[:BLOCK].hex() == "46f2fb342d6f0ab477476fc501242c5f"


@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (1, 0), (0, 1), (3, 2), (64, 65), (130, 1)])
@pytest.mark.parametrize("threads", [1, 3])
def test_it_adds_the_words_that_openssl_and_numpy_add(
    kernel: Kernel, words: np.ndarray, plus: int, minus: int, threads: int
) -> None:
    added, subtracted = seeds(plus), seeds(minus, 1000)
    masked = words.copy()
    add_masks(masked, plus=added, minus=subtracted, threads=threads)
    assert np.array_equal(masked, without_kernel(words, added, subtracted))


@pytest.mark.parametrize("steps", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("skip", [0, BLOCK, 3 * STEP, 2**32 * BLOCK - STEP])
def test_it_enters_a_stream_midway_and_stops_where_it_should(
    kernel: Kernel, words: np.ndarray, steps: int, skip: int
) -> None:
    count = steps * STEP // words.itemsize
    masked, expected = words[: count + 9].copy(), words[: count + 9].copy()
    kernel(masked[:count], skip, seeds(2), seeds(1, 9))
    masks._add(expected[:count], skip, seeds(2), seeds(1, 9), None)
    assert np.array_equal(masked, expected) and np.array_equal(masked[count:], words[count : count + 9])


def test_words_need_not_lie_at_round_addresses(kernel: Kernel, words: np.ndarray) -> None:
    count = STEP // words.itemsize
    masked, expected = words[1 : count + 1].copy(), words.copy()
    kernel(words[1 : count + 1], 0, seeds(1), [])
    kernel(masked, 0, seeds(1), [])
    expected[1 : count + 1] = masked
    assert np.array_equal(words, expected)


def test_many_threads_do_not_disturb_each_other(kernel: Kernel, words: np.ndarray) -> None:
    expected = without_kernel(words, seeds(5), [])
    with ThreadPoolExecutor(8) as pool:
        parts = [words.copy() for _ in range(16)]
        list(pool.map(lambda part: add_masks(part, plus=seeds(5), minus=[]), parts))
    assert all(np.array_equal(part, expected) for part in parts)


def test_what_it_cannot_do_is_refused(kernel: Kernel, words: np.ndarray) -> None:
    count = STEP // words.itemsize
    fixed = np.frombuffer(words[:count].tobytes(), words.dtype)
    for wrong in (words[: count - 1], words[: 2 * count : 2], words[:count].astype("uint64"), fixed):
        with pytest.raises(ValueError, match="contiguous, writeable words of"):
            kernel(wrong, 0, seeds(1), [])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_seed_of_another_length_is_refused_by_whoever_would_do_the_work(
    kernel: Kernel, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "kernel_that_pays", lambda bits, work: kernel if compiled else None)
    for wrong in (bytes(31), bytes(33), b""):
        with pytest.raises(ValueError, match="seeds have 32 bytes"):
            add_masks(np.zeros(100, np.uint32), plus=[wrong], minus=[])


def test_a_process_gets_the_kernel_once_it_has_masked_a_lot_and_keeps_it(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_masks, "_USAGE", compiled_masks._Usage())
    mask_kernel.cache_clear()
    assert kernel_that_pays(32, compiled_masks._PAYS_AFTER - 1) is None
    assert kernel_that_pays(32, 1) is mask_kernel(32)
    monkeypatch.setattr(compiled_masks, "_PAYS_AFTER", 1 << 60)
    assert kernel_that_pays(16, 1) is None
    assert kernel_that_pays(32, 1) is mask_kernel(32)


def test_without_llvmlite_there_is_no_kernel_and_the_words_are_the_same() -> None:
    program = """
import sys
sys.modules["llvmlite"] = sys.modules["llvmlite.binding"] = None
import hashlib
import numpy as np
from secure_fl.secagg.compiled_masks import mask_kernel
from secure_fl.secagg.masks import add_masks
assert mask_kernel(32) is None
words = np.zeros(1 << 19, np.uint32)
add_masks(words, plus=[bytes(32)], minus=[bytes([1]) * 32])
print(mask_kernel(32), hashlib.sha256(words).hexdigest())
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = np.zeros(1 << 19, np.uint32)
    add_masks(words, plus=[bytes(32)], minus=[bytes([1]) * 32])
    assert told.split() == ["None", hashlib.sha256(words).hexdigest()]


def test_a_processor_without_the_instructions_gets_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_code = pytest.importorskip("defenses.machine_code")
    monkeypatch.setattr(machine_code, "has_instructions", lambda *features: "vaes" not in features)
    mask_kernel.cache_clear()
    try:
        assert mask_kernel(32) is None
    finally:
        mask_kernel.cache_clear()


def test_a_kernel_that_computes_anything_else_is_not_handed_out(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask_kernel.cache_clear()
    text = compiled_masks._text
    monkeypatch.setattr(compiled_masks, "_text", lambda bits: text(bits).replace("i8 64)", "i8 27)"))
    try:
        with pytest.raises(RuntimeError, match="differs from OpenSSL's"):
            mask_kernel(32)
    finally:
        mask_kernel.cache_clear()
