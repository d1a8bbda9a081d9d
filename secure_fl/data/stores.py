"""Where image files lie: a folder or an archive, seen as one flat list of names that can be read.

Nothing is ever extracted: a member of an archive is read into memory and decoded there, so a member
called `../../etc/passwd` is a strange name and no more. Links and devices inside an archive are not
followed; they stay in the list as entries with a `problem`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from secure_fl.data.images import MAX_FILE_BYTES
from secure_fl.data.names import printable
from secure_fl.errors import DataError

__all__ = ["Entry", "FolderStore", "Store"]


class Entry(NamedTuple):
    """One file: its name with `/` between the parts, its size, where its bytes begin (if that is known),
    and what speaks against reading it. (A tuple, because archives have tens of thousands.)"""

    name: str
    size_bytes: int
    offset: int = 0
    problem: str = ""


class Store(ABC):
    """Files that can be read one by one, in any order; they are listed in no particular one."""

    def __init__(self, location: Path, entries: list[Entry]) -> None:
        self.location = location
        self.entries = entries

    def read(self, index: int) -> bytes:
        """All bytes of one file.

        Raises:
            DataError: too large, not a regular file, or not readable; the message names it.
        """
        entry = self.entries[index]
        if entry.problem:
            raise DataError(f"{self.label(index)} {entry.problem}")
        if entry.size_bytes > MAX_FILE_BYTES:
            raise DataError(
                f"{self.label(index)} is too large",
                why=f"{entry.size_bytes:,} bytes, and at most {MAX_FILE_BYTES:,} are read",
            )
        try:
            data = self._read(entry)
        except OSError as error:
            raise DataError(f"cannot read {self.label(index)}", why=error.strerror or str(error)) from error
        if len(data) != entry.size_bytes:
            raise DataError(f"{self.label(index)} changed while it was read")
        return data

    @abstractmethod
    def label(self, index: int) -> str:
        """What to call a file in a message."""

    @abstractmethod
    def _read(self, entry: Entry) -> bytes: ...


class FolderStore(Store):
    """A folder and all folders below it; links to files and folders are followed, loops are not."""

    def __init__(self, location: Path) -> None:
        try:
            entries = list(_walk(location, "", frozenset()))
        except OSError as error:
            raise DataError(f"cannot list {error.filename or location}", why=error.strerror or str(error)) from error
        super().__init__(location, entries)

    def label(self, index: int) -> str:
        return printable(str(self.location / self.entries[index].name))

    def _read(self, entry: Entry) -> bytes:
        with open(self.location / entry.name, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link back up
        return
    with os.scandir(folder) as found:
        for each in found:
            name = prefix + each.name
            if each.is_dir():
                yield from _walk(folder / each.name, name + "/", above | {identity})
            elif each.is_file():
                yield Entry(name, each.stat().st_size)
            elif each.is_symlink():
                yield Entry(name, 0, problem="is a link that leads nowhere")
            else:  # opening a pipe would wait for ever
                yield Entry(name, 0, problem="is not a regular file")
