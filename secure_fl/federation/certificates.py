"""X.509 certificates (RFC 5280) of a federation: made, read, and told apart."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_fl.errors import FederationError
from secure_fl.federation.key_files import write_durably

__all__ = [
    "RENEW_DAYS",
    "ends_soon",
    "hosts_of",
    "is_issued_by",
    "issue_certificate",
    "read_certificate",
    "write_certificate",
]

RENEW_DAYS = 30
# Clocks of sites may be behind ours.
_BACKDATE = datetime.timedelta(minutes=5)


def issue_certificate(
    common_name: str,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    hosts: Iterable[str] = (),
    days: float,
    moment: datetime.datetime,
) -> x509.Certificate:
    """A certificate: an authority when `issuer` is None, a server when it has `hosts`, else a client.

    `days` may be negative, which makes one that has already expired.
    """
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


def hosts_of(certificate: x509.Certificate) -> set[str]:
    """The names and addresses that a server's certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether `ca` signed this certificate."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def ends_soon(certificate: x509.Certificate, moment: datetime.datetime) -> bool:
    """Whether it ends within 30 days after `moment`, or has ended."""
    return certificate.not_valid_after_utc - moment <= datetime.timedelta(days=RENEW_DAYS)


def read_certificate(path: Path) -> x509.Certificate:
    """The certificate in a PEM file.

    Raises:
        FederationError: it cannot be read, or is none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise FederationError(f"cannot read the certificate {path}", fix="restore it, or provision anew") from None


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Write it as PEM, for all to read."""
    write_durably(path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
