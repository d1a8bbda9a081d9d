"""Bytes that claim to be an array: what fits is decoded, what lies is refused before anything is allocated."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from defenses.guard import Reason, Refusal
from secure_fl.app.untrusted import decoded, unreadable, unusable
from tests.app.conftest import ScriptedGrid

SIZE = 50


def stored(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def announced(shape: tuple[int, ...], descr: str = "<f4", content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i8", "<c16"])
def test_an_array_of_any_numeric_type_arrives_so_that_its_type_can_be_judged(dtype: str) -> None:
    array = np.arange(SIZE).astype(dtype)
    arrived = decoded(stored(array), SIZE)
    np.testing.assert_array_equal(arrived, array, strict=True)
    assert isinstance(arrived, np.ndarray) and arrived.flags.writeable


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("u.npy", bytes(10**6))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (announced((10**15,)), Reason.MALFORMED),
        (announced((2**62, 2**62)), Reason.MALFORMED),
        (announced((-1,), content=bytes(4)), Reason.MALFORMED),
        (announced((SIZE,), content=bytes(4 * SIZE - 1)), Reason.MALFORMED),
        (announced((1,), "|O", bytes(8)), Reason.MALFORMED),
        (archive(), Reason.MALFORMED),
        (b"", Reason.MALFORMED),
        (b"\x93NUMPY\x01\x00\xff\xff", Reason.MALFORMED),
        (stored(np.zeros(SIZE, np.float32)).replace(b"NUMPY\x01", b"NUMPY\x02"), Reason.MALFORMED),
        (stored(np.zeros(100 * SIZE)), Reason.TOO_LARGE),
    ],
)
def test_bytes_that_lie_are_refused_and_cost_no_memory(data: bytes, reason: Reason) -> None:
    tracemalloc.start()
    try:
        refusal = decoded(data, SIZE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(refusal, Refusal) and refusal.reason is reason
    assert peak < 200_000


def test_what_a_grid_says_of_a_reply_that_it_could_not_put_together_is_understood() -> None:
    ScriptedGrid()  # gives this process the identity that Flower's messages need
    asked = Message(RecordDict(), dst_node_id=7, message_type="train")
    asked.metadata.__dict__["_message_id"] = "m1"

    def said(text: str) -> Refusal | None:
        return unreadable(Message(Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason=text), reply_to=asked))

    assert said(f"Failed to pull: {unusable(Reason.TOO_LARGE, 'it comes to 9 bytes')}") == Refusal(
        Reason.TOO_LARGE, "it comes to 9 bytes"
    )
    assert said("timeout or retry limit reached") is None
    assert said("[not-finite] an invented word") is None
