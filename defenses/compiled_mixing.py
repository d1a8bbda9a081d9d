"""Many combinations of the same long vectors, as machine code: what a BLAS copies its operands for.

A BLAS wants one matrix and packs it anew before it multiplies; here a few dozen rows lie where they arrived and each of
their values is used a few dozen times. A block of columns that fits the first-level cache is copied once, tiles of 4×24
results are kept in registers, and the data are read once and written once. Each result is one chain of float32
products from the first row to the last, wherever its column lies. One function serves every number of rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import Matrix, Vector
from defenses.machine_code import address_of

__all__ = ["COLUMNS", "RESULTS", "mix_into"]

_LANES = 8
RESULTS, _WIDE = 4, 3  # the tile: 12 sums, 3 operands and a weight in 16 registers
"""Combinations at a time, hence the fewest."""
COLUMNS = 20 * _WIDE * _LANES
"""Columns at a time, hence the fewest."""
_V = f"<{_LANES} x float>"


def mix_into(rows: Sequence[Vector], weights: NDArray[np.float32], out: Matrix) -> None:
    """out (m, d) ← weights (m, n) times n rows, all of them contiguous float32; m ≥ `RESULTS`, d ≥ `COLUMNS`.

    Raises `ValueError` for anything else: nothing is written past an end.
    """
    (m, size), n = out.shape, len(rows)
    vectors = all(each.shape == (size,) and each.dtype == np.float32 and each.flags.c_contiguous for each in rows)
    placed = out.dtype == np.float32 and out.flags.c_contiguous and m >= RESULTS and size >= COLUMNS
    if not vectors or not placed or weights.shape != (m, n):
        raise ValueError(f"{n} rows cannot be mixed by {weights.shape} into {out.shape}")
    used = np.ascontiguousarray(weights, np.float32)
    addresses = (ctypes.c_void_p * n)(*(row.ctypes.data for row in rows))
    buffer = np.empty((n, COLUMNS), np.float32)
    _function()(addresses, n, used.ctypes.data, m, size, buffer.ctypes.data, out.ctypes.data)


@cache
def _function() -> Any:
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, pointer, size, pointer, size, size, pointer, pointer)(address_of("mix", _text()))


def _text() -> str:
    """Columns by blocks, results by tiles. The last of either is moved back to the end: the same results twice."""
    tall, wide = range(RESULTS), range(_WIDE)
    pairs = [(a, b) for a in tall for b in wide]
    firsts = [f"%i{a} = add i64 %i, {a}\n%wi{a} = mul i64 %i{a}, %n\n%oi{a} = mul i64 %i{a}, %size" for a in tall]
    sums = [f"%s{a}{b} = phi {_V} [zeroinitializer, %tile], [%t{a}{b}, %row]" for a, b in pairs]
    values = [
        f"%q{b} = getelementptr float, ptr %p, i64 {b * _LANES}\n%x{b} = load {_V}, ptr %q{b}, align 4" for b in wide
    ]
    factors = [
        f"%wk{a} = add i64 %wi{a}, %j\n%wp{a} = getelementptr float, ptr %weights, i64 %wk{a}\n"
        f"%f{a} = load float, ptr %wp{a}\n%g{a} = insertelement {_V} poison, float %f{a}, i32 0\n"
        f"%w{a} = shufflevector {_V} %g{a}, {_V} poison, <{_LANES} x i32> zeroinitializer"
        for a in tall
    ]
    steps = [
        f"%t{a}{b} = call {_V} @llvm.fmuladd.v{_LANES}f32({_V} %w{a}, {_V} %x{b}, {_V} %s{a}{b})" for a, b in pairs
    ]
    ends = [
        f"%oc{a}{b} = add i64 %oi{a}, %d{b}\n%o{a}{b} = getelementptr float, ptr %out, i64 %oc{a}{b}\n"
        f"store {_V} %t{a}{b}, ptr %o{a}{b}, align 4"
        for a, b in pairs
    ]
    newline = "\n"
    return f"""
declare {_V} @llvm.fmuladd.v{_LANES}f32({_V}, {_V}, {_V})
define void @mix(
  ptr noalias %rows, i64 %n, ptr noalias %weights, i64 %m, i64 %size, ptr noalias %buffer, ptr noalias %out
) {{
entry:
  %lastblock = sub i64 %size, {COLUMNS}
  %lastresult = sub i64 %m, {RESULTS}
  br label %block
block:
  %at = phi i64 [0, %entry], [%atn, %blockend]
  br label %gather
gather:
  %r = phi i64 [0, %block], [%r1, %gathered]
  %rp = getelementptr ptr, ptr %rows, i64 %r
  %rb = load ptr, ptr %rp
  %from = getelementptr float, ptr %rb, i64 %at
  %ro = mul i64 %r, {COLUMNS}
  %to = getelementptr float, ptr %buffer, i64 %ro
  br label %copy
copy:
  %k = phi i64 [0, %gather], [%k1, %copy]
  %fk = getelementptr float, ptr %from, i64 %k
  %y = load {_V}, ptr %fk, align 4
  %tk = getelementptr float, ptr %to, i64 %k
  store {_V} %y, ptr %tk, align 4
  %k1 = add i64 %k, {_LANES}
  %morecopy = icmp slt i64 %k1, {COLUMNS}
  br i1 %morecopy, label %copy, label %gathered
gathered:
  %r1 = add i64 %r, 1
  %moregather = icmp slt i64 %r1, %n
  br i1 %moregather, label %gather, label %results
results:
  %i = phi i64 [0, %gathered], [%in, %resultsend]
{newline.join(firsts)}
  br label %tile
tile:
  %c = phi i64 [0, %results], [%c1, %tileend]
  br label %row
row:
  %j = phi i64 [0, %tile], [%j1, %row]
{newline.join(sums)}
  %jo = mul i64 %j, {COLUMNS}
  %jc = add i64 %jo, %c
  %p = getelementptr float, ptr %buffer, i64 %jc
{newline.join([*values, *factors, *steps])}
  %j1 = add i64 %j, 1
  %morerows = icmp slt i64 %j1, %n
  br i1 %morerows, label %row, label %tileend
tileend:
  %d = add i64 %at, %c
{newline.join(f"%d{b} = add i64 %d, {b * _LANES}" for b in wide)}
{newline.join(ends)}
  %c1 = add i64 %c, {_WIDE * _LANES}
  %moretiles = icmp slt i64 %c1, {COLUMNS}
  br i1 %moretiles, label %tile, label %resultsend
resultsend:
  %is = add i64 %i, {RESULTS}
  %iover = icmp sgt i64 %is, %lastresult
  %in = select i1 %iover, i64 %lastresult, i64 %is
  %idone = icmp eq i64 %i, %lastresult
  br i1 %idone, label %blockend, label %results
blockend:
  %ats = add i64 %at, {COLUMNS}
  %atover = icmp sgt i64 %ats, %lastblock
  %atn = select i1 %atover, i64 %lastblock, i64 %ats
  %atdone = icmp eq i64 %at, %lastblock
  br i1 %atdone, label %exit, label %block
exit:
  ret void
}}
"""
