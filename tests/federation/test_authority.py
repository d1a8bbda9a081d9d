"""The authority's key may be off-line; `test_pki.py` sees what that means for whole commands."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from secure_fl.app.signed_roster import is_signed
from secure_fl.errors import FederationError
from secure_fl.federation.authority import Authority

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_it_is_made_once_and_its_text_form_shows_no_key(tmp_path: Path) -> None:
    made, again = Authority.at(tmp_path, NOW), Authority.at(tmp_path, NOW)
    assert made.certificate == again.certificate and made.can_sign and again.can_sign
    assert is_signed(b"roster", made.sign(b"roster"), again.certificate)
    assert "PrivateKey" not in repr(made)


def test_without_its_key_it_signs_nothing_and_makes_none(tmp_path: Path) -> None:
    public = Authority.at(tmp_path, NOW).require("test").public_key()
    (tmp_path / "ca.key").unlink()
    authority = Authority.at(tmp_path, NOW)
    assert not authority.can_sign
    with pytest.raises(FederationError, match=r"ca\.key is needed to sign the roster"):
        authority.sign(b"roster")
    with pytest.raises(FederationError, match=r"ca\.key is needed to sign a certificate for site-0"):
        authority.issue("site-0", public, days=1, moment=NOW)
    assert [each.name for each in tmp_path.iterdir()] == ["ca.crt"]
