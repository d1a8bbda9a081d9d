"""The keys and certificates of a federation, made on first use and renewed before they expire.

    HOME/federation/            0700
      ca.crt, ca.key            the federation's own authority (P-256); signs nothing but what is below
      server.crt, server.key    the coordinator, for the names and addresses by which sites reach it
      roster.json               the admitted sites: public keys and certificate fingerprints
      sites/site-0/             one start-up kit a site; on another machine, it is all that the site needs
        ca.crt, tls.crt, tls.key   mutual TLS
        node.key, node.pub         Flower's node authentication (P-384, OpenSSH form)
        identity.key               signs updates (Ed25519)
        roster.json, roster.sig    who else is in the federation, signed by the authority

Private keys are written 0600 into a 0700 folder before they hold a byte, and are never printed,
logged or passed on a command line. Whoever can read `ca.key` can admit sites: on a coordinator that
matters, keep it elsewhere once the sites are provisioned.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_fl.app.identity import Roster, RosterEntry, SiteSigner
from secure_fl.app.signed_roster import is_signed, sign_roster
from secure_fl.errors import FederationError
from secure_fl.federation.key_files import private_folder, write_durably, write_private

__all__ = [
    "CA_DAYS",
    "LEAF_DAYS",
    "RENEW_DAYS",
    "FederationKeys",
    "control_kit",
    "issue_certificate",
    "private_folder",
    "provision",
    "revoke",
    "write_private",
]

CA_DAYS = 1825
LEAF_DAYS = 365
RENEW_DAYS = 30
# Clocks of sites may be behind ours.
_BACKDATE = datetime.timedelta(minutes=5)

_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class FederationKeys:
    """Where the coordinator's material lies."""

    folder: Path
    roster: Roster

    @property
    def ca_certificate(self) -> Path:
        """PEM of the federation's authority."""
        return self.folder / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        """PEM of the coordinator's certificate."""
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        """PEM of the coordinator's private key, 0600."""
        return self.folder / "server.key"

    @property
    def roster_file(self) -> Path:
        """JSON of the admitted sites."""
        return self.folder / "roster.json"

    def kit(self, site: str) -> Path:
        """Folder of one site's start-up kit."""
        return self.folder / "sites" / site


def provision(
    folder: Path, *, sites: int, hosts: Iterable[str], now: datetime.datetime | None = None
) -> FederationKeys:
    """Make what is missing for `sites` sites and a coordinator known as `hosts`; keep what is there.

    Certificates that end within 30 days, or whose names no longer fit, are issued anew from the same
    authority. Keys are kept, so that a site's identity is stable.

    Raises:
        FederationError: existing material cannot be read, or the authority itself has expired.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    private_folder(folder)
    ca_key, ca = _authority(folder, moment)
    names = sorted({"localhost", "127.0.0.1", *hosts})
    _leaf(folder / "server", ca_key, ca, common_name="coordinator", hosts=names, moment=moment)
    roster_file = folder / "roster.json"
    known = Roster.read(roster_file) if roster_file.exists() else Roster(())
    entries = {entry.name: entry for entry in known.entries}
    for index in range(sites):
        name = f"site-{index}"
        made = _site(folder, name, index, ca_key, ca, moment)
        known_entry = entries.get(name, made)
        entries[name] = replace(made, samples=known_entry.samples, revoked=known_entry.revoked)
    roster = Roster(tuple(sorted(entries.values(), key=lambda entry: entry.index)))
    _publish(folder, roster, ca_key, ca)
    return FederationKeys(folder, roster)


def control_kit(keys: FederationKeys, folder: Path, *, moment: datetime.datetime) -> str:
    """A client certificate of a day for the audit's controls, with its key, in `folder`; its SHA-256.

    It is in no roster, so no run admits it; `superlink` is told of it for the one run that it is made for.
    """
    ca_key, ca = _authority(keys.folder, moment)
    key = _key(folder / "tls.key", ec.SECP256R1())
    certificate = issue_certificate("audit-control", key.public_key(), ca_key, issuer=ca, days=1, moment=moment)
    write_durably(folder / "tls.crt", certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    write_durably(folder / "ca.crt", ca.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate.fingerprint(hashes.SHA256()).hex()


def revoke(folder: Path, site: str) -> Roster:
    """Take a site out of every later run; its kit and name stay, and `provision` does not admit it again.

    Raises:
        FederationError: there is no roster, or no such site in it.
    """
    roster = Roster.read(folder / "roster.json").revoking(site)
    ca_key, ca = _authority(folder, datetime.datetime.now(datetime.UTC))
    _publish(folder, roster, ca_key, ca)
    return roster


def _publish(folder: Path, roster: Roster, ca_key: _Key, ca: x509.Certificate) -> None:
    """Write the roster, and into every kit that lies here a signed copy; what is up to date stays as it is."""
    document = roster.to_json().encode()
    write_durably(folder / "roster.json", document, mode=0o644)
    for kit in (folder / "sites" / entry.name for entry in roster.entries):
        copy, signature = kit / "roster.json", kit / "roster.sig"
        current = copy.exists() and signature.exists() and copy.read_bytes() == document
        if not kit.is_dir() or (current and is_signed(document, signature.read_bytes(), ca)):
            continue
        if ca_key.public_key() != ca.public_key():
            raise FederationError(
                "the roster cannot be signed", why="ca.key is not the key of ca.crt", fix=f"bring ca.key to {folder}"
            )
        write_durably(copy, document, mode=0o644)
        write_durably(signature, sign_roster(document, ca_key), mode=0o644)


def _authority(folder: Path, moment: datetime.datetime) -> tuple[_Key, x509.Certificate]:
    key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
    key = _key(key_file, ec.SECP256R1())
    if certificate_file.exists():
        certificate = _read_certificate(certificate_file)
        if certificate.not_valid_after_utc <= moment:
            raise FederationError(
                f"the federation's authority expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
                fix=f"move {folder} away and provision anew; every site needs its new kit",
            )
        return key, certificate
    certificate = issue_certificate(
        "Secure FL federation authority", key.public_key(), key, issuer=None, days=CA_DAYS, moment=moment
    )
    write_durably(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return key, certificate


def _site(
    folder: Path, name: str, index: int, ca_key: _Key, ca: x509.Certificate, moment: datetime.datetime
) -> RosterEntry:
    """Make or complete one start-up kit and say what the roster must hold of it."""
    kit = folder / "sites" / name
    private_folder(kit.parent)
    private_folder(kit)
    certificate = _leaf(kit / "tls", ca_key, ca, common_name=name, hosts=(), moment=moment)
    write_durably(kit / "ca.crt", ca.public_bytes(serialization.Encoding.PEM), mode=0o644)
    node = _key(kit / "node.key", ec.SECP384R1(), form=serialization.PrivateFormat.OpenSSH)
    public = node.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_durably(kit / "node.pub", public + b"\n", mode=0o644)
    return RosterEntry(
        name=name,
        index=index,
        identity_key=_identity(kit / "identity.key"),
        node_key=public.decode(),
        certificate_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _identity(path: Path) -> str:
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, pem)
    return SiteSigner.from_file(path).public_hex


def _key(
    path: Path, curve: ec.EllipticCurve, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8
) -> _Key:
    """The key at `path`, made now if there is none."""
    if not path.exists():
        made = ec.generate_private_key(curve)
        write_private(path, made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return made
    load = (
        serialization.load_ssh_private_key
        if form is serialization.PrivateFormat.OpenSSH
        else serialization.load_pem_private_key
    )
    try:
        key = load(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        raise FederationError(f"cannot read the private key {path}", fix="restore it, or provision anew") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FederationError(f"{path} holds another kind of key", fix="restore it, or provision anew")
    return key


def _leaf(
    stem: Path, ca_key: _Key, ca: x509.Certificate, *, common_name: str, hosts: Iterable[str], moment: datetime.datetime
) -> x509.Certificate:
    """The certificate `stem.crt` with key `stem.key`, issued (again) when it must be."""
    names = tuple(hosts)
    key = _key(stem.with_suffix(".key"), ec.SECP256R1())
    file = stem.with_suffix(".crt")
    if file.exists():
        current = _read_certificate(file)
        lasts = current.not_valid_after_utc - moment > datetime.timedelta(days=RENEW_DAYS)
        if lasts and _issued_by(current, ca) and _hosts_of(current) >= set(names):
            return current
        names = tuple(sorted({*names, *_hosts_of(current)}))
    certificate = issue_certificate(
        common_name, key.public_key(), ca_key, issuer=ca, hosts=names, days=LEAF_DAYS, moment=moment
    )
    write_durably(file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate


def issue_certificate(
    common_name: str,
    public_key: ec.EllipticCurvePublicKey,
    signer: _Key,
    *,
    issuer: x509.Certificate | None,
    hosts: Iterable[str] = (),
    days: float,
    moment: datetime.datetime,
) -> x509.Certificate:
    """An X.509 certificate (RFC 5280): an authority when `issuer` is None, a server when it has
    `hosts`, else a client. `days` may be negative, which makes one that has already expired."""
    names = tuple(hosts)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    is_ca = issuer is None
    issuer_key = public_key if issuer is None else signer.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(moment, moment + datetime.timedelta(days=days)) - _BACKDATE)
        .not_valid_after(moment + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(_usage(is_ca), critical=True)
    )
    if not is_ca:
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def _issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise FederationError(f"cannot read the certificate {path}", fix="restore it, or provision anew") from None
