import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from secure_fl.app.identity import Roster
from secure_fl.app.signed_roster import read_signed_roster
from secure_fl.errors import FederationError
from secure_fl.federation.pki import CA_DAYS, LEAF_DAYS, RENEW_DAYS, provision, revoke, write_private

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PRIVATE = ("ca.key", "server.key", "tls.key", "node.key", "identity.key")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "federation"


def test_first_use_makes_an_authority_a_server_and_a_kit_for_each_site(folder):
    keys = provision(folder, sites=2, hosts=["fl.example.org"], now=NOW)
    ca = certificate(keys.ca_certificate)
    for leaf in (keys.server_certificate, keys.kit("site-0") / "tls.crt", keys.kit("site-1") / "tls.crt"):
        certificate(leaf).verify_directly_issued_by(ca)
    names = certificate(keys.server_certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "fl.example.org"}
    assert [entry.name for entry in keys.roster.entries] == ["site-0", "site-1"]
    assert Roster.read(keys.roster_file) == keys.roster


def test_every_private_key_and_folder_is_for_the_owner_only(folder):
    provision(folder, sites=2, hosts=[], now=NOW)
    keys = [path for path in folder.rglob("*.key")]
    assert {path.name for path in keys} == set(PRIVATE)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in folders)


def test_the_roster_and_the_certificates_hold_no_private_key(folder):
    provision(folder, sites=2, hosts=[], now=NOW)
    secrets = [b"".join(path.read_bytes().splitlines()[1:-1])[:40] for path in folder.rglob("*.key")]
    public = b"".join(path.read_bytes() for path in folder.rglob("*") if path.suffix in (".crt", ".json", ".pub"))
    assert secrets and not any(secret in public.replace(b"\n", b"") for secret in secrets)
    assert b"PRIVATE" not in public


def test_provisioning_again_changes_nothing(folder):
    provision(folder, sites=2, hosts=[], now=NOW)
    before = contents(folder)
    provision(folder, sites=2, hosts=[], now=NOW)
    assert contents(folder) == before


def test_more_sites_are_added_and_the_old_ones_keep_their_identity(folder):
    two = provision(folder, sites=2, hosts=[], now=NOW).roster
    four = provision(folder, sites=4, hosts=[], now=NOW).roster
    assert four.entries[:2] == two.entries and len(four.entries) == 4
    assert provision(folder, sites=1, hosts=[], now=NOW).roster == four


def test_a_leaf_that_is_about_to_expire_is_renewed_with_the_same_key(folder):
    keys = provision(folder, sites=1, hosts=[], now=NOW)
    tls = keys.kit("site-0") / "tls.crt"
    old = certificate(tls)
    not_yet = NOW + datetime.timedelta(days=LEAF_DAYS - RENEW_DAYS - 1)
    provision(folder, sites=1, hosts=[], now=not_yet)
    assert certificate(tls) == old
    provision(folder, sites=1, hosts=[], now=not_yet + datetime.timedelta(days=2))
    new = certificate(tls)
    assert new != old and new.public_key() == old.public_key()


def test_a_new_host_name_is_added_to_those_that_the_server_had(folder):
    provision(folder, sites=1, hosts=["a.example.org"], now=NOW)
    keys = provision(folder, sites=1, hosts=["b.example.org", "10.0.0.1"], now=NOW)
    names = certificate(keys.server_certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"a.example.org", "b.example.org"} <= set(names.get_values_for_type(x509.DNSName))
    assert "10.0.0.1" in {str(each) for each in names.get_values_for_type(x509.IPAddress)}


def test_leaves_of_a_replaced_authority_are_issued_anew(folder):
    provision(folder, sites=1, hosts=[], now=NOW)
    (folder / "ca.key").unlink()
    (folder / "ca.crt").unlink()
    keys = provision(folder, sites=1, hosts=[], now=NOW)
    certificate(keys.kit("site-0") / "tls.crt").verify_directly_issued_by(certificate(keys.ca_certificate))


def test_an_expired_authority_is_refused_with_the_way_out(folder):
    provision(folder, sites=1, hosts=[], now=NOW)
    with pytest.raises(FederationError, match="authority expired") as caught:
        provision(folder, sites=1, hosts=[], now=NOW + datetime.timedelta(days=CA_DAYS + 1))
    assert "provision anew" in caught.value.fix


@pytest.mark.parametrize("name", ["ca.key", "server.key", "sites/site-0/node.key", "sites/site-0/identity.key"])
def test_a_damaged_key_is_refused_by_name_and_never_overwritten(folder, name):
    provision(folder, sites=1, hosts=[], now=NOW)
    (folder / name).write_bytes(b"damaged")
    with pytest.raises(FederationError, match=Path(name).name):
        provision(folder, sites=1, hosts=[], now=NOW)
    assert (folder / name).read_bytes() == b"damaged"


def test_a_damaged_certificate_is_refused_by_name(folder):
    provision(folder, sites=1, hosts=[], now=NOW)
    (folder / "server.crt").write_bytes(b"damaged")
    with pytest.raises(FederationError, match=r"server\.crt"):
        provision(folder, sites=1, hosts=[], now=NOW)


def test_a_folder_that_cannot_be_made_is_an_error_and_not_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FederationError, match="cannot make the key folder"):
        provision(tmp_path / "file" / "federation", sites=1, hosts=[], now=NOW)


def test_a_secret_is_never_readable_by_others_even_if_the_file_was(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_site_is_not_admitted_again_by_provisioning(folder):
    provision(folder, sites=2, hosts=[], now=NOW)
    revoke(folder, "site-1")
    roster = provision(folder, sites=3, hosts=[], now=NOW).roster
    assert [entry.name for entry in roster.first(3).entries] == ["site-0", "site-2"]


def test_revoking_needs_a_roster(folder):
    with pytest.raises(FederationError, match=r"roster\.json"):
        revoke(folder, "site-0")


def test_every_kit_holds_the_roster_signed_by_the_authority(folder):
    keys = provision(folder, sites=2, hosts=[], now=NOW)
    assert [read_signed_roster(keys.kit(name) / "roster.json") for name in ("site-0", "site-1")] == [keys.roster] * 2
    provision(folder, sites=3, hosts=[], now=NOW)
    assert len(read_signed_roster(keys.kit("site-0") / "roster.json").entries) == 3
    revoke(folder, "site-2")
    revoked = read_signed_roster(keys.kit("site-1") / "roster.json").by_name("site-2")
    assert revoked is not None and revoked.revoked


def test_a_roster_is_not_signed_with_a_key_that_is_not_the_authoritys(folder):
    provision(folder, sites=1, hosts=[], now=NOW)
    (folder / "ca.key").unlink()  # kept off-line, as it should be
    provision(folder, sites=1, hosts=[], now=NOW)
    with pytest.raises(FederationError, match="cannot be signed"):
        provision(folder, sites=2, hosts=[], now=NOW)
