"""The auditor's keys: one to which session secrets are sealed, one that signs reports.

    HOME/federation/auditor/    0700
      open.key, open.pub        X25519: whoever has `open.key` can decrypt the captured sessions again
      sign.key, sign.pub        Ed25519: whoever has `sign.pub` can tell whether a report was altered

An auditor who does not trust the coordinator's machine makes the keys on another (`secure-fl audit keys`) and hands
over `open.pub` only; then the coordinator can seal, and cannot open again. The signature says that this machine made
the report, no more: it is as trustworthy as the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.federation.key_files import private_folder, write_private

__all__ = ["AuditorKeys", "auditor_keys", "read_opening_key", "read_recipient", "read_verifying_key"]


@dataclass(frozen=True)
class AuditorKeys:
    """Where the keys lie; made by `auditor_keys`."""

    folder: Path

    @property
    def opening_key(self) -> Path:
        """PEM of the private X25519 key, 0600."""
        return self.folder / "open.key"

    @property
    def recipient(self) -> Path:
        """PEM of the public X25519 key."""
        return self.folder / "open.pub"

    @property
    def signing_key(self) -> Path:
        """PEM of the private Ed25519 key, 0600."""
        return self.folder / "sign.key"

    @property
    def verifying_key(self) -> Path:
        """PEM of the public Ed25519 key."""
        return self.folder / "sign.pub"

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs reports; raises as the readers below."""
        key = _private(self.signing_key)
        if not isinstance(key, Ed25519PrivateKey):
            raise _other_kind(self.signing_key, "an Ed25519 private key")
        return key


def auditor_keys(folder: Path) -> AuditorKeys:
    """The keys in `folder`, made now if they are missing."""
    private_folder(folder)
    keys = AuditorKeys(folder)
    for private, public, make in (
        (keys.opening_key, keys.recipient, X25519PrivateKey.generate),
        (keys.signing_key, keys.verifying_key, Ed25519PrivateKey.generate),
    ):
        if not private.exists():
            made: X25519PrivateKey | Ed25519PrivateKey = make()
            write_private(
                private,
                made.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
            public.write_bytes(
                made.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            )
    return keys


def read_recipient(path: Path) -> X25519PublicKey:
    """The public key to which secrets are sealed.

    Raises:
        NotFoundError: no such file. IntegrityError: it is no such key.
    """
    key = _public(path)
    if not isinstance(key, X25519PublicKey):
        raise _other_kind(path, "an X25519 public key")
    return key


def read_opening_key(path: Path) -> X25519PrivateKey:
    """The private key that opens sealed secrets; raises as `read_recipient`."""
    key = _private(path)
    if not isinstance(key, X25519PrivateKey):
        raise _other_kind(path, "an X25519 private key")
    return key


def read_verifying_key(path: Path) -> Ed25519PublicKey:
    """The public key of a report's signature; raises as `read_recipient`."""
    key = _public(path)
    if not isinstance(key, Ed25519PublicKey):
        raise _other_kind(path, "an Ed25519 public key")
    return key


def _public(path: Path) -> object:
    try:
        return serialization.load_pem_public_key(_content(path))
    except (ValueError, UnsupportedAlgorithm):
        raise _other_kind(path, "a public key in PEM") from None


def _private(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(_content(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _other_kind(path, "an unencrypted private key in PEM") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"cannot read the key {path}", why=error.strerror or str(error), fix="`secure-fl audit keys` makes a set"
        ) from None


def _other_kind(path: Path, wanted: str) -> IntegrityError:
    return IntegrityError(f"{path} is not {wanted}", fix="`secure-fl audit keys` makes a set")
