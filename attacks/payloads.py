"""Wire attacks on what is inside a reply: values, shape, type, keys, size.

Each takes one assumption that a coordinator makes about the array that it decodes, and breaks that one only, so that
the refusal shows which check caught it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks._validate import whole
from attacks.base import AttackError
from attacks.wire import Arrays, Forgery, Reply

__all__ = ["ExtraKey", "Huge", "HugePayload", "Inf", "MissingKey", "NaN", "WrongDtype", "WrongShape", "WrongSpec"]


@dataclass(frozen=True)
class _Poked(ABC):
    """Some entries of the update, chosen at random, are replaced."""

    entries: int = 1

    name: ClassVar[str]
    teaches: ClassVar[str]

    def __post_init__(self) -> None:
        whole(self.name, 1, entries=self.entries)

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update with `entries` bad values (all of them when it has fewer)."""
        key, update = _update(self.name, reply)
        poked = update.copy()
        where = rng.choice(update.size, size=min(self.entries, update.size), replace=False)
        poked[where] = self.values(len(where))
        return Forgery(_with(reply, {key: poked}))

    @abstractmethod
    def values(self, count: int) -> NDArray[np.float32]:
        """(count,) of what replaces them."""


class NaN(_Poked):
    """NaN in the update: one is enough to make a mean NaN and Krum choose its sender."""

    name: ClassVar[str] = "nan"
    teaches: ClassVar[str] = "check that every entry is finite before any rule sees the update"

    def values(self, count: int) -> NDArray[np.float32]:
        """NaN."""
        return np.full(count, np.nan, np.float32)


class Inf(_Poked):
    """+∞ and −∞ in turn: a mean of both is NaN."""

    name: ClassVar[str] = "inf"
    teaches: ClassVar[str] = "infinities are not finite either, and cancel to NaN"

    def values(self, count: int) -> NDArray[np.float32]:
        """+∞, −∞, +∞, …"""
        return np.where(np.arange(count) % 2 == 0, np.float32(np.inf), np.float32(-np.inf))


@dataclass(frozen=True)
class Huge:
    """Every entry is `value`: finite, so a check for NaN passes it, and its square overflows float32."""

    value: float = 1e30

    name: ClassVar[str] = "huge"
    teaches: ClassVar[str] = "cap the norm, computed in float64, before any Gram matrix: 1e30 squared is infinite"

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or abs(self.value) > float(np.finfo(np.float32).max):
            raise AttackError(f"huge(value={self.value:g})", why="float32 cannot hold it", fix="at most 3.4e38")

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update filled with `value`."""
        key, update = _update(self.name, reply)
        return Forgery(_with(reply, {key: np.full_like(update, self.value)}))


@dataclass(frozen=True)
class WrongShape:
    """The last entry is missing. (A coordinator that unflattens by position would shift every layer.)"""

    name: ClassVar[str] = "wrong_shape"
    teaches: ClassVar[str] = "compare the shape with the model's before anything else"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update without its last entry."""
        key, update = _update(self.name, reply)
        return Forgery(_with(reply, {key: update[:-1].copy()}))


@dataclass(frozen=True)
class WrongDtype:
    """The same values in float64: twice the bytes, and mixed types in every later sum."""

    name: ClassVar[str] = "wrong_dtype"
    teaches: ClassVar[str] = "one type on the wire; a cast would hide what else is wrong"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update in float64."""
        key, update = _update(self.name, reply)
        return Forgery(_with(reply, {key: update.astype(np.float64)}))


@dataclass(frozen=True)
class WrongSpec:
    """The update claims another architecture of the same size."""

    name: ClassVar[str] = "wrong_spec"
    teaches: ClassVar[str] = "equal sizes do not mean equal models: compare the digest of names and shapes"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with a spec of zeros."""
        return Forgery(replace(reply, spec="0" * max(len(reply.spec), 1)))


@dataclass(frozen=True)
class MissingKey:
    """The reply carries no array at all."""

    name: ClassVar[str] = "missing_key"
    teaches: ClassVar[str] = "validate each reply by itself: a batch check aborts the round for everybody"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply without arrays."""
        return Forgery(_with(reply, {}))


@dataclass(frozen=True)
class ExtraKey:
    """A second array travels along, such as a counter of BatchNorm."""

    name: ClassVar[str] = "extra_key"
    teaches: ClassVar[str] = "name exactly what is expected; what is not expected is refused, not ignored"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with an array `num_batches_tracked` besides."""
        return Forgery(_with(reply, {**reply.arrays, "num_batches_tracked": np.array([2**62], np.int64)}))


@dataclass(frozen=True)
class HugePayload:
    """An array of `mib` MiB of zeros in place of the update."""

    mib: int = 64

    name: ClassVar[str] = "huge_payload"
    teaches: ClassVar[str] = "bound the size of a message before it is read into memory"

    def __post_init__(self) -> None:
        whole(self.name, 1, mib=self.mib)
        if self.mib > 1 << 16:
            raise AttackError(f"huge_payload(mib={self.mib})", why="it would exhaust the attacker", fix="up to 65536")

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update replaced by zeros."""
        key, update = _update(self.name, reply)
        return Forgery(_with(reply, {key: np.zeros((self.mib << 20) // update.itemsize, update.dtype)}))


def _update(attack: str, reply: Reply) -> tuple[str, NDArray[Any]]:
    """Name and value of the one array of an honest reply."""
    if len(reply.arrays) != 1:
        raise AttackError(f"{attack} cannot be carried out", why="an honest reply has one array", fix="pass the update")
    ((key, update),) = reply.arrays.items()
    return key, update


def _with(reply: Reply, arrays: Arrays) -> Reply:
    return replace(reply, arrays=arrays)
