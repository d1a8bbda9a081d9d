from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from secure_fl.data.images import MAX_FILE_BYTES
from secure_fl.data.stores import FolderStore
from secure_fl.errors import DataError

LayOut = Callable[[dict[str, bytes]], Path]


def read(store: FolderStore, name: str) -> bytes:
    return store.read([entry.name for entry in store.entries].index(name))


def test_a_folder_is_a_list_of_all_files_below_it(lay_out: LayOut) -> None:
    folder = lay_out({"a.txt": b"1", "b/c.png": b"22", "b/d/e.png": b"333"})
    store = FolderStore(folder)
    assert {(entry.name, entry.size_bytes) for entry in store.entries} == {
        ("a.txt", 1),
        ("b/c.png", 2),
        ("b/d/e.png", 3),
    }
    assert read(store, "b/d/e.png") == b"333"


def test_links_to_files_and_folders_are_followed_but_not_in_circles(lay_out: LayOut, tmp_path: Path) -> None:
    folder = lay_out({"cat/1.png": b"one"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"two")
    (folder / "dog").symlink_to(elsewhere)
    (folder / "cat" / "3.png").symlink_to(elsewhere / "2.png")
    (folder / "cat" / "loop").symlink_to(folder)
    store = FolderStore(folder)
    assert {entry.name for entry in store.entries} == {"cat/1.png", "dog/2.png", "cat/3.png"}
    assert read(store, "cat/3.png") == b"two"


def test_what_is_no_file_is_named_and_never_opened(lay_out: LayOut) -> None:
    folder = lay_out({"cat/1.png": b"one"})
    os.mkfifo(folder / "cat" / "pipe.png")  # to open it would wait for ever
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere")
    store = FolderStore(folder)
    with pytest.raises(DataError, match=r"pipe\.png is not a regular file"):
        read(store, "cat/pipe.png")
    with pytest.raises(DataError, match=r"gone\.png is a link that leads nowhere"):
        read(store, "cat/gone.png")


def test_a_file_that_changes_or_vanishes_is_an_error(lay_out: LayOut) -> None:
    folder = lay_out({"cat/1.png": b"one", "cat/2.png": b"two"})
    store = FolderStore(folder)
    (folder / "cat" / "1.png").write_bytes(b"longer than before")
    (folder / "cat" / "2.png").unlink()
    with pytest.raises(DataError, match=r"1\.png changed while it was read"):
        read(store, "cat/1.png")
    with pytest.raises(DataError, match=r"cannot read .*2\.png"):
        read(store, "cat/2.png")


def test_a_file_that_is_too_large_is_not_read(lay_out: LayOut) -> None:
    folder = lay_out({"cat/1.png": b"one"})
    with open(folder / "cat" / "1.png", "r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(DataError, match=r"1\.png is too large"):
        read(FolderStore(folder), "cat/1.png")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot list .*nowhere"):
        FolderStore(tmp_path / "nowhere")


def test_a_name_that_would_steer_the_terminal_is_shown_escaped(lay_out: LayOut) -> None:
    store = FolderStore(lay_out({"cat/\x1b[2J.png": b""}))
    assert store.label(0).endswith("cat/\\x1b[2J.png")
