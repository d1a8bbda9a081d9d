from __future__ import annotations

import contextlib
import gc
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_fl.data import tar
from secure_fl.data.tar import TarStore
from secure_fl.errors import DataError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
Pack = Callable[..., Path]

AWKWARD = {
    "a.png": b"",
    "cat/1.png": b"x" * 511,
    "cat/2.png": b"y" * 512,
    "dog/3.png": b"z" * 513,
    "Müller/猫 1.png": b"unicode",
    f"{'long' * 20}/{'name' * 20}.png": b"over 100 bytes",
}
VERY_LONG = {f"{'folder/' * 60}{'n' * 200}.png": b"over 256 bytes", "cat/after.png": b"the next one is found too"}


def contents(path: Path) -> dict[str, bytes]:
    store = TarStore(path)
    return {entry.name: store.read(index) for index, entry in enumerate(store.entries)}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        contents(path)
    assert str(path) in caught.value.what
    return str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tgz"])
def test_members_are_read_as_python_wrote_them(pack: Pack, format: str, name: str) -> None:
    assert contents(pack(AWKWARD, name, FORMATS[format])) == AWKWARD


@pytest.mark.parametrize("format", ["gnu", "pax"])  # ustar has no room for such names
def test_very_long_names_are_understood(pack: Pack, format: str) -> None:
    assert contents(pack(VERY_LONG, format=FORMATS[format])) == VERY_LONG


names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1, max_size=120)
trees = st.dictionaries(names.map(lambda name: f"d/{name}.x"), st.binary(max_size=1500), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=trees, format=st.sampled_from(["gnu", "pax"]))
def test_any_names_and_contents_come_back(pack: Pack, files: dict[str, bytes], format: str) -> None:
    assert contents(pack(files, format=FORMATS[format])) == files


def test_folders_are_left_out_and_a_later_member_replaces_an_earlier(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("cat")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for content in (b"first", b"second"):
            info = tarfile.TarInfo("cat/1.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert contents(path) == {"cat/1.png": b"second"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_listed_but_never_followed(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("cat/1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
        info = tarfile.TarInfo("cat/2.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"two"))
    store = TarStore(path)
    assert store.read(1) == b"two"
    with pytest.raises(DataError, match="is a link or a device"):
        store.read(0)


def test_the_size_of_a_member_over_8_gib_is_understood() -> None:
    info = tarfile.TarInfo("big")
    info.size = 2**33
    for format in (tarfile.GNU_FORMAT,):
        header = info.tobuf(format)
        entry, _ = tar._parsed(header, 0, Path("x"))
        assert entry.size_bytes == 2**33


def test_a_global_header_as_git_writes_it_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", pax_headers={"comment": "0" * 40}) as archive:
        info = tarfile.TarInfo("cat/1.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
    assert contents(path) == {"cat/1.png": b"one"}


# --- damage


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_truncated_archive_is_refused(pack: Pack, name: str, keep: float) -> None:
    path = pack({f"cat/{number}.png": os.urandom(700) for number in range(10)}, name)
    used = sum(512 + 1024 for _ in range(10)) if name == "x.tar" else path.stat().st_size
    os.truncate(path, int(keep * used))
    message = refusal(path)
    assert "truncated or damaged" in message or "is damaged" in message


def test_an_archive_cut_between_two_members_is_refused(pack: Pack) -> None:
    path = pack({"cat/1.png": b"one", "cat/2.png": b"two"})
    os.truncate(path, 1024)
    assert "without an end marker" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 4096])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    assert "is not a tar archive" in refusal(path) or "without an end marker" in refusal(path)


def test_a_flipped_bit_in_a_header_is_found_by_its_checksum(pack: Pack) -> None:
    path = pack({"cat/1.png": b"one", "cat/2.png": b"two"})
    data = bytearray(path.read_bytes())
    data[1024 + 130] ^= 1  # in the size of the second member
    path.write_bytes(data)
    assert "is damaged" in refusal(path)


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cat/1.png")
    info.size = 10**9
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    assert "ends within cat/1.png" in refusal(path)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"12 size=abc\n", "bad size"),
        (b"11 size=-5\n", "bad size"),
        (b"99 path=x\n", "bad extended header"),
        (b"nonsense", "bad extended header"),
        (b"0 x=y\n", "bad extended header"),
    ],
)
def test_a_bad_extended_header_is_refused(tmp_path: Path, body: bytes, complaint: str) -> None:
    extended, member = tarfile.TarInfo("x"), tarfile.TarInfo("cat/1.png")
    extended.type, extended.size = tarfile.XHDTYPE, len(body)
    padded = body + bytes(-len(body) % 512)
    path = tmp_path / "x.tar"
    path.write_bytes(extended.tobuf() + padded + member.tobuf() + bytes(1024))
    assert complaint in refusal(path)


def test_an_extended_header_of_absurd_length_is_refused(tmp_path: Path) -> None:
    extended = tarfile.TarInfo("x")
    extended.type, extended.size = tarfile.XHDTYPE, 2**30
    path = tmp_path / "x.tar"
    path.write_bytes(extended.tobuf() + bytes(1024))
    assert "claims 1,073,741,824 bytes" in refusal(path)


@pytest.mark.parametrize("sparse", ["gnu", "pax"])
def test_sparse_files_are_refused(tmp_path: Path, sparse: str) -> None:
    member, path = tarfile.TarInfo("cat/1.png"), tmp_path / "x.tar"
    if sparse == "gnu":
        member.type = tarfile.GNUTYPE_SPARSE
        path.write_bytes(member.tobuf() + bytes(1024))
    else:
        member.pax_headers = {"GNU.sparse.major": "1"}
        path.write_bytes(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    assert "sparse file" in refusal(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack({"cat/1.png": bytes(10 * 2**20)}, "x.tar.gz")
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(tar, "MAX_UNPACKED_BYTES", 2**20)
    assert "unpacks to more than" in refusal(path)


SOUND = [pack_format for pack_format in FORMATS]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(at=st.integers(0, 4095), value=st.integers(0, 255), format=st.sampled_from(SOUND))
def test_whatever_byte_is_wrong_there_is_content_or_a_data_error(pack: Pack, at: int, value: int, format: str) -> None:
    path = pack({"cat/1.png": b"one", f"{'l' * 90}/2.png": b"two"}, format=FORMATS[format])
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        contents(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path / "nowhere.tar")


def test_the_archive_is_closed_with_its_last_user(pack: Pack) -> None:
    path = pack({"cat/1.png": b"one"})
    store = TarStore(path)
    descriptor = store._descriptor
    del store
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
