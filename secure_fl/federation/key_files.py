"""Files that hold keys: whole or not there at all, and readable by others only if they may be."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure_fl.errors import FederationError

__all__ = ["key_at", "private_folder", "read_key", "write_durably", "write_private"]

_PEM = serialization.PrivateFormat.PKCS8


def key_at(path: Path, curve: ec.EllipticCurve, form: serialization.PrivateFormat = _PEM) -> ec.EllipticCurvePrivateKey:
    """The key at `path`, made now if there is none.

    Raises:
        FederationError: what is there is not such a key.
    """
    if path.exists():
        return read_key(path, form)
    made = ec.generate_private_key(curve)
    write_private(path, made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return made


def read_key(path: Path, form: serialization.PrivateFormat = _PEM) -> ec.EllipticCurvePrivateKey:
    """The key at `path`; what the file holds is never quoted.

    Raises:
        FederationError: it cannot be read, or is not such a key.
    """
    openssh = form is serialization.PrivateFormat.OpenSSH
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        raise FederationError(f"cannot read the private key {path}", fix="restore it, or provision anew") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FederationError(f"{path} holds another kind of key", fix="restore it, or provision anew")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a secret: created 0600 under another name, then moved into place."""
    write_durably(path, content, mode=0o600)


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Write under another name, created with `mode`, flushed to the disk, then moved into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter, or take those rights away from an existing one."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise FederationError(f"cannot make the key folder {folder}", why=error.strerror or str(error)) from None
