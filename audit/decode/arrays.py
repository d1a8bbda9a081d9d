"""NumPy arrays out of npy bytes, without NumPy's loader: nothing is unpickled, and no header is believed.

The header has exactly the spelling that NumPy writes (format 1.0, numpy.lib.format): it is parsed by a pattern, written
anew, and compared. What it announces must be exactly what is there, so that it can neither ask for memory nor leave a
tail.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
from numpy.lib import format as npy

from audit.decode.handshake import Malformed

__all__ = ["MAX_ARRAY_BYTES", "array_of"]

MAX_ARRAY_BYTES = 256 << 20  # the largest model that we build has 36 MB
_MAX_HEADER_BYTES = 1024
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biuf][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,12}, ?)*(?:\d{1,12})?)\), \} *\n"
)


def array_of(data: bytearray) -> np.ndarray[Any, Any]:
    """The array in npy bytes, read-only and without a copy; raises `Malformed`."""
    size = int.from_bytes(data[8:10], "little")
    if len(data) < 10 or data[:8] != b"\x93NUMPY\x01\x00" or size > _MAX_HEADER_BYTES:
        raise Malformed("it does not begin as npy of version 1.0")
    header = _HEADER.fullmatch(data, 10, min(len(data), 10 + size))
    if not header:
        raise Malformed("its npy header is not one of plain numbers")
    try:
        dtype = np.dtype(header[1].decode())
    except TypeError:
        raise Malformed("its npy header names a type that does not exist") from None
    shape = tuple(int(each) for each in header[3].decode().split(",") if each.strip())
    fortran = header[2] == b"True"
    written = io.BytesIO()
    npy.write_array_header_1_0(written, {"descr": npy.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape})
    if written.getvalue() != data[: 10 + size]:
        raise Malformed("its npy header is not as NumPy writes it")
    if len(data) != 10 + size + math.prod(shape) * dtype.itemsize:
        raise Malformed("its npy header announces another size than is there")
    flat = np.frombuffer(data, dtype, offset=10 + size)
    flat.flags.writeable = False
    return flat.reshape(shape, order="F" if fortran else "C")
