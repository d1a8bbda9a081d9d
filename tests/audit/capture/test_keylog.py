"""audit/capture/keylog.py: strict reading, narrow writing, and what OpenSSL itself writes."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.keylog import KeyLogError, create_key_log, parse_key_log, read_key_log, wipe, write_key_log

RANDOM = bytes(range(32))
LINE = f"CLIENT_TRAFFIC_SECRET_0 {RANDOM.hex()} {'ab' * 48}\n"
SECRETS = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.dictionaries(
        st.sampled_from(["CLIENT_RANDOM", "SERVER_TRAFFIC_SECRET_0", "EXPORTER_SECRET"]),
        st.binary(min_size=1, max_size=64),
        min_size=1,
    ),
    max_size=4,
)


@given(SECRETS)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, secrets: dict) -> None:
    path = tmp_path_factory.mktemp("log") / "keys"
    write_key_log(path, secrets)
    assert read_key_log(path) == secrets


def test_comments_empty_lines_repetitions_and_foreign_line_ends_are_read() -> None:
    text = f"# made by hand\n\n{LINE}{LINE.strip()}\r\nCLIENT_RANDOM {RANDOM.hex()} 00ff"
    assert parse_key_log(text) == {RANDOM: {"CLIENT_TRAFFIC_SECRET_0": b"\xab" * 48, "CLIENT_RANDOM": b"\x00\xff"}}


@pytest.mark.parametrize(
    "line",
    [
        "RSA 1234",
        LINE.strip()[:-1],
        LINE.replace("ab", "xy", 1),
        " " + LINE,
        LINE.replace(" ", "  ", 1),
        LINE.replace(RANDOM.hex(), RANDOM.hex()[2:]),
        LINE.strip() + " ",
        f"CLIENT_RANDOM {RANDOM.hex()} ",
        f"CLIENT_RANDOM {RANDOM.hex()} {'00' * 129}",
        f"client_random {RANDOM.hex()} 00",
        f"CLIENT_RANDOM {RANDOM.hex()} \uff10\uff10",
    ],
)
def test_any_other_line_is_refused_by_its_number_without_showing_it(line: str) -> None:
    with pytest.raises(KeyLogError, match="line 3 ") as caught:
        parse_key_log(f"{LINE}# fine\n{line}\n")
    assert "abab" not in str(caught.value)


def test_two_secrets_for_one_session_are_refused() -> None:
    with pytest.raises(KeyLogError, match="line 2 gives a second CLIENT_TRAFFIC_SECRET_0"):
        parse_key_log(LINE + LINE.replace("ab", "ac"))


@given(st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    try:
        parse_key_log(text)
    except KeyLogError as error:
        assert str(error).startswith("line ")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"CLIENT\xff")
    with pytest.raises(KeyLogError, match="byte 6 is not ASCII"):
        read_key_log(tmp_path / "a")


def test_a_key_log_is_its_owners_only_whatever_the_umask_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    before = os.umask(0)
    try:
        create_key_log(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_key_log(path, {})


def test_openssl_writes_into_the_file_that_we_made_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    create_key_log(path)
    context = ssl.create_default_context()
    context.keylog_filename = str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_log(path) == {}


def test_wiping_overwrites_every_byte_before_the_name_goes(tmp_path: Path) -> None:
    path, second = tmp_path / "keys", tmp_path / "second name"
    path.write_text(LINE * 20_000)
    size = path.stat().st_size
    os.link(path, second)  # still shows the content once the first name is gone
    wipe(path)
    assert not path.exists()
    assert second.read_bytes() == bytes(size)


def test_wiping_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("keep me")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        wipe(tmp_path / "link")
    assert (tmp_path / "other").read_text() == "keep me"
