"""The roster as a site holds it: signed by the federation's authority, and never taken from the coordinator.

Under secure aggregation the roster is what tells a site that its peers are real. A coordinator that could write it
would fill it with sites of its own invention and subtract them from the sum. So each start-up kit holds, beside the
authority's certificate `ca.crt`, the files `roster.json` and `roster.sig`: an ECDSA signature (P-256, SHA-256, DER)
over the bytes of the former, by the key of the latter. `openssl dgst -sha256 -verify` can check it too.

Limits. The signature has no date: an old roster stays valid, so that a site that was revoked since is kept out only
where the new kit has arrived. Whoever holds `ca.key` can sign any roster: keep it away from the coordinator.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from secure_fl.app.identity import Roster
from secure_fl.errors import FederationError

__all__ = ["is_signed", "read_signed_roster", "sign_roster"]

_ALGORITHM = ec.ECDSA(hashes.SHA256())
_FIX = "ask the federation's authority for the kit's roster.json and roster.sig"


def sign_roster(document: bytes, authority: ec.EllipticCurvePrivateKey) -> bytes:
    """The signature over a roster's JSON document, DER."""
    return authority.sign(document, _ALGORITHM)


def is_signed(document: bytes, signature: bytes, authority: x509.Certificate) -> bool:
    """Whether `signature` is this authority's over `document`."""
    key = authority.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, document, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def read_signed_roster(path: Path) -> Roster:
    """The roster at `path`, whose signature (`.sig`) and authority (`ca.crt`) lie beside it.

    Raises:
        FederationError: a file is missing, the signature is not the authority's, or it is not a roster.
    """
    try:
        document, signature = path.read_bytes(), path.with_suffix(".sig").read_bytes()
        authority = x509.load_pem_x509_certificate(path.with_name("ca.crt").read_bytes())
    except (OSError, ValueError) as error:
        raise FederationError(f"cannot read the signed roster {path}", why=str(error), fix=_FIX) from None
    if not is_signed(document, signature, authority):
        raise FederationError(f"the roster {path} is not signed by the authority beside it", fix=_FIX)
    return Roster.parse(document, str(path))
