"""The coordinate kernels as machine code: for each (n, order statistics) one straight line of minima and maxima.

llvmlite (extra `fast`), LLVM as a wheel, turns the network's text into a function within a fraction of a second; no
compiler is needed, and nothing here is needed either: `defenses.coordinates` gives the same bits in NumPy. Eight
columns at a time are loaded from the rows where they lie, sorted in registers, added up in float64 and stored, so the
data are read once and nothing is copied. On the way each value is multiplied by zero and summed, which tells whether
all were finite.

The import of llvmlite takes 0.2 s, so this module is imported at the first use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from defenses.base import Vector
from defenses.machine_code import address_of
from defenses.networks import network

__all__ = ["LANES", "Kernel", "closest_mean_kernel", "order_mean_kernel"]

LANES = 8
"""Columns at a time."""

Kernel = Callable[[Sequence[Vector], Vector], bool]
"""Called with contiguous rows of one length and an output of that length; False when an entry is not finite."""

_F, _D = f"<{LANES} x float>", f"<{LANES} x double>"
_SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)


@cache
def order_mean_kernel(n: int, low: int, high: int) -> Kernel:
    """The mean of the order statistics `low` to `high` − 1 of n rows."""
    code = _Lines()
    values = code.sort([f"%x{i}" for i in range(n)], low, high)
    return _kernel(n, [*code.lines, *_mean(values[low:high])])


@cache
def closest_mean_kernel(n: int, count: int) -> Kernel:
    """The mean of the `count` values nearest to the median of n rows; see `defenses.coordinates`."""
    code = _Lines()
    values = code.sort([f"%x{i}" for i in range(n)], 0, n)
    code.narrow(values, count)
    return _kernel(n, [*code.lines, *_mean(values[n - count :])])


class _Lines:
    """Lines of LLVM's language, each with a name of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, operation: str) -> str:
        name = f"%t{len(self.lines)}"
        self.lines.append(f"{name} = {operation}")
        return name

    def sort(self, values: list[str], low: int, high: int) -> list[str]:
        """Run the network for the order statistics `low` to `high` − 1."""
        for i, j, smaller, larger in network(len(values), low, high).tolist():
            a, b = values[i], values[j]
            less = self.add(f"fcmp olt {_F} {a}, {b}")
            if smaller:
                values[i] = self.add(f"select <{LANES} x i1> {less}, {_F} {a}, {_F} {b}")
            if larger:
                values[j] = self.add(f"select <{LANES} x i1> {less}, {_F} {b}, {_F} {a}")
        return values

    def narrow(self, values: list[str], count: int) -> None:
        """Bring the `count` values nearest to the median to the end; see `defenses.portable`."""
        n = len(values)
        wide = [self.add(f"fpext {_F} {value} to {_D}") for value in values]
        twice_median = self.add(f"fadd {_D} {wide[(n - 1) // 2]}, {wide[n // 2]}")
        sums = [self.add(f"fadd {_D} {wide[j]}, {wide[j + count]}") for j in range(n - count)]
        moves = [self.add(f"fcmp olt {_D} {each}, {twice_median}") for each in sums]
        for j, moved in enumerate(moves):
            values[j + count] = self.add(f"select <{LANES} x i1> {moved}, {_F} {values[j + count]}, {_F} {values[j]}")


def _mean(values: Sequence[str]) -> Iterator[str]:
    total = "zeroinitializer"
    for k, value in enumerate(values):
        yield f"%w{k} = fpext {_F} {value} to {_D}"
        yield f"%s{k} = fadd {_D} {total}, %w{k}"
        total = f"%s{k}"
    count = ", ".join([f"double {len(values)}.0"] * LANES)
    yield f"%mean = fdiv {_D} {total}, <{count}>"
    yield f"%result = fptrunc {_D} %mean to {_F}"


def _kernel(n: int, body: Sequence[str]) -> Kernel:
    loads, checks = [], ["%c0 = fadd " + f"{_F} %check, %z0"]
    for i in range(n):
        loads += [
            f"%q{i} = getelementptr float, ptr %r{i}, i64 %at",
            f"%x{i} = load {_F}, ptr %q{i}, align 4",
            f"%z{i} = fmul {_F} %x{i}, zeroinitializer",
        ]
    checks += [f"%c{i} = fadd {_F} %c{i - 1}, %z{i}" for i in range(1, n)]
    bases = [f"%p{i} = getelementptr ptr, ptr %rows, i64 {i}\n%r{i} = load ptr, ptr %p{i}" for i in range(n)]
    newline = "\n"
    # The last block is moved back to end with the rows: some columns are computed twice, to the same result.
    text = f"""
define i32 @kernel(ptr noalias %rows, i64 %size, ptr noalias %out) {{
entry:
{newline.join(bases)}
%last = sub i64 %size, {LANES}
br label %loop
loop:
%at = phi i64 [0, %entry], [%next, %loop]
%check = phi {_F} [zeroinitializer, %entry], [%c{n - 1}, %loop]
{newline.join([*loads, *checks, *body])}
%target = getelementptr float, ptr %out, i64 %at
store {_F} %result, ptr %target, align 4
%step = add i64 %at, {LANES}
%over = icmp sgt i64 %step, %last
%next = select i1 %over, i64 %last, i64 %step
%done = icmp eq i64 %at, %last
br i1 %done, label %exit, label %loop
exit:
%bad = fcmp uno {_F} %c{n - 1}, zeroinitializer
%bits = bitcast <{LANES} x i1> %bad to i{LANES}
%any = icmp ne i{LANES} %bits, 0
%answer = zext i1 %any to i32
ret i32 %answer
}}
"""
    function = _SIGNATURE(address_of("kernel", text))

    def run(rows: Sequence[Vector], out: Vector) -> bool:
        if out.size < LANES:
            padded = np.zeros((n + 1, LANES), np.float32)
            padded[:n, : out.size] = rows
            finite = run(list(padded[:n]), padded[n])
            out[:] = padded[n, : out.size]
            return finite
        addresses = (ctypes.c_void_p * n)(*(row.ctypes.data for row in rows))
        return not function(addresses, out.size, out.ctypes.data)

    return run
