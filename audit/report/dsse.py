"""DSSE: a signature over the type and the bytes of a payload, with nothing parsed before it is verified.

Envelope and pre-authentication encoding of https://github.com/secure-systems-lab/dsse (v1.0.2), Ed25519 (RFC 8032), one
signature. JSON and base64 have many spellings of one value; here an envelope has exactly one, so that no byte of its
file can change unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SignatureError", "key_id", "open_envelope", "pre_authentication", "seal_envelope"]


class SignatureError(ValueError):
    """An envelope that is not what the key's owner signed."""


def seal_envelope(payload_type: str, payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """The envelope's bytes: canonical JSON with the payload, its type and one signature."""
    signature = key.sign(pre_authentication(payload_type, payload))
    return _envelope(payload_type, payload, key_id(key.public_key()), signature)


def open_envelope(envelope: bytes, payload_type: str, key: Ed25519PublicKey) -> bytes:
    """The payload, if `key` signed it as `payload_type`.

    Raises:
        SignatureError: another key or type, a wrong signature, or an envelope in any but its one spelling.
    """
    try:
        fields = json.loads(envelope)
        (signature,) = fields["signatures"]
        found, payload = fields["payloadType"], _decoded(fields["payload"])
        signed_by, signed = signature["keyid"], _decoded(signature["sig"])
        again = _envelope(found, payload, signed_by, signed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as why:
        raise SignatureError(f"this is no envelope with one signature: {why}") from why
    if again != envelope:
        raise SignatureError("the envelope holds more than it should, or is spelled otherwise")
    if found != payload_type:
        raise SignatureError(f"the payload's type is {found!r}, not {payload_type!r}")
    if signed_by != key_id(key):
        raise SignatureError("another key signed this")
    try:
        key.verify(signed, pre_authentication(payload_type, payload))
    except InvalidSignature as why:
        raise SignatureError("the signature does not fit") from why
    return payload


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """PAE of the specification: what is signed. Lengths go first, so that type and payload cannot trade bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of the public key, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _envelope(payload_type: str, payload: bytes, signed_by: str, signature: bytes) -> bytes:
    """RFC 8785 JSON, written out: its names are sorted, and base64 and hex need no escapes."""
    texts = (base64.b64encode(payload), json.dumps(payload_type).encode(), json.dumps(signed_by).encode())
    form = b'{"payload":"%s","payloadType":%s,"signatures":[{"keyid":%s,"sig":"%s"}]}'
    return form % (*texts, base64.b64encode(signature))


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
