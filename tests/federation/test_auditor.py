"""The auditor's keys: made once, private, and told apart."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.federation.auditor import auditor_keys, read_opening_key, read_recipient, read_verifying_key


def test_keys_are_made_once_and_belong_together(tmp_path: Path) -> None:
    keys = auditor_keys(tmp_path / "auditor")
    again = auditor_keys(tmp_path / "auditor")
    assert again.signing_key.read_bytes() == keys.signing_key.read_bytes()
    assert read_opening_key(keys.opening_key).public_key() == read_recipient(keys.recipient)
    read_verifying_key(keys.verifying_key).verify(keys.signer().sign(b"report"), b"report")


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    keys = auditor_keys(tmp_path / "auditor")
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    for path in (keys.opening_key, keys.signing_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("read", [read_opening_key, read_recipient, read_verifying_key])
def test_a_missing_key_is_refused_with_the_command_that_makes_one(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="cannot read the key") as caught:
        read(tmp_path / "none.pub")
    assert "audit keys" in caught.value.fix


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    keys = auditor_keys(tmp_path / "auditor")
    with pytest.raises(IntegrityError, match="X25519 public"):
        read_recipient(keys.verifying_key)
    with pytest.raises(IntegrityError, match="Ed25519 public"):
        read_verifying_key(keys.recipient)
    with pytest.raises(IntegrityError, match="X25519 private"):
        read_opening_key(keys.signing_key)
    keys.signing_key.write_bytes(keys.opening_key.read_bytes())
    with pytest.raises(IntegrityError, match="Ed25519 private"):
        keys.signer()


def test_what_is_no_key_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.pub"
    path.write_bytes(b"not a key")
    for read in (read_opening_key, read_recipient, read_verifying_key):
        with pytest.raises(IntegrityError):
            read(path)
