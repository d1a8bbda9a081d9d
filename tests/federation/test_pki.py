import datetime
import logging
import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509

from secure_fl.app.identity import Roster
from secure_fl.app.signed_roster import read_signed_roster
from secure_fl.errors import FederationError
from secure_fl.federation.authority import CA_DAYS
from secure_fl.federation.certificates import RENEW_DAYS
from secure_fl.federation.key_files import write_private
from secure_fl.federation.pki import FIRST_SITES, LEAF_DAYS, FederationKeys, absent_kits, provision, revoke

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


def test_the_roster_is_signed_where_no_kit_is_left(folder):
    keys = provision(folder, sites=2, hosts=[], now=NOW)
    shutil.rmtree(folder / "sites")
    assert read_signed_roster(keys.roster_file) == keys.roster
    revoked = revoke(folder, "site-1")
    assert read_signed_roster(keys.roster_file) == revoked != keys.roster


def keys_of(keys: FederationKeys, site: str) -> set[str]:
    entry = keys.roster.by_name(site)
    return {entry.identity_key, entry.node_key, entry.certificate_sha256}


def test_a_site_whose_kit_went_to_it_keeps_its_entry_and_only_new_sites_get_a_kit(folder):
    two = provision(folder, sites=2, hosts=[], now=NOW)
    shutil.rmtree(two.kit("site-0"))
    for name in ("tls.key", "node.key", "identity.key"):
        (two.kit("site-1") / name).unlink()  # the logs and certificates that are left make no kit
    left = contents(two.kit("site-1"))
    four = provision(folder, sites=4, hosts=[], now=NOW)
    assert four.roster.entries[:2] == two.roster.entries
    assert not four.kit("site-0").exists() and contents(four.kit("site-1")) == left
    assert [entry.name for entry in absent_kits(folder)] == ["site-0", "site-1"]
    assert read_signed_roster(four.kit("site-3") / "roster.json") == four.roster


def test_a_new_kit_takes_the_place_of_a_lost_one_and_nothing_of_that_is_admitted(folder):
    before = provision(folder, sites=3, hosts=[], now=NOW)
    shutil.move(before.kit("site-1"), folder.parent / "lost")
    shutil.rmtree(before.kit("site-2"))
    after = provision(folder, sites=0, hosts=[], new_kits=["site-1", "site-1"], now=NOW)
    assert keys_of(after, "site-1").isdisjoint(keys_of(before, "site-1"))
    assert [keys_of(after, site) for site in ("site-0", "site-2")] == [
        keys_of(before, site) for site in ("site-0", "site-2")
    ]
    assert [entry.index for entry in after.roster.entries] == [0, 1, 2]
    assert read_signed_roster(after.kit("site-1") / "roster.json") == after.roster
    certificate(after.kit("site-1") / "tls.crt").verify_directly_issued_by(certificate(after.ca_certificate))
    # Put back, the lost kit is not taken for the site's.
    shutil.rmtree(after.kit("site-1"))
    shutil.copytree(folder.parent / "lost", after.kit("site-1"))
    with pytest.raises(FederationError, match="site-1 is not the roster's") as caught:
        provision(folder, sites=3, hosts=[], now=NOW)
    assert "--new-kit site-1" in caught.value.fix and Roster.read(after.roster_file) == after.roster


def test_as_many_sites_as_there_are_is_what_is_kept_up_if_no_number_is_given(folder):
    assert len(provision(folder, sites=None, hosts=[], now=NOW).roster.entries) == FIRST_SITES
    provision(folder.parent / "other", sites=2, hosts=[], now=NOW)
    assert len(provision(folder.parent / "other", sites=None, hosts=[], now=NOW).roster.entries) == 2


@pytest.mark.parametrize(
    ("site", "what", "fix"),
    [
        ("site-7", "no site `site-7` is in the roster", "choose one of: site-0, site-2"),
        ("site-0", "the kit of site-0 lies here", "delete"),
        ("site-1", "site-1 is revoked", "--sites"),
    ],
)
def test_a_new_kit_is_for_an_admitted_site_that_lost_its_own(folder, site, what, fix):
    provision(folder, sites=3, hosts=[], now=NOW)
    revoke(folder, "site-1")
    shutil.rmtree(folder / "sites" / "site-2")
    before = contents(folder)
    with pytest.raises(FederationError, match=what) as caught:
        provision(folder, sites=3, hosts=[], new_kits=["site-2", site], now=NOW)
    assert fix in caught.value.fix and contents(folder) == before


def test_a_new_kit_in_a_federation_that_is_not_there_makes_none(folder):
    with pytest.raises(FederationError, match="no site `site-0`") as caught:
        provision(folder, sites=0, hosts=[], new_kits=["site-0"], now=NOW)
    assert "provision --sites" in caught.value.fix and not folder.exists()


@pytest.mark.parametrize("name", ["tls.key", "node.key", "identity.key"])
def test_a_kit_that_lost_a_key_is_named_and_gets_no_other_in_its_place(folder, name):
    keys = provision(folder, sites=1, hosts=[], now=NOW)
    (keys.kit("site-0") / name).unlink()
    before = contents(folder)
    with pytest.raises(FederationError, match=f"site-0 is not whole .*{name}"):
        provision(folder, sites=1, hosts=[], now=NOW)
    assert contents(folder) == before


def test_a_kit_that_a_crash_left_unfinished_is_completed_while_its_site_is_not_in_the_roster(folder):
    one = provision(folder, sites=1, hosts=[], now=NOW)
    roster = one.roster_file.read_bytes()
    provision(folder, sites=2, hosts=[], now=NOW)
    one.roster_file.write_bytes(roster)
    half = one.kit("site-1")
    (half / "identity.key").unlink()
    before = (half / "tls.crt").read_bytes()
    two = provision(folder, sites=2, hosts=[], now=NOW)
    assert (half / "tls.crt").read_bytes() == before and (half / "identity.key").is_file()
    assert read_signed_roster(half / "roster.json") == two.roster and len(keys_of(two, "site-1")) == 3


def test_an_authority_without_its_certificate_is_completed_with_the_key_that_is_there(folder):
    provision(folder, sites=1, hosts=[], now=NOW)
    key = (folder / "ca.key").read_bytes()
    (folder / "ca.crt").unlink()
    keys = provision(folder, sites=1, hosts=[], now=NOW)
    assert (folder / "ca.key").read_bytes() == key
    certificate(keys.kit("site-0") / "tls.crt").verify_directly_issued_by(certificate(keys.ca_certificate))


def test_with_ca_key_off_line_all_that_is_in_place_works_and_no_other_is_made(folder, caplog):
    provision(folder, sites=2, hosts=[], now=NOW)
    (folder / "ca.key").unlink()
    before = contents(folder)
    provision(folder, sites=2, hosts=[], now=NOW)
    assert contents(folder) == before and not caplog.records
    ending = NOW + datetime.timedelta(days=LEAF_DAYS - 1)
    with caplog.at_level(logging.WARNING):
        provision(folder, sites=1, hosts=[], now=ending)
    assert contents(folder) == before
    assert [record.getMessage() for record in caplog.records] == [
        f"the certificate of {who} ends on 2027-01-01; ca.key is needed to renew it"
        for who in ("coordinator", "site-0")
    ]


def _revoke(folder: Path) -> None:
    revoke(folder, "site-0")


def _admit(folder: Path) -> None:
    provision(folder, sites=4, hosts=[], now=NOW)


def _replace(folder: Path) -> None:
    provision(folder, sites=0, hosts=[], new_kits=["site-1"], now=NOW)


def _rename(folder: Path) -> None:
    provision(folder, sites=2, hosts=["fl.example.org"], now=NOW)


def _renew(folder: Path) -> None:
    provision(folder, sites=2, hosts=[], now=NOW + datetime.timedelta(days=LEAF_DAYS))


@pytest.mark.parametrize("invented", [False, True])
@pytest.mark.parametrize(
    ("act", "purpose"),
    [
        (_revoke, "sign the roster"),
        (_admit, "make a start-up kit for site-2, site-3"),
        (_replace, "make a start-up kit for site-1"),
        (_rename, r"renew the certificate of coordinator, which is not for fl\.example\.org"),
        (_renew, "renew the certificate of coordinator, which ends on 2027-01-01"),
    ],
)
def test_what_needs_ca_key_says_so_and_for_what_and_changes_nothing(folder, act, purpose, invented):
    keys = provision(folder, sites=2, hosts=[], now=NOW)
    shutil.rmtree(keys.kit("site-1"))
    (folder / "ca.key").unlink()
    if invented:  # as an earlier version did
        shutil.copy(keys.server_key, folder / "ca.key")
    before = contents(folder)
    with pytest.raises(FederationError, match=f"^ca.key is needed to {purpose}") as caught:
        act(folder)
    assert ("not the key of its ca.crt" if invented else "holds no ca.key") in caught.value.why
    assert "\n" not in str(caught.value) and contents(folder) == before


def test_a_revoked_site_gets_no_kit_in_place_of_a_deleted_one(folder):
    keys = provision(folder, sites=2, hosts=[], now=NOW)
    revoked = revoke(folder, "site-1")
    shutil.rmtree(keys.kit("site-1"))
    assert provision(folder, sites=2, hosts=[], now=NOW).roster == revoked
    assert not keys.kit("site-1").exists() and absent_kits(folder) == []
