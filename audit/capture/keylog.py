"""NSS key logs: the secrets that open recorded TLS sessions, as Python's `ssl` and every browser write them.

    CLIENT_TRAFFIC_SECRET_0 <client random, 32 bytes in hex> <secret in hex>

Whoever holds such a file can read the sessions for ever. So it exists only while a run is audited, is readable by its
owner only from its first byte on, goes into the bundle encrypted to the auditor (`audit/capture/sealing.py`), and is
wiped. Format: draft-ietf-tls-keylogfile; a line that departs from it is refused, because a secret that is passed over
in silence is a session that nobody can check.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["KeyLogError", "Secrets", "create_key_log", "parse_key_log", "read_key_log", "wipe", "write_key_log"]

# By client random, then by label: "CLIENT_TRAFFIC_SECRET_0" of TLS 1.3, "CLIENT_RANDOM" (the master secret) of TLS 1.2.
Secrets = Mapping[bytes, Mapping[str, bytes]]

_LINE = re.compile(r"([A-Z][A-Z0-9_]*) ([0-9a-fA-F]{64}) ((?:[0-9a-fA-F]{2}){1,128})")
_WIPE_BYTES = 1 << 20


class KeyLogError(Exception):
    """A text that is no key log; says which line and why, and never shows a secret."""


def parse_key_log(text: str) -> dict[bytes, dict[str, bytes]]:
    """The secrets in a key log; comments and empty lines are passed over.

    Raises `KeyLogError` for any other line, and for two different secrets under one random and label.
    """
    secrets: dict[bytes, dict[str, bytes]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise KeyLogError(f"line {number} is not LABEL, 64 hexadecimal digits, secret")
        label, random, secret = match[1], bytes.fromhex(match[2]), bytes.fromhex(match[3])
        if secrets.setdefault(random, {}).setdefault(label, secret) != secret:
            raise KeyLogError(f"line {number} gives a second {label} for one session")
    return secrets


def read_key_log(path: Path) -> dict[bytes, dict[str, bytes]]:
    """`parse_key_log` of a file; raises `KeyLogError` also if it is no ASCII text, `OSError` as usual."""
    try:
        return parse_key_log(path.read_bytes().decode("ascii"))
    except UnicodeDecodeError as error:
        raise KeyLogError(f"byte {error.start} is not ASCII") from None


def create_key_log(path: Path) -> None:
    """Make an empty key log that only its owner may read, for `ssl.SSLContext.keylog_filename`.

    OpenSSL appends to it and would otherwise create it readable by all. Raises `FileExistsError` if it is there.
    """
    write_key_log(path, {})


def write_key_log(path: Path, secrets: Secrets) -> None:
    """Write a key log that only its owner may read; raises `FileExistsError` if it is there."""
    lines = [
        f"{label} {random.hex()} {secret.hex()}\n" for random, each in secrets.items() for label, secret in each.items()
    ]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as stream:
        stream.writelines(lines)


def wipe(path: Path) -> None:
    """Overwrite a file with zeros, write that through to the disk, and remove it.

    What this cannot promise: journals, snapshots, copy-on-write file systems and the spare blocks of an SSD may keep
    the old content, and copies that others made stay. Keep key logs on tmpfs, where the overwrite is the whole truth.
    Raises `OSError`; a symbolic link is refused, not followed.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        left = os.fstat(descriptor).st_size
        while left > 0:
            left -= stream.write(bytes(min(left, _WIPE_BYTES)))
        os.fsync(descriptor)
    path.unlink()
