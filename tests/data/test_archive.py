from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_fl.data.archive import ZipStore, open_store
from secure_fl.data.images import MAX_FILE_BYTES
from secure_fl.data.stores import FolderStore
from secure_fl.data.tar import TarStore
from secure_fl.errors import DataError

Pack = Callable[..., Path]
FILES = {"cat/1.png": b"one", "dog/Müller 2.png": b"two" * 1000}


def contents(path: Path) -> dict[str, bytes]:
    store = ZipStore(path)
    return {entry.name: store.read(index) for index, entry in enumerate(store.entries)}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        contents(path)
    assert str(path) in caught.value.what
    return str(caught.value)


def test_members_are_read_as_python_wrote_them(pack: Pack) -> None:
    assert contents(pack(FILES, "x.zip")) == FILES


def test_folders_are_left_out_and_a_later_member_replaces_an_earlier(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/", b"")
        archive.writestr("cat/1.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/1.png", b"second one")
    assert contents(path) == {"cat/1.png": b"second one"}


def test_a_truncated_or_wrong_file_is_refused(pack: Pack, tmp_path: Path) -> None:
    path = pack(FILES, "x.zip")
    os.truncate(path, path.stat().st_size // 2)
    assert "is not a zip archive, or is truncated" in refusal(path)
    path.write_bytes(b"hello")
    assert "is not a zip archive" in refusal(path)
    assert "cannot read" in refusal(tmp_path / "nowhere.zip")


def test_a_member_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("cat/1.png", b"A" * 100)
    data = path.read_bytes().replace(b"A" * 100, b"A" * 99 + b"B")
    path.write_bytes(data)
    assert "x.zip:cat/1.png is truncated or damaged" in refusal(path)


def test_a_member_that_unpacks_to_too_much_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("cat/bomb.png", "w") as member:
        for _ in range(MAX_FILE_BYTES // 2**20 + 1):
            member.write(bytes(2**20))
    assert path.stat().st_size < 100_000
    assert "bomb.png is too large" in refusal(path)


@pytest.mark.parametrize("mark", ["link", "encrypted"])
def test_links_and_encrypted_members_are_refused(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "x.zip"
    info = zipfile.ZipInfo("cat/1.png")
    if mark == "link":
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    if mark == "encrypted":
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
        path.write_bytes(data)
    assert ("is a symbolic link" if mark == "link" else "is encrypted") in refusal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_whatever_byte_is_wrong_there_is_content_or_a_data_error(pack: Pack, share: float, value: int) -> None:
    path = pack(FILES, "x.zip")
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] = value
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        contents(path)


def test_the_store_follows_from_the_path(pack: Pack, lay_out: Callable[[dict[str, bytes]], Path]) -> None:
    assert isinstance(open_store(lay_out(FILES)), FolderStore)
    assert isinstance(open_store(pack(FILES, "x.zip")), ZipStore)
    for name in ("x.tar", "x.TAR", "x.tar.gz", "x.tgz"):
        assert isinstance(open_store(pack(FILES, name)), TarStore)


def test_another_kind_of_file_is_refused_with_what_would_do(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"cat\.png is neither a folder nor an archive") as caught:
        open_store(tmp_path / "cat.png")
    assert ".tar.gz" in caught.value.fix and ".npz" in caught.value.fix
