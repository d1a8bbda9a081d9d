"""Bytes from a site on their way to an array: nothing is allocated that did not arrive.

`numpy.load` believes the header of a file, and a hundred bytes that announce a terabyte would end the coordinator with
a MemoryError; it also opens archives. Here the size is judged before a byte is looked at, the header is held against
the bytes behind it, and only then is an array made. Whole messages are bounded one storey below, where the network is
(`federation.inflation`, `federation.gate`); what that storey finds, it says in the words of `unusable`.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
from flwr.app import Message

from defenses.guard import Reason, Refusal

__all__ = ["decoded", "unreadable", "unusable"]

# What is looked at: arrays of the right length in any numeric type, so that a wrong type is called one.
_WIDEST_BYTES, _HEADER_BYTES = 16, 4096
_UNUSABLE = re.compile(rf"\[(?P<reason>{Reason.TOO_LARGE}|{Reason.MALFORMED})\] (?P<detail>.*)", re.DOTALL)


def decoded(data: bytes, size: int) -> np.ndarray[Any, Any] | Refusal:
    """The array of any type and shape in these bytes of a `.npy` file, where about `size` numbers are expected."""
    limit = _WIDEST_BYTES * size + _HEADER_BYTES
    if len(data) > limit:
        return Refusal(Reason.TOO_LARGE, f"an array of {len(data)} bytes; up to {limit} are looked at")
    try:
        return _array(data)
    except (ValueError, TypeError, EOFError, OSError, SyntaxError, OverflowError) as error:
        return Refusal(Reason.MALFORMED, f"the array cannot be decoded: {error}")


def unusable(reason: Reason, detail: str) -> str:
    """The text of the error reply that a grid makes of a site's reply which must not be put together."""
    return f"[{reason}] {detail}"


def unreadable(message: Message) -> Refusal | None:
    """What `unusable` said, or None for an error reply that stands for no reply at all."""
    found = _UNUSABLE.search(message.error.reason or "")
    return Refusal(Reason(found["reason"]), found["detail"]) if found else None


def _array(data: bytes) -> np.ndarray[Any, Any]:
    """Raises ValueError and its kin: another format, objects, or a header that does not fit the bytes behind it."""
    stream = io.BytesIO(data)
    if (version := np.lib.format.read_magic(stream)) != (1, 0):
        raise ValueError(f"format version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    claimed, brought = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if dtype.hasobject or fortran or min(shape, default=0) < 0 or claimed != brought:
        raise ValueError(f"it announces {shape} of {dtype}, {claimed} bytes, and brings {brought}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()
