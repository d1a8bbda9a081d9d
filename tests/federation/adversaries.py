"""Sites that misbehave, as callables like a ClientApp: the real one, with its replies changed on the way out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

from secure_fl.app.client_app import app
from secure_fl.secagg import client
from secure_fl.secagg.masks import add_masks

Tamper = Callable[[RecordDict], None]


def _array(content: RecordDict) -> np.ndarray:
    return content["update"]["u"].numpy().copy()


def _put(content: RecordDict, array: np.ndarray) -> None:
    content["update"] = ArrayRecord({"u": Array(array)})


def _claim(content: RecordDict, **changes: object) -> None:
    content["claim"] = ConfigRecord({**content["claim"], **changes})


def not_a_number(content: RecordDict) -> None:
    array = _array(content)
    array[7] = np.nan
    _put(content, array)


def infinite(content: RecordDict) -> None:
    array = _array(content)
    array[-1] = np.inf
    _put(content, array)


def altered_after_signing(content: RecordDict) -> None:
    array = _array(content)
    array[0] += 1e-3
    _put(content, array)


def without_array(content: RecordDict) -> None:
    content["update"] = ArrayRecord({"v": Array(_array(content))})


def rubbish_bytes(content: RecordDict) -> None:
    good = content["update"]["u"]
    content["update"] = ArrayRecord({"u": Array(good.dtype, good.shape, good.stype, b"not a numpy file")})


def raising(content: RecordDict) -> None:
    raise RuntimeError("the disk is on fire")


TAMPERS: dict[str, Tamper] = {
    "not-finite": not_a_number,
    "wrong-shape": lambda content: _put(content, _array(content)[:-1]),
    "wrong-dtype": lambda content: _put(content, _array(content).astype(np.float64)),
    "missing-array": without_array,
    "sample-count": lambda content: _claim(content, samples=10**9),
    "stale-round": lambda content: _claim(content, round=int(content["claim"]["round"]) - 1),
    "bad-signature": altered_after_signing,
    "norm-cap": lambda content: _put(content, _array(content) * np.float32(1e8)),
    "spec-mismatch": lambda content: _claim(content, spec="0" * 64),
    "malformed": rubbish_bytes,
    "site-error": raising,
}


_TURN = threading.Lock()


def honest(message: Message, context: Context) -> Message:
    """The real ClientApp, one call at a time: sites that are threads of one process share its model."""
    with _TURN:
        return app(message=message, context=context)


@dataclass(frozen=True)
class OnlyThese:
    """The real ClientApp at the sites of these indexes; the others answer each train message with an error."""

    indexes: tuple[int, ...]

    def __call__(self, message: Message, context: Context) -> Message:
        training = message.metadata.message_type == MessageType.TRAIN
        if training and int(context.node_config["partition-id"]) not in self.indexes:
            raising(message.content)
        return honest(message, context)


@dataclass(frozen=True)
class Tampering:
    """Trains honestly, then changes the reply."""

    tamper: Tamper

    def __call__(self, message: Message, context: Context) -> Message:
        reply = honest(message, context)
        if message.metadata.message_type == MessageType.TRAIN:
            self.tamper(reply.content)
        return reply


AddMasks = Callable[..., None]


@dataclass(frozen=True)
class Careless:
    """Takes part in secure sums, and masks its vectors in a way of its own."""

    add_masks: AddMasks

    def __call__(self, message: Message, context: Context) -> Message:
        with _TURN:
            proper, client.add_masks = client.add_masks, self.add_masks
            try:
                return app(message=message, context=context)
            finally:
                client.add_masks = proper


def forgotten(words: np.ndarray, **_: object) -> None:
    """No mask."""


def reused(words: np.ndarray, **_: object) -> None:
    """The same mask in every round."""
    add_masks(words, plus=[bytes(32)], minus=[])


class Gated:
    """An honest site that trains only when the test opens the gate of the round; `arrived` says that it is there."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == MessageType.TRAIN:
            self.arrived.release()
            if not self._open.acquire(timeout=120):
                raise TimeoutError("the test never opened the gate")
        return honest(message, context)

    def open(self, rounds: int = 1) -> None:
        """Let so many rounds pass."""
        for _ in range(rounds):
            self._open.release()
