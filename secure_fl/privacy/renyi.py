"""The Rényi accountant: the loosest bound that we state, and the one that planning asks for dozens of times.

One step of the Gaussian mechanism with noise σ on records that were drawn with probability q satisfies (α, ρ)-Rényi
differential privacy with ρ = log A_α / (α - 1), where A_α is a sum for whole α and two alternating series otherwise
(Mironov, Talwar, Zhang 2019, arXiv:1908.10530, section 3.3). Steps add up, whatever came before, and any α gives an
ε (Canonne, Kamath, Steinke 2020, arXiv:2004.00010, proposition 12): the least over `ORDERS` is the bound.

Opacus sums the series in Python, an eighth of a second for each σ. Here all terms of an order are one array, and what a
step costs is kept, since ε at another δ or for more steps follows from it. The orders, the terms and where a series is
cut are Opacus's; the results differ by rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORDERS", "renyi_epsilon"]

ORDERS = (*(1 + tenths / 10 for tenths in range(1, 100)), *(float(whole) for whole in range(12, 64)))
# Terms below its exponential end a series.
_NEGLIGIBLE = -30.0
_FIRST_TERMS, _MOST_TERMS = 256, 1 << 20

_Array = NDArray[np.float64]


def renyi_epsilon(steps: Sequence[tuple[float, float, int]], delta: float) -> float:
    """ε at `delta` of all `steps`: (σ, q, how many). May be infinite, and is no less than Opacus's but for rounding.

    Raises:
        ArithmeticError: a series does not come to an end.
    """
    orders = np.array(ORDERS)
    rho = sum((count * _of_one_step(noise, rate) for noise, rate, count in steps), np.zeros(len(orders)))
    bounds = rho - (math.log(delta) + np.log(orders)) / (orders - 1) + np.log((orders - 1) / orders)
    return float(bounds.min())


@lru_cache(maxsize=1024)
def _of_one_step(noise: float, rate: float) -> _Array:
    """ρ of one step at each of `ORDERS`."""
    if rate == 1:
        return np.array(ORDERS) / (2 * noise**2)
    moments = [_whole(noise, rate, int(each)) if each.is_integer() else _broken(noise, rate, each) for each in ORDERS]
    found: _Array = np.array(moments) / (np.array(ORDERS) - 1)
    found.flags.writeable = False  # it is kept
    return found


def _whole(noise: float, rate: float, order: int) -> float:
    """log A_α for a whole α: one sum."""
    i, choices = np.arange(order + 1.0), [float(math.comb(order, each)) for each in range(order + 1)]
    logs = np.log(choices) + i * math.log(rate) + (order - i) * math.log1p(-rate)
    return float(np.logaddexp.reduce(logs + (i * i - i) / (2 * noise**2)))


def _broken(noise: float, rate: float, order: float) -> float:
    """log A_α for an α between whole numbers: the integrals below and above z₀, each an alternating series."""
    split = noise**2 * math.log(1 / rate - 1) + 0.5
    terms = _FIRST_TERMS
    while terms <= _MOST_TERMS:
        i = np.arange(float(terms))
        j = order - i
        coefficients = np.cumprod(np.concatenate(([1.0], j[:-1] / i[1:])))
        logs = np.log(np.abs(coefficients))
        below = logs + i * math.log(rate) + j * math.log1p(-rate) + (i * i - i) / (2 * noise**2)
        below += _log_normal_below((split - i) / noise)
        above = logs + j * math.log(rate) + i * math.log1p(-rate) + (j * j - j) / (2 * noise**2)
        above += _log_normal_below((j - split) / noise)
        small = np.maximum(below, above) < _NEGLIGIBLE
        if small.any():
            until = int(small.argmax()) + 1
            signs = np.sign(coefficients[:until])
            return float(np.logaddexp(_log_sum(below[:until], signs), _log_sum(above[:until], signs)))
        terms *= 4
    raise ArithmeticError(f"the moment of order {order:g} for σ = {noise:g}, q = {rate:g} does not converge")


def _log_normal_below(x: _Array) -> _Array:
    """log P(N(0, 1) < x)."""
    import torch  # only now: whoever asks for help does not wait for it

    found: _Array = torch.special.log_ndtr(torch.from_numpy(x)).numpy()
    return found


def _log_sum(logs: _Array, signs: _Array) -> float:
    """log Σ sign·e^log of terms whose sum is positive; where they cancel to nothing, the log of the rounding."""
    peak = float(logs.max())
    total = float(np.sum(signs * np.exp(logs - peak)))
    return peak + math.log(max(total, len(logs) * float(np.finfo(np.float64).eps)))
