"""Zip archives, and the choice of a store for a path.

The zip directory is at the end of the file, so listing is quick. `zipfile` verifies each member's CRC-32
as it is read; a member may not unpack to more than its directory entry says, nor to more than the gate reads.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from secure_fl.data.names import printable
from secure_fl.data.stores import Entry, FolderStore, Store
from secure_fl.data.tar import TarStore
from secure_fl.errors import DataError

__all__ = ["ARCHIVE_SUFFIXES", "ZipStore", "open_store"]

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_ENCRYPTED = 0x1
# Everything that zipfile is known to raise on a damaged archive, or one made in a way that it does not know.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class ZipStore(Store):
    """The files of one `.zip`; the archive stays open as long as this object lives."""

    def __init__(self, location: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(location)
        except _DAMAGED as error:
            raise DataError(f"{location} is not a zip archive, or is truncated", why=printable(str(error))) from error
        except OSError as error:
            raise DataError(f"cannot read {location}", why=error.strerror or str(error)) from error
        latest = {each.filename: each for each in self._archive.infolist() if not each.is_dir()}  # one name, one file
        super().__init__(location, [_entry(each) for each in latest.values()])

    def label(self, index: int) -> str:
        return f"{self.location}:{printable(self.entries[index].name)}"

    def _read(self, entry: Entry) -> bytes:
        try:
            with self._archive.open(entry.name) as member:
                return member.read(entry.size_bytes + 1)
        except _DAMAGED as error:
            raise DataError(
                f"{self.location}:{printable(entry.name)} is truncated or damaged", why=printable(str(error))
            ) from error


def open_store(path: Path) -> Store:
    """The store for a folder or archive, by what the path is and how it ends.

    Raises:
        DataError: neither a folder nor an archive of a kind we read, or a damaged one.
    """
    if path.is_dir():
        return FolderStore(path)
    name = path.name.lower()
    if name.endswith(".zip"):
        return ZipStore(path)
    if name.endswith(ARCHIVE_SUFFIXES):
        return TarStore(path)
    raise DataError(
        f"{path} is neither a folder nor an archive",
        fix=f"give a folder with one subfolder a class, an archive of one ({', '.join(ARCHIVE_SUFFIXES)}), or a .npz",
    )


def _entry(info: zipfile.ZipInfo) -> Entry:
    problem = "is encrypted" if info.flag_bits & _ENCRYPTED else ""
    mode = info.external_attr >> 16
    if mode and stat.S_ISLNK(mode):
        problem = "is a symbolic link"
    return Entry(info.filename, info.file_size, problem=problem)
