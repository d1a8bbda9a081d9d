"""Who a site is, proved by a signature: the roster, and what a site signs.

Threat model. Against a party on the network or another site that tries to join, answer or train in
a site's name: TLS and Flower's node authentication keep it out of the channel, but Flower signs only
a timestamp, so a message's *content* would be unprotected inside the coordinator's own processes and
logs. Each site therefore holds an Ed25519 key (RFC 8032); the coordinator knows the public half from
the roster, which is exchanged out of band. A signature binds run, round, site, the model that the
site received and the update that it sends. It does not show that the update is honest: a site that
holds its key may still lie about its training (see `defenses`).

Signed bytes are a domain label and length-prefixed parts, so that no two statements share an encoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secure_fl.errors import FederationError

__all__ = [
    "Roster",
    "RosterEntry",
    "SiteSigner",
    "join_statement",
    "open_roster",
    "update_statement",
    "vector_sha256",
    "verify",
]


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One admitted site: Ed25519 key (hex), Flower node key (OpenSSH line), certificate (hex SHA-256 of DER).

    `samples` is the declared number of training images (its weight in FedAvg), or None when the
    site's own count is taken, capped by the run's `sample-cap`. A `revoked` site stays listed, so that
    its name is not given away again, and is left out of every run.
    """

    name: str
    index: int
    identity_key: str
    node_key: str
    certificate_sha256: str
    samples: int | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """The sites that may take part, by index."""

    entries: tuple[RosterEntry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        indexes = [entry.index for entry in self.entries]
        if len(set(names)) != len(names) or len(set(indexes)) != len(indexes):
            raise FederationError("the roster names a site or an index twice")

    def by_name(self, name: str) -> RosterEntry | None:
        """The entry of this name, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def first(self, count: int) -> Roster:
        """The sites of index below `count` that are not revoked: the roster of a run of `count` sites."""
        chosen = (entry for entry in self.entries if entry.index < count and not entry.revoked)
        return Roster(tuple(sorted(chosen, key=lambda entry: entry.index)))

    def revoking(self, name: str) -> Roster:
        """The same roster with this site revoked.

        Raises:
            FederationError: no site has this name.
        """
        if self.by_name(name) is None:
            known = ", ".join(entry.name for entry in self.entries)
            raise FederationError(f"no site `{name}` is in the roster", fix=f"choose one of: {known}")
        return Roster(tuple(replace(entry, revoked=entry.revoked or entry.name == name) for entry in self.entries))

    def declaring(self, samples: Mapping[int, int]) -> Roster:
        """The same sites with the sample counts of those indexes that are given, the others undeclared."""
        return Roster(tuple(replace(entry, samples=samples.get(entry.index)) for entry in self.entries))

    def to_json(self) -> str:
        """The roster as a JSON document; it holds public keys only."""
        return json.dumps({"version": 1, "sites": [asdict(entry) for entry in self.entries]}, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Roster:
        """Read a roster file.

        Raises:
            FederationError: the file is missing or is not a roster.
        """
        try:
            document = path.read_bytes()
        except OSError as error:
            raise FederationError(f"{path} is not a usable roster", why=str(error)) from None
        return cls.parse(document, str(path))

    @classmethod
    def parse(cls, document: bytes, source: str) -> Roster:
        """A roster from its JSON; `source` names it in errors.

        Raises:
            FederationError: it is not a roster.
        """
        try:
            return cls(tuple(RosterEntry(**entry) for entry in json.loads(document)["sites"]))
        except (ValueError, KeyError, TypeError) as error:
            raise FederationError(f"{source} is not a usable roster", why=str(error)) from None


class SiteSigner:
    """A site's identity key, held in memory; its text form never shows the key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> SiteSigner:
        """Read an Ed25519 key (PKCS #8 PEM).

        Raises:
            FederationError: no such file, or not such a key. The file's content is never quoted.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError):
            raise FederationError(f"cannot read the identity key {path}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise FederationError(f"{path} is not an Ed25519 key")
        return cls(key)

    @property
    def public_hex(self) -> str:
        """The public half, 32 bytes as hex."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, statement: bytes) -> bytes:
        """64 bytes of Ed25519 signature."""
        return self._key.sign(statement)

    def __repr__(self) -> str:
        return f"SiteSigner(public={self.public_hex[:16]}…)"


def verify(public_hex: str, statement: bytes, signature: bytes) -> bool:
    """Whether `signature` is this key's signature of `statement`."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex)).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def join_statement(*, run: str, nonce: str, site: str, index: int, samples: int, data: str) -> bytes:
    """What a site signs to join: it answers the coordinator's nonce and pins what it declares."""
    return _encoded("secure-fl/join/1", (run, nonce, site, str(index), str(samples), data))


def update_statement(*, run: str, round: int, site: str, samples: int, model_sha256: str, update_sha256: str) -> bytes:
    """What a site signs with an update; the digests are over the raw float32 bytes (`vector_sha256`)."""
    return _encoded("secure-fl/update/1", (run, str(round), site, str(samples), model_sha256, update_sha256))


def vector_sha256(vector: np.ndarray[Any, Any]) -> str:
    """Hex SHA-256 of a contiguous (d,) vector's bytes, little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").data).hexdigest()


def open_roster(samples: Sequence[int]) -> Roster:
    """The roster of a simulation: sites 0 … n-1 with declared sample counts and no keys to check."""
    return Roster(
        tuple(
            RosterEntry(f"site-{index}", index, identity_key="", node_key="", certificate_sha256="", samples=count)
            for index, count in enumerate(samples)
        )
    )


def _encoded(label: str, parts: Iterable[str]) -> bytes:
    pieces = [label.encode(), *(part.encode() for part in parts)]
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)
