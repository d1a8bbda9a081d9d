"""Who is turned away, tried for real: our SuperLink process, TLS, and Flower's own clients."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure_fl.errors import FederationError
from secure_fl.federation.certificates import issue_certificate
from secure_fl.federation.control import control_connection, register
from secure_fl.federation.fleet import FleetConnection
from secure_fl.federation.pki import provision
from tests.federation.conftest import RunningSuperLink

PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module", autouse=True)
def registered(superlink: RunningSuperLink) -> None:
    """Flower knows site-0 only; site-1 is in the roster but was never registered."""
    with control_connection(
        superlink.inner_port, ca=superlink.keys.ca_certificate, secret=superlink.control_secret
    ) as client:
        register(client, superlink.keys.roster.first(1))


@pytest.fixture
def kit(superlink: RunningSuperLink, tmp_path: Path) -> Path:
    """A copy of site-0's start-up kit, to be spoilt."""
    return Path(shutil.copytree(superlink.keys.kit("site-0"), tmp_path / "site-0"))


def join(superlink: RunningSuperLink, kit: Path) -> None:
    with FleetConnection(f"127.0.0.1:{superlink.outer_port}", kit):
        pass


def client(superlink: RunningSuperLink, kit: Path | None, *, maximum: ssl.TLSVersion | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(superlink.keys.ca_certificate))
    if kit is not None:
        context.load_cert_chain(kit / "tls.crt", kit / "tls.key")
    if maximum is not None:
        context.maximum_version = maximum
    return httpx.Client(base_url=f"https://127.0.0.1:{superlink.outer_port}", verify=context)


def own_certificate(superlink: RunningSuperLink, kit: Path, **changes) -> None:
    """Issue the kit's TLS certificate anew, by our authority unless told otherwise."""
    ca_key = serialization.load_pem_private_key((superlink.keys.folder / "ca.key").read_bytes(), None)
    key = serialization.load_pem_private_key((kit / "tls.key").read_bytes(), None)
    settings = {
        "signer": ca_key,
        "issuer": x509.load_pem_x509_certificate(superlink.keys.ca_certificate.read_bytes()),
        "days": 10,
        "moment": NOW,
        **changes,
    }
    made = issue_certificate("site-0", key.public_key(), **settings)
    (kit / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def test_a_site_of_the_roster_is_let_in(superlink, kit):
    join(superlink, kit)


def test_a_site_whose_node_key_is_not_registered_is_told_so_and_named(superlink):
    with pytest.raises(FederationError, match="not registered"):
        join(superlink, superlink.keys.kit("site-1"))
    assert superlink.names("site-1", "its node key is not registered, or its former connection still counts")


def test_a_site_that_is_not_in_the_roster_is_refused_although_its_certificate_is_genuine(superlink):
    with pytest.raises(FederationError, match="certificate is not in the roster"):
        join(superlink, superlink.keys.kit("site-2"))
    der = ssl.PEM_cert_to_DER_cert((superlink.keys.kit("site-2") / "tls.crt").read_text())
    digest = hashlib.sha256(der).hexdigest()[:16]
    assert superlink.names(f"certificate {digest} at 127.0.0.1", "certificate is not in the roster")


def test_a_stolen_node_key_is_of_no_use_with_another_certificate(superlink, kit):
    shutil.copy(superlink.keys.kit("site-1") / "node.key", kit / "node.key")
    with pytest.raises(FederationError, match="uses the node key of site-1"):
        join(superlink, kit)
    assert superlink.names("site-0", "uses the node key of site-1")


def test_an_invented_node_key_is_refused_and_the_site_is_named(superlink, kit):
    key = ec.generate_private_key(ec.SECP384R1())
    (kit / "node.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    with pytest.raises(FederationError, match="node key is not in the roster"):
        join(superlink, kit)
    assert superlink.names("site-0", "node key is not in the roster")


def expired(superlink: RunningSuperLink, kit: Path, tmp_path: Path) -> None:
    own_certificate(superlink, kit, days=-1)


def of_another_authority(superlink: RunningSuperLink, kit: Path, tmp_path: Path) -> None:
    other = provision(tmp_path / "other", sites=1, hosts=[])
    for name in ("tls.crt", "tls.key"):
        shutil.copy(other.kit("site-0") / name, kit / name)


@pytest.mark.parametrize(
    ("spoil", "site_says", "record_says"),
    [
        (expired, "has expired", "client certificate has expired"),
        (of_another_authority, "not of the federation's authority", "client certificate is of another authority"),
    ],
)
def test_a_wrong_certificate_is_refused_on_both_sides_with_the_reason(
    superlink, kit, tmp_path, spoil, site_says, record_says
):
    spoil(superlink, kit, tmp_path)
    with pytest.raises(FederationError, match=site_says):
        join(superlink, kit)
    # A site that does not look at its own certificate first meets the same refusal at the coordinator.
    with client(superlink, kit) as careless, pytest.raises(httpx.HTTPError):
        careless.get("/health")
    assert superlink.names("127.0.0.1", record_says)


def test_a_coordinator_of_another_authority_is_not_trusted_by_the_site(superlink, tmp_path):
    other = provision(tmp_path / "other", sites=1, hosts=[])
    with pytest.raises(FederationError, match="not of our federation's authority"):
        join(superlink, other.kit("site-0"))


def test_a_server_certificate_is_not_accepted_as_a_clients(superlink, kit):
    own_certificate(superlink, kit, hosts=["127.0.0.1"])
    with pytest.raises(FederationError, match="its run record says why"):
        join(superlink, kit)
    assert superlink.names("127.0.0.1", "client certificate is not for this purpose")


def test_no_certificate_means_no_connection(superlink):
    with client(superlink, None) as nobody, pytest.raises(httpx.HTTPError):
        nobody.get("/health")
    assert superlink.names("127.0.0.1", "no client certificate")


def test_tls_1_2_is_refused(superlink, kit):
    with client(superlink, kit, maximum=ssl.TLSVersion.TLSv1_2) as old, pytest.raises(httpx.ConnectError):
        old.get("/health")
    assert superlink.names("127.0.0.1", "TLS older than 1.3")


def test_plain_http_is_refused(superlink):
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{superlink.outer_port}/health")
    assert superlink.names("127.0.0.1", "plain HTTP on the TLS port")


def test_bytes_that_are_not_tls_are_refused_and_the_server_lives_on(superlink, kit):
    with socket.create_connection(("127.0.0.1", superlink.outer_port)) as raw:
        raw.sendall(b"\x00\xff" * 512)
        while raw.recv(4096):
            pass
    join(superlink, kit)


@pytest.mark.parametrize("route", ["/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task"])
def test_a_site_cannot_reach_control_or_runtime_routes(superlink, kit, route):
    with client(superlink, kit) as site:
        assert site.post(route, content=b"").status_code == 403
        assert site.get("/health").status_code == 200
    assert superlink.names("127.0.0.1", f"route {route} is closed to remote peers")


def test_another_local_user_cannot_control_the_superlink_without_the_secret(superlink):
    with (
        pytest.raises(FederationError, match="403"),
        control_connection(superlink.inner_port, ca=superlink.keys.ca_certificate, secret="guess") as guess,
    ):
        register(guess, superlink.keys.roster)


def test_the_inner_port_does_not_serve_sites(superlink):
    context = ssl.create_default_context(cafile=str(superlink.keys.ca_certificate))
    with httpx.Client(base_url=f"https://127.0.0.1:{superlink.inner_port}", verify=context) as inner:
        assert inner.post("/v1/fleet/activate-node", content=b"").status_code == 403
        assert inner.post("/v1/runtime/acquire-task", content=b"", headers=PROTOBUF).status_code == 401


def test_nobody_listens_means_one_clear_line(kit, free_port):
    with pytest.raises(FederationError, match="nothing listens there"):
        FleetConnection(f"127.0.0.1:{free_port}", kit).__enter__()


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "node.key"])
def test_a_damaged_kit_is_refused_before_anything_is_sent(superlink, kit, name):
    (kit / name).write_text("damaged")
    with pytest.raises(FederationError, match=r"cannot (use|read)"):
        join(superlink, kit)
