"""A site believes a roster by its signature alone."""

import shutil
from pathlib import Path

import pytest

from secure_fl.app.signed_roster import read_signed_roster
from secure_fl.errors import FederationError
from secure_fl.federation.pki import provision


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return provision(tmp_path / "federation", sites=2, hosts=[]).kit("site-0")


def test_a_signed_roster_is_read(kit):
    assert [entry.name for entry in read_signed_roster(kit / "roster.json").entries] == ["site-0", "site-1"]


def test_a_roster_with_one_changed_byte_is_refused(kit):
    path = kit / "roster.json"
    path.write_bytes(path.read_bytes().replace(b'"site-1"', b'"site-7"'))
    with pytest.raises(FederationError, match="not signed by the authority"):
        read_signed_roster(path)


def test_a_roster_of_another_authority_is_refused(kit, tmp_path):
    other = provision(tmp_path / "other", sites=3, hosts=[]).kit("site-0")
    for name in ("roster.json", "roster.sig"):
        shutil.copy(other / name, kit / name)
    with pytest.raises(FederationError, match="not signed by the authority"):
        read_signed_roster(kit / "roster.json")


@pytest.mark.parametrize("name", ["roster.json", "roster.sig", "ca.crt"])
def test_a_missing_file_is_named(kit, name):
    (kit / name).unlink()
    with pytest.raises(FederationError, match="cannot read the signed roster"):
        read_signed_roster(kit / "roster.json")
