"""Files that are either whole or absent, whatever happens while they are written.

The data goes to a hidden `.NAME.PID-N.partial` beside the target, is flushed to the disk, and takes
the target's name in one rename; then the folder is flushed, so that the name survives a power cut
too. A crash leaves at most a partial file, which the next write of the same name sweeps away.

Files are created 0644 and folders 0755, or closer if the user's umask asks for it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from secure_fl.errors import SecureFLError

__all__ = ["file_sha256", "flush_folder", "write_atomic", "writing"]

FILE_MODE = 0o644
_serial = itertools.count()


def write_atomic(path: Path, data: bytes) -> str:
    """Write `data` to `path` all at once; returns the SHA-256 of the data in hex.

    Raises:
        SecureFLError: the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.partial")
    with writing(path):
        _sweep(path)
        try:
            with open(partial, "wb", opener=_open_file) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def flush_folder(folder: Path) -> None:
    """Make new names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hex; raises FileNotFoundError when there is none."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into one of ours."""
    try:
        yield
    except OSError as error:
        raise SecureFLError(
            f"cannot write {path}",
            why=error.strerror or str(error),
            fix="check the free space and who may write in that folder; finished rounds are safe",
        ) from error


def _open_file(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, FILE_MODE)


def _sweep(path: Path) -> None:
    """Remove partial files of `path` whose writer is gone."""
    for partial in path.parent.glob(f".{path.name}.*-*.partial"):
        pid = partial.name.removesuffix(".partial").rpartition(".")[2].partition("-")[0]
        if pid.isdecimal() and not _exists(int(pid)):
            with suppress(FileNotFoundError):
                partial.unlink()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
