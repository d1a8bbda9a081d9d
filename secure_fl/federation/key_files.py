"""Files that hold keys: whole or not there at all, and readable by others only if they may be."""

from __future__ import annotations

import os
from pathlib import Path

from secure_fl.errors import FederationError

__all__ = ["private_folder", "write_durably", "write_private"]


def write_private(path: Path, content: bytes) -> None:
    """Write a secret: created 0600 under another name, then moved into place."""
    write_durably(path, content, mode=0o600)


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Write under another name, created with `mode`, flushed to the disk, then moved into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter, or take those rights away from an existing one."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise FederationError(f"cannot make the key folder {folder}", why=error.strerror or str(error)) from None
