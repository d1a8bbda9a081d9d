"""Inner products of a few long vectors around a centre, as machine code: what a BLAS is slow at.

A BLAS packs and copies for matrices that are large both ways; here one side has ten to a hundred rows. For a block of
columns that fits the first-level cache the centre, a combination of the rows, is formed and subtracted, and tiles of
4×3 products are kept in registers: each value loaded serves three or four of them. Within a block sums are float32 in
eight lanes, 64 terms each; between blocks float64. One function serves every number of rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.base import Vector
from defenses.machine_code import address_of

__all__ = ["LANES", "CompiledProducts"]

LANES = 8
"""Columns come in multiples of this."""
_BLOCK = 512
_STRIDE = _BLOCK + LANES  # rows a power of two apart would share the cache's sets
_TALL, _WIDE = 4, 3  # the tile: 12 sums and 3 operands in 16 registers
_CHAINS = 4  # rows whose norms are added up side by side: one sum waits for itself
_V = f"<{LANES} x float>"


class CompiledProducts:
    """Products of `points`, contiguous float32 vectors of one length."""

    def __init__(self, points: Sequence[Vector]) -> None:
        n = self._n = len(points)
        self._points = list(points)
        addresses = [point.ctypes.data for point in points]
        self._rows = (ctypes.c_void_p * (n + -n % _CHAINS))(*addresses, *addresses[-1:] * (-n % _CHAINS))
        self._buffer = np.zeros((n + _TALL + 1, _STRIDE), np.float32)  # the last row is for the centre
        self._sums = np.zeros((n + _TALL, n + _TALL))
        self._lower = np.tri(n, k=-1, dtype=bool)

    def replace(self, index: int, other: int) -> None:
        """Let point `other` stand in for point `index` from now on."""
        self._rows[index] = self._rows[other]

    def norms2(self, start: int, stop: int) -> NDArray[np.float32]:
        """(n,): squared norms of the columns from `start` to `stop`."""
        out = np.empty(len(self._rows), np.float32)
        _functions()[0](self._rows, len(self._rows), start, stop, out.ctypes.data)
        return out[: self._n]

    def products(self, start: int, stop: int, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, n): inner products of these columns around `weights` (n,) times the points."""
        n = self._n
        self._sums[:] = 0.0
        used = np.ascontiguousarray(weights, np.float32)
        addresses = (used.ctypes.data, self._buffer.ctypes.data, self._sums.ctypes.data)
        _functions()[1](self._rows, n, start, stop, *addresses)
        sums = self._sums[:n, :n]  # complete on and above the diagonal
        return np.where(self._lower, sums.T, sums)


@cache
def _functions() -> tuple[Any, Any]:
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    norms2 = ctypes.CFUNCTYPE(None, pointer, size, size, size, pointer)(address_of("norms2", _norms2_text()))
    kinds = (pointer, size, size, size, pointer, pointer, pointer)
    return norms2, ctypes.CFUNCTYPE(None, *kinds)(address_of("products", _products_text()))


def _norms2_text() -> str:
    """Rows by groups, in each one sum a row; how many rows there are is a multiple of `_CHAINS`."""
    chains = range(_CHAINS)
    firsts = [
        f"%i{a} = add i64 %i, {a}\n%pp{a} = getelementptr ptr, ptr %rows, i64 %i{a}\n%p{a} = load ptr, ptr %pp{a}"
        for a in chains
    ]
    sums = [f"%s{a} = phi {_V} [zeroinitializer, %group], [%t{a}, %loop]" for a in chains]
    steps = [
        f"%q{a} = getelementptr float, ptr %p{a}, i64 %k\n%x{a} = load {_V}, ptr %q{a}, align 4\n"
        f"%t{a} = call {_V} @llvm.fmuladd.v{LANES}f32({_V} %x{a}, {_V} %x{a}, {_V} %s{a})"
        for a in chains
    ]
    ends = [
        f"%sum{a} = call float @llvm.vector.reduce.fadd.v{LANES}f32(float 0.0, {_V} %t{a})\n"
        f"%o{a} = getelementptr float, ptr %out, i64 %i{a}\nstore float %sum{a}, ptr %o{a}"
        for a in chains
    ]
    newline = "\n"
    return f"""
declare {_V} @llvm.fmuladd.v{LANES}f32({_V}, {_V}, {_V})
declare float @llvm.vector.reduce.fadd.v{LANES}f32(float, {_V})
define void @norms2(ptr %rows, i64 %n, i64 %start, i64 %stop, ptr %out) {{
entry:
  br label %group
group:
  %i = phi i64 [0, %entry], [%in, %done]
{newline.join(firsts)}
  br label %loop
loop:
  %k = phi i64 [%start, %group], [%k1, %loop]
{newline.join([*sums, *steps])}
  %k1 = add i64 %k, {LANES}
  %more = icmp slt i64 %k1, %stop
  br i1 %more, label %loop, label %done
done:
{newline.join(ends)}
  %in = add i64 %i, {_CHAINS}
  %again = icmp slt i64 %in, %n
  br i1 %again, label %group, label %exit
exit:
  ret void
}}
"""


def _products_text() -> str:
    """Blocks of columns; in each first the centre, then the rows minus it, then the tiles on and above the diagonal."""
    pairs = [(a, b) for a in range(_TALL) for b in range(_WIDE)]
    tall = [f"%ai{a} = add i64 %i0, {a}\n%ao{a} = mul i64 %ai{a}, {_STRIDE}" for a in range(_TALL)]
    wide = [f"%bj{b} = add i64 %j0, {b}\n%bo{b} = mul i64 %bj{b}, {_STRIDE}" for b in range(_WIDE)]
    sums = [f"%s{a}{b} = phi {_V} [zeroinitializer, %tile], [%t{a}{b}, %inner]" for a, b in pairs]
    loads = [
        f"%{m}k{i} = add i64 %{m}o{i}, %c\n%{m}p{i} = getelementptr float, ptr %buffer, i64 %{m}k{i}\n"
        f"%{m}v{i} = load {_V}, ptr %{m}p{i}, align 4"
        for m, count in (("a", _TALL), ("b", _WIDE))
        for i in range(count)
    ]
    steps = [
        f"%t{a}{b} = call {_V} @llvm.fmuladd.v{LANES}f32({_V} %av{a}, {_V} %bv{b}, {_V} %s{a}{b})" for a, b in pairs
    ]
    ends = [
        f"""%w{a}{b} = fpext {_V} %t{a}{b} to <{LANES} x double>
%r{a}{b} = call reassoc double @llvm.vector.reduce.fadd.v{LANES}f64(double 0.0, <{LANES} x double> %w{a}{b})
%m{a}{b} = mul i64 %ai{a}, %width
%n{a}{b} = add i64 %m{a}{b}, %bj{b}
%g{a}{b} = getelementptr double, ptr %out, i64 %n{a}{b}
%l{a}{b} = load double, ptr %g{a}{b}
%f{a}{b} = fadd double %l{a}{b}, %r{a}{b}
store double %f{a}{b}, ptr %g{a}{b}"""
        for a, b in pairs
    ]
    newline = "\n"
    return f"""
declare {_V} @llvm.fmuladd.v{LANES}f32({_V}, {_V}, {_V})
declare double @llvm.vector.reduce.fadd.v{LANES}f64(double, <{LANES} x double>)
define void @products(ptr %rows, i64 %n, i64 %start, i64 %stop, ptr %weights, ptr %buffer, ptr %out) {{
entry:
  %width = add i64 %n, {_TALL}
  %meanoffset = mul i64 %width, {_STRIDE}
  %mean = getelementptr float, ptr %buffer, i64 %meanoffset
  br label %block
block:
  %at = phi i64 [%start, %entry], [%at1, %blockend]
  %left = sub i64 %stop, %at
  %short = icmp slt i64 %left, {_BLOCK}
  %cols = select i1 %short, i64 %left, i64 {_BLOCK}
  br label %clear
clear:
  %k = phi i64 [0, %block], [%k1, %clear]
  %mk = getelementptr float, ptr %mean, i64 %k
  store {_V} zeroinitializer, ptr %mk, align 4
  %k1 = add i64 %k, {LANES}
  %moreclear = icmp slt i64 %k1, %cols
  br i1 %moreclear, label %clear, label %row
row:
  %i = phi i64 [0, %clear], [%i1, %rowend]
  %wp = getelementptr float, ptr %weights, i64 %i
  %w = load float, ptr %wp
  %unused = fcmp oeq float %w, 0.0
  br i1 %unused, label %rowend, label %used
used:
  %w1 = insertelement {_V} poison, float %w, i32 0
  %wv = shufflevector {_V} %w1, {_V} poison, <{LANES} x i32> zeroinitializer
  %pp = getelementptr ptr, ptr %rows, i64 %i
  %p = load ptr, ptr %pp
  %from = getelementptr float, ptr %p, i64 %at
  br label %add
add:
  %l = phi i64 [0, %used], [%l1, %add]
  %q = getelementptr float, ptr %from, i64 %l
  %x = load {_V}, ptr %q, align 4
  %ml = getelementptr float, ptr %mean, i64 %l
  %m = load {_V}, ptr %ml, align 4
  %m1 = call {_V} @llvm.fmuladd.v{LANES}f32({_V} %wv, {_V} %x, {_V} %m)
  store {_V} %m1, ptr %ml, align 4
  %l1 = add i64 %l, {LANES}
  %moreadd = icmp slt i64 %l1, %cols
  br i1 %moreadd, label %add, label %rowend
rowend:
  %i1 = add i64 %i, 1
  %morerow = icmp slt i64 %i1, %n
  br i1 %morerow, label %row, label %away
away:
  %e = phi i64 [0, %rowend], [%e1, %awayend]
  %epp = getelementptr ptr, ptr %rows, i64 %e
  %ep = load ptr, ptr %epp
  %efrom = getelementptr float, ptr %ep, i64 %at
  %eo = mul i64 %e, {_STRIDE}
  %eto = getelementptr float, ptr %buffer, i64 %eo
  br label %subtract
subtract:
  %h = phi i64 [0, %away], [%h1, %subtract]
  %eq = getelementptr float, ptr %efrom, i64 %h
  %ex = load {_V}, ptr %eq, align 4
  %eml = getelementptr float, ptr %mean, i64 %h
  %em = load {_V}, ptr %eml, align 4
  %y = fsub {_V} %ex, %em
  %et = getelementptr float, ptr %eto, i64 %h
  store {_V} %y, ptr %et, align 4
  %h1 = add i64 %h, {LANES}
  %moresubtract = icmp slt i64 %h1, %cols
  br i1 %moresubtract, label %subtract, label %awayend
awayend:
  %e1 = add i64 %e, 1
  %moreaway = icmp slt i64 %e1, %n
  br i1 %moreaway, label %away, label %tilerow
tilerow:
  %i0 = phi i64 [0, %awayend], [%i0n, %tilerowend]
  %third = udiv i64 %i0, {_WIDE}
  %first = mul i64 %third, {_WIDE}
{newline.join(tall)}
  br label %tile
tile:
  %j0 = phi i64 [%first, %tilerow], [%j0n, %tileend]
{newline.join(wide)}
  br label %inner
inner:
  %c = phi i64 [0, %tile], [%c1, %inner]
{newline.join([*sums, *loads, *steps])}
  %c1 = add i64 %c, {LANES}
  %moreinner = icmp slt i64 %c1, %cols
  br i1 %moreinner, label %inner, label %tileend
tileend:
{newline.join(ends)}
  %j0n = add i64 %j0, {_WIDE}
  %moretiles = icmp slt i64 %j0n, %n
  br i1 %moretiles, label %tile, label %tilerowend
tilerowend:
  %i0n = add i64 %i0, {_TALL}
  %morerows = icmp slt i64 %i0n, %n
  br i1 %morerows, label %tilerow, label %blockend
blockend:
  %at1 = add i64 %at, {_BLOCK}
  %moreblocks = icmp slt i64 %at1, %stop
  br i1 %moreblocks, label %block, label %exit
exit:
  ret void
}}
"""
