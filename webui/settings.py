"""Everything that the Command Center is started with, in one frozen object.

It speaks TLS, or it stays on this machine: plain HTTP anywhere but on the loopback address cannot be expressed.
What is secret (keys, the token of /metrics) is made here on first use, in files that only the owner may read.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.errors import ConfigError, IntegrityError

__all__ = ["Settings", "private_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the Command Center finds its files, and how it listens.

    Raises:
        ConfigError: plain HTTP was asked for on an address that other machines can reach.
    """

    home: Path  # holds runs/, comparisons/, federation/; what is ours lies below webui/
    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    certificate_key: Path | None = None
    insecure_http: bool = False
    trusted_hosts: tuple[str, ...] = ()  # beside the loopback names and `host`
    idle_s: float = 30 * 60
    longest_s: float = 12 * 60 * 60
    argon2_memory_kib: int = 64 * 1024
    limits: bool = True  # of the rate of requests; only measurements are taken without

    def __post_init__(self) -> None:
        if self.insecure_http and not self.on_loopback:
            raise ConfigError(
                f"--insecure-http on {self.host}",
                why="passwords and sessions would cross the network in the clear",
                fix="leave --insecure-http out, or listen on 127.0.0.1",
            )
        if (self.certificate is None) != (self.certificate_key is None):
            raise ConfigError("a certificate and its key belong together", fix="give both, or neither")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach us."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names in the Host header that we answer to; port numbers do not matter."""
        return tuple(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", self.host, *self.trusted_hosts)))

    @property
    def cookie_name(self) -> str:
        """`__Host-` makes browsers refuse the cookie unless it came by TLS, for this host and all paths."""
        return "sid" if self.insecure_http else "__Host-sid"

    @property
    def folder(self) -> Path:
        """What is ours: 0700, and nothing in it is served."""
        path = self.home / "webui"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    @property
    def database(self) -> Path:
        """Users, sessions, jobs and the action log."""
        return self.folder / "webui.sqlite"

    def secret_keys(self) -> tuple[str, ...]:
        """Newest first; older lines stay valid for reading until somebody deletes them."""
        lines = private_file(self.folder / "secret.key", secrets.token_urlsafe(48).encode()).decode().split()
        if not lines:
            raise IntegrityError(f"{self.folder / 'secret.key'} is empty", fix="delete it; a new one is made")
        return tuple(lines)

    def rotate_secret_key(self) -> None:
        """Put a new key in front of the present one; those before it end here."""
        path, kept = self.folder / "secret.key", self.secret_keys()[0]
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        private_file(draft, f"{secrets.token_urlsafe(48)}\n{kept}\n".encode())
        os.replace(draft, path)

    def signing_key(self) -> Ed25519PrivateKey:
        """Signs the head of the action log."""
        fresh = Ed25519PrivateKey.generate().private_bytes_raw()
        return Ed25519PrivateKey.from_private_bytes(private_file(self.folder / "actions.key", fresh))

    def metrics_token(self) -> str:
        """What a Prometheus on another machine shows as its bearer token."""
        return private_file(self.folder / "metrics.token", secrets.token_urlsafe(32).encode()).decode().strip()


def private_file(path: Path, fresh: bytes) -> bytes:
    """The content of `path`, which is made of `fresh` where there is none; 0600 before it holds a byte."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(fresh)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # unlike a rename, never replaces what another process made meanwhile
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()
