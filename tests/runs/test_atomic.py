from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from secure_fl.errors import SecureFLError
from secure_fl.runs.atomic import file_sha256, write_atomic


def test_a_file_is_written_whole_with_its_hash_returned(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert write_atomic(path, b"first") == hashlib.sha256(b"first").hexdigest()
    assert write_atomic(path, b"second") == file_sha256(path)
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_file_is_never_open_to_writers_other_than_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomic(tmp_path / "a.bin", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SecureFLError, match=r"cannot write .*a\.bin \(No space left on device\)"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_folder_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(SecureFLError, match=r"cannot write .*a\.bin"):
        write_atomic(tmp_path / "a.bin", b"")


def test_what_a_dead_writer_left_is_swept_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(timeout=60)
    stale = tmp_path / f".a.bin.{dead.pid}-0.partial"
    live = tmp_path / f".a.bin.{os.getpid()}-999999.partial"
    other = tmp_path / f".ab.bin.{dead.pid}-0.partial"
    for each in (stale, live, other):
        each.write_bytes(b"half")
    write_atomic(tmp_path / "a.bin", b"whole")
    assert (stale.exists(), live.exists(), other.exists()) == (False, True, True)


def test_no_file_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")
