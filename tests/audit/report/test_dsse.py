"""An envelope has one spelling, one signature, and is verified before it is parsed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.report.dsse import SignatureError, key_id, open_envelope, pre_authentication, seal_envelope
from audit.report.shape import canonical

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TYPE = "http://example.com/HelloWorld"
ENVELOPE = seal_envelope(TYPE, b"hello world", KEY)


def opened(envelope: bytes, payload_type: str = TYPE) -> bytes:
    return open_envelope(envelope, payload_type, KEY.public_key())


def test_the_encoding_is_that_of_the_specification() -> None:
    # The example of protocol.md in the DSSE repository.
    assert pre_authentication(TYPE, b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_gives_its_payload() -> None:
    assert opened(ENVELOPE) == b"hello world"
    fields = json.loads(ENVELOPE)
    assert set(fields) == {"payload", "payloadType", "signatures"}
    assert fields["signatures"][0]["keyid"] == key_id(KEY.public_key())


def test_an_envelope_is_canonical_json() -> None:
    assert canonical(json.loads(ENVELOPE)) == ENVELOPE


def test_every_changed_bit_is_refused() -> None:
    for at in range(len(ENVELOPE)):
        for bit in range(8):
            changed = bytearray(ENVELOPE)
            changed[at] ^= 1 << bit
            with pytest.raises(SignatureError):
                opened(bytes(changed))


def test_every_truncation_is_refused() -> None:
    for length in range(len(ENVELOPE)):
        with pytest.raises(SignatureError):
            opened(ENVELOPE[:length])


def test_another_key_and_another_type_are_refused() -> None:
    with pytest.raises(SignatureError, match="another key"):
        open_envelope(ENVELOPE, TYPE, Ed25519PrivateKey.generate().public_key())
    with pytest.raises(SignatureError, match="type"):
        opened(ENVELOPE, "application/vnd.in-toto+json")


def changed(**fields: Any) -> bytes:
    return canonical({**json.loads(ENVELOPE), **fields})


SIGNATURE = json.loads(ENVELOPE)["signatures"][0]


@pytest.mark.parametrize(
    "envelope",
    [
        ENVELOPE + b"\n",
        ENVELOPE.replace(b":", b": ", 1),
        ENVELOPE.replace(b'{"payload"', b'{"payload":"","payload"', 1),
        changed(more=1),
        changed(signatures=[]),
        changed(signatures=[SIGNATURE, SIGNATURE]),
        changed(signatures=[{**SIGNATURE, "extra": ""}]),
        changed(signatures=[{"sig": SIGNATURE["sig"]}]),
        changed(signatures=[{**SIGNATURE, "sig": base64.b64encode(bytes(64)).decode()}]),
        changed(signatures=[{**SIGNATURE, "sig": ""}]),
        changed(signatures=3),
        changed(payload="aGVsbG8gd29ybGR="),  # the same bytes but for bits that base64 throws away
        changed(payload="aGVsbG8gd29ybGQ"),
        changed(payload="aGVs\nbG8gd29ybGQ="),
        changed(payload=7),
        b"[]",
        b"null",
        b"",
    ],
)
def test_an_envelope_of_another_form_is_refused(envelope: bytes) -> None:
    with pytest.raises(SignatureError):
        opened(envelope)
