import json
import os
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.app.identity import (
    Roster,
    RosterEntry,
    SiteSigner,
    join_statement,
    open_roster,
    update_statement,
    vector_sha256,
    verify,
)
from secure_fl.errors import FederationError

STATEMENT = {
    "run": "r1",
    "round": 3,
    "site": "site-0",
    "samples": 10,
    "model_sha256": "a" * 64,
    "update_sha256": "b" * 64,
}


@pytest.fixture
def signer() -> SiteSigner:
    return SiteSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_a_signature_verifies_with_the_right_key_only(signer):
    statement = update_statement(**STATEMENT)
    signature = signer.sign(statement)
    other = SiteSigner(Ed25519PrivateKey.generate())
    assert verify(signer.public_hex, statement, signature)
    assert not verify(other.public_hex, statement, signature)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", "r2"),
        ("round", 4),
        ("site", "site-1"),
        ("samples", 11),
        ("model_sha256", "c" * 64),
        ("update_sha256", "c" * 64),
    ],
)
def test_a_signature_covers_every_field(signer, field, value):
    signature = signer.sign(update_statement(**STATEMENT))
    assert not verify(signer.public_hex, update_statement(**{**STATEMENT, field: value}), signature)


def test_no_two_statements_share_an_encoding():
    first = join_statement(run="ab", nonce="c", site="s", index=1, samples=1, data="")
    second = join_statement(run="a", nonce="bc", site="s", index=1, samples=1, data="")
    assert first != second


@pytest.mark.parametrize("key", ["", "zz", "00" * 31])
def test_a_malformed_public_key_verifies_nothing(key):
    assert not verify(key, b"statement", bytes(64))


def test_a_vectors_digest_is_that_of_its_bytes_and_not_of_its_layout():
    vector = np.arange(10, dtype=np.float32)
    assert vector_sha256(np.arange(20, dtype=np.float32)[::2] / 2) == vector_sha256(vector)
    assert vector_sha256(vector) != vector_sha256(vector[::-1])


def test_a_signer_never_shows_its_key(signer):
    assert bytes(range(32)).hex() not in repr(signer) and "Ed25519PrivateKey" not in str(signer)


def test_a_key_file_that_is_not_an_identity_is_refused_without_quoting_it(tmp_path: Path):
    wrong = tmp_path / "identity.key"
    wrong.write_text("-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n")
    with pytest.raises(FederationError) as caught:
        SiteSigner.from_file(wrong)
    assert "CANARY" not in str(caught.value) and str(wrong) in str(caught.value)
    curve = ec.generate_private_key(ec.SECP256R1())
    wrong.write_bytes(
        curve.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(FederationError, match="not an Ed25519 key"):
        SiteSigner.from_file(wrong)
    with pytest.raises(FederationError, match="cannot read"):
        SiteSigner.from_file(tmp_path / "absent")


def test_a_roster_survives_its_file(tmp_path: Path):
    roster = open_roster([5, 7])
    path = tmp_path / "roster.json"
    path.write_text(roster.to_json())
    assert Roster.read(path) == roster
    assert roster.by_name("site-1") == roster.entries[1] and roster.by_name("site-9") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sites": [{"name": "x"}]}', '{"sites": 3}'])
def test_a_damaged_roster_is_refused_by_name(tmp_path: Path, content):
    path = tmp_path / "roster.json"
    path.write_text(content)
    with pytest.raises(FederationError, match=r"roster\.json"):
        Roster.read(path)


def test_a_roster_that_names_a_site_twice_is_refused():
    entry = RosterEntry("site-0", 0, "", "", "")
    with pytest.raises(FederationError, match="twice"):
        Roster((entry, entry))


def test_the_first_sites_of_a_roster_are_those_of_lowest_index_and_may_declare_samples():
    roster = Roster(tuple(reversed(open_roster([1, 2, 3]).entries))).first(2).declaring({0: 8})
    assert [(e.name, e.samples) for e in roster.entries] == [("site-0", 8), ("site-1", None)]
    assert json.loads(roster.to_json())["version"] == 1
    assert os.linesep.encode() in roster.to_json().encode()


def test_a_revoked_site_stays_listed_and_is_in_no_run():
    roster = open_roster([1, 2, 3]).revoking("site-1")
    assert [entry.name for entry in roster.first(3).entries] == ["site-0", "site-2"]
    assert roster.by_name("site-1") is not None
    with pytest.raises(FederationError, match="no site `site-9`"):
        roster.revoking("site-9")
