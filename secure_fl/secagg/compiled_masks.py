"""Masks as machine code: AES-256 in counter mode and the addition to the words in one pass, in registers.

`cryptography` writes a mask to memory, from where NumPy reads it again to add it. Here LLVM, by llvmlite (extra
`fast`), turns the text below into a function that never stores a mask, on processors whose AES instructions work on 32
bytes at a time (VAES). Nothing here is needed: `masks` gives the same words to the bit without it, and each kernel is
held against `keystream` once before it is handed out.

The cipher is the processor's own: `aesenc` for its rounds and `aeskeygenassist` for the expansion of keys (Gueron,
"Intel Advanced Encryption Standard Instructions Set", 2010). No table is read at a secret's index and no branch depends
on one, so neither does time. Round keys lie on the function's stack, and are overwritten before it returns.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from secure_fl.secagg.keystream import BLOCK, SEED, KeyStream
from secure_fl.secagg.ring import Words

__all__ = ["STEP", "Kernel", "kernel_that_pays", "mask_kernel"]

_LANES = 8
STEP = 32 * _LANES
"""Bytes at a time."""
_PIECE = 64 * STEP  # stays in the first-level cache while all masks are added to it
_MOST_KEYS = 64  # at a time: 30 KB of round keys
_PAYS_AFTER = 1 << 30  # bytes of masks; what is saved on as many is what LLVM takes to load and compile, 0.3 s

Kernel = Callable[[Words, int, Sequence[bytes], Sequence[bytes]], None]
"""Called as `masks.add_masks` with contiguous words, a multiple of `STEP` bytes of them: words, where their part of the
streams begins, in bytes, seeds that are added, seeds that are subtracted."""

_HALF, _WIDE, _INTS = "<2 x i64>", "<4 x i64>", "<4 x i32>"
_ROUNDS = 14
_SIGNATURE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64
)


class _Usage:
    """What this process has masked so far, and whether it has a kernel: it buys one once renting has cost as much."""

    def __init__(self) -> None:
        self.masked, self.made = 0, set[int]()


_USAGE = _Usage()


def kernel_that_pays(bits: int, work: int) -> Kernel | None:
    """`mask_kernel` for `work` more bytes of masks, where it is made already or this process has masked a lot."""
    _USAGE.masked += work  # threads may lose one another's: it is no exact science
    return mask_kernel(bits) if bits in _USAGE.made or _USAGE.masked >= _PAYS_AFTER else None


@cache
def mask_kernel(bits: int) -> Kernel | None:
    """The kernel for words of 16 or 32 bits; None where llvmlite or the instructions are missing.

    Raises:
        RuntimeError: what it computes is not what OpenSSL computes.
    """
    try:
        from defenses.machine_code import address_of, has_instructions

        if not has_instructions("aes", "vaes", "avx2"):
            return None
        function = _SIGNATURE(address_of("kernel", _text(bits)))
    except (ImportError, OSError, RuntimeError):  # no llvmlite, or a system that allows no code in memory
        return None

    def run(words: Words, skip: int, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
        flags = words.flags
        if words.nbytes % STEP or not flags.c_contiguous or not flags.writeable or words.itemsize * 8 != bits:
            raise ValueError(f"contiguous, writeable words of {bits} bits, in blocks of {STEP} bytes")
        for seeds, sign in ((plus, 0), (minus, -1)):
            for start in range(0, len(seeds) if words.size else 0, _MOST_KEYS):
                some = seeds[start : start + _MOST_KEYS]
                function(words.ctypes.data, words.nbytes, skip // BLOCK, b"".join(some), len(some), sign)

    _check(run, bits)
    _USAGE.made.add(bits)
    return run


def _check(kernel: Kernel, bits: int) -> None:
    words: Words = np.zeros(3 * _PIECE // 2 * 8 // bits, f"uint{bits}")
    plus, minus = bytes(range(SEED)), bytes(range(SEED, 2 * SEED))
    kernel(words, 3 * BLOCK, [plus], [minus])
    expected = np.zeros_like(words)
    buffer = bytearray(words.nbytes + BLOCK - 1)
    for seed, combine in ((plus, np.add), (minus, np.subtract)):
        KeyStream(seed, skip=3 * BLOCK).fill(memoryview(bytes(words.nbytes)), buffer)
        combine(expected, np.frombuffer(buffer, expected.dtype, expected.size), expected)
    if not np.array_equal(words, expected):
        raise RuntimeError("the compiled AES differs from OpenSSL's: uninstall llvmlite, and report this processor")


class _Lines:
    """Lines of LLVM's language, each with a name of its own."""

    def __init__(self, prefix: str) -> None:
        self.lines: list[str] = []
        self._prefix = prefix

    def add(self, operation: str) -> str:
        name = f"%{self._prefix}{len(self.lines)}"
        self.lines.append(f"{name} = {operation}")
        return name

    def do(self, operation: str) -> None:
        self.lines.append(operation)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _expansion() -> _Lines:
    """Round keys of the key at %key, each twice side by side, to %mine."""
    code = _Lines("e")
    second = code.add("getelementptr i8, ptr %key, i64 16")
    keys = [code.add(f"load {_HALF}, ptr {each}, align 1") for each in ("%key", second)]
    for number in range(2, _ROUNDS + 1):
        # Every other key takes a round constant and rotates; the ones between only substitute.
        constant, word = (1 << number // 2 - 1, 3) if number % 2 == 0 else (0, 2)
        helper = code.add(f"call {_HALF} @llvm.x86.aesni.aeskeygenassist({_HALF} {keys[-1]}, i8 {constant})")
        helper = code.add(f"bitcast {_HALF} {helper} to {_INTS}")
        mixed = code.add(f"shufflevector {_INTS} {helper}, {_INTS} poison, {_INTS} {_indexes([word] * 4)}")
        old = code.add(f"bitcast {_HALF} {keys[-2]} to {_INTS}")
        for up in range(4):
            moved = _indexes([4 if at < up else at - up for at in range(4)])
            shifted = code.add(f"shufflevector {_INTS} {old}, {_INTS} zeroinitializer, {_INTS} {moved}")
            mixed = code.add(f"xor {_INTS} {mixed}, {shifted}")
        keys.append(code.add(f"bitcast {_INTS} {mixed} to {_HALF}"))
    for number, key in enumerate(keys):
        twice = code.add(f"shufflevector {_HALF} {key}, {_HALF} poison, {_INTS} {_indexes([0, 1, 0, 1])}")
        at = code.add(f"getelementptr {_WIDE}, ptr %mine, i64 {number}")
        code.do(f"store {_WIDE} {twice}, ptr {at}, align 32")
    return code


def _blocks(bits: int) -> _Lines:
    """`STEP` bytes of the stream from block %block on, with round keys at %use, added to the words at %at."""
    code = _Lines("b")
    block = code.add(f"insertelement {_WIDE} poison, i64 %block, i64 0")
    block = code.add(f"shufflevector {_WIDE} {block}, {_WIDE} poison, {_INTS} zeroinitializer")
    keys = [code.add(f"getelementptr {_WIDE}, ptr %use, i64 {number}") for number in range(_ROUNDS + 1)]
    states = []
    key = code.add(f"load {_WIDE}, ptr {keys[0]}, align 32")
    for lane in range(_LANES):
        counter = code.add(f"add {_WIDE} {block}, <i64 0, i64 {2 * lane}, i64 0, i64 {2 * lane + 1}>")
        turned = code.add(f"call {_WIDE} @llvm.bswap.v4i64({_WIDE} {counter})")
        # The upper half of a counter is zero: 2^64 blocks are more than any vector has.
        whole = f"shufflevector {_WIDE} {turned}, {_WIDE} zeroinitializer, {_INTS} {_indexes([4, 1, 4, 3])}"
        states.append(code.add(f"xor {_WIDE} {code.add(whole)}, {key}"))
    for number in range(1, _ROUNDS + 1):
        key = code.add(f"load {_WIDE}, ptr {keys[number]}, align 32")
        step = f"call {_WIDE} @llvm.x86.aesni.aesenc{'last' if number == _ROUNDS else ''}.256"
        states = [code.add(f"{step}({_WIDE} {state}, {_WIDE} {key})") for state in states]
    kind = f"<{256 // bits} x i{bits}>"
    for lane, state in enumerate(states):
        place = code.add(f"getelementptr i8, ptr %words, i64 {code.add(f'add i64 %at, {32 * lane}')}")
        words = code.add(f"load {kind}, ptr {place}, align 2")
        mask = code.add(f"xor {kind} {code.add(f'bitcast {_WIDE} {state} to {kind}')}, %sign")
        signed = code.add(f"sub {kind} {mask}, %sign")  # with all bits set: the other sign, in two's complement
        code.do(f"store {kind} {code.add(f'add {kind} {words}, {signed}')}, ptr {place}, align 2")
    return code


def _text(bits: int) -> str:
    kind, one = f"<{256 // bits} x i{bits}>", f"i{bits}"
    return f"""
declare {_HALF} @llvm.x86.aesni.aeskeygenassist({_HALF}, i8)
declare {_WIDE} @llvm.x86.aesni.aesenc.256({_WIDE}, {_WIDE})
declare {_WIDE} @llvm.x86.aesni.aesenclast.256({_WIDE}, {_WIDE})
declare {_WIDE} @llvm.bswap.v4i64({_WIDE})
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.umin.i64(i64, i64)
define void @kernel(ptr noalias %words, i64 %size, i64 %first, ptr noalias %seeds, i64 %count, i64 %signs) {{
entry:
%round_keys = alloca [{_ROUNDS + 1} x {_WIDE}], i64 %count, align 32
%narrow = trunc i64 %signs to {one}
%single = insertelement {kind} poison, {one} %narrow, i64 0
%sign = shufflevector {kind} %single, {kind} poison, <{256 // bits} x i32> zeroinitializer
br label %expand
expand:
%k = phi i64 [0, %entry], [%k_next, %expand]
%key_at = mul i64 %k, {SEED}
%key = getelementptr i8, ptr %seeds, i64 %key_at
%mine = getelementptr [{_ROUNDS + 1} x {_WIDE}], ptr %round_keys, i64 %k
{_expansion()}
%k_next = add i64 %k, 1
%k_more = icmp ult i64 %k_next, %count
br i1 %k_more, label %expand, label %piece
piece:
%from = phi i64 [0, %expand], [%to, %piece_done]
%end = add i64 %from, {_PIECE}
%to = call i64 @llvm.umin.i64(i64 %end, i64 %size)
br label %stream
stream:
%s = phi i64 [0, %piece], [%s_next, %stream_done]
%use = getelementptr [{_ROUNDS + 1} x {_WIDE}], ptr %round_keys, i64 %s
br label %blocks
blocks:
%at = phi i64 [%from, %stream], [%at_next, %blocks]
%passed = lshr i64 %at, 4
%block = add i64 %first, %passed
{_blocks(bits)}
%at_next = add i64 %at, {STEP}
%at_more = icmp ult i64 %at_next, %to
br i1 %at_more, label %blocks, label %stream_done
stream_done:
%s_next = add i64 %s, 1
%s_more = icmp ult i64 %s_next, %count
br i1 %s_more, label %stream, label %piece_done
piece_done:
%piece_more = icmp ult i64 %to, %size
br i1 %piece_more, label %piece, label %exit
exit:
%secret = mul i64 %count, {32 * (_ROUNDS + 1)}
call void @llvm.memset.p0.i64(ptr align 32 %round_keys, i8 0, i64 %secret, i1 true)
ret void
}}
"""


def _indexes(values: Sequence[int]) -> str:
    return f"<{', '.join(f'i32 {each}' for each in values)}>"
