"""A real TLS conversation, made by OpenSSL in a process of its own: what each side sends, and the session's secrets.

A process of its own, because Python's `ssl` cannot choose a suite of TLS 1.3: OpenSSL's configuration file can.
"""

from __future__ import annotations

import copy
import datetime
import functools
import hashlib
import json
import os
import random
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT, SERVER = "to-coordinator", "to-site"
SUITES = {
    "TLS_AES_128_GCM_SHA256": "TLSv1_3",
    "TLS_AES_256_GCM_SHA384": "TLSv1_3",
    "TLS_CHACHA20_POLY1305_SHA256": "TLSv1_3",
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLSv1_2",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLSv1_2",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLSv1_2",
}


@dataclass(frozen=True)
class Conversation:
    """`flights`: what goes over TCP, in order; `said`: what each side said inside; `key_log`: NSS lines."""

    flights: tuple[tuple[str, bytes], ...]
    said: dict[str, bytes]
    key_log: str
    certificates: dict[str, str]
    handshake: int  # how many of the flights come before anything is said

    @property
    def secrets(self) -> dict[bytes, dict[str, bytes]]:
        return secrets_of(self.key_log)


def secrets_of(key_log: str) -> dict[bytes, dict[str, bytes]]:
    found: dict[bytes, dict[str, bytes]] = {}
    for line in key_log.splitlines():
        label, client_random, secret = line.split()
        found.setdefault(bytes.fromhex(client_random), {})[label] = bytes.fromhex(secret)
    return found


def certificate(name: str) -> tuple[bytes, bytes, str]:
    """A self-signed certificate and its key as PEM, and the SHA-256 of its DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = made.public_bytes(serialization.Encoding.DER)
    return made.public_bytes(serialization.Encoding.PEM), pem, hashlib.sha256(der).hexdigest()


class Pipe:
    """Both ends of a TLS session in memory; records what crosses between them."""

    def __init__(self, folder: Path, *, version: str = "TLSv1_3", ciphers: str = "", curve: str = "") -> None:
        self.flights: list[tuple[str, bytes]] = []
        self.certificates = {}
        log = folder / "keys.log"
        contexts = []
        for side, protocol in ((CLIENT, ssl.PROTOCOL_TLS_CLIENT), (SERVER, ssl.PROTOCOL_TLS_SERVER)):
            crt, key, self.certificates[side] = certificate(side)
            (folder / f"{side}.crt").write_bytes(crt)
            (folder / f"{side}.key").write_bytes(key)
            context = ssl.SSLContext(protocol)
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
            if ciphers:
                context.set_ciphers(ciphers)
            context.load_cert_chain(folder / f"{side}.crt", folder / f"{side}.key")
            context.check_hostname = False
            contexts.append(context)
        contexts[0].keylog_filename = str(log)
        contexts[0].verify_mode = contexts[1].verify_mode = ssl.CERT_REQUIRED
        contexts[0].load_verify_locations(folder / f"{SERVER}.crt")
        contexts[1].load_verify_locations(folder / f"{CLIENT}.crt")
        if curve:
            contexts[1].set_ecdh_curve(curve)
        self._log, self._contexts = log, contexts
        self._begin(None)

    def _begin(self, ticket: ssl.SSLSession | None) -> None:
        contexts = self._contexts
        self._written = {each: ssl.MemoryBIO() for each in (CLIENT, SERVER)}
        self._read = {each: ssl.MemoryBIO() for each in (CLIENT, SERVER)}
        self._out = {
            CLIENT: contexts[0].wrap_bio(self._read[CLIENT], self._written[CLIENT], session=ticket),
            SERVER: contexts[1].wrap_bio(self._read[SERVER], self._written[SERVER], server_side=True),
        }
        self._shake()

    def resumed(self) -> Pipe:
        """Another session between the same two, with the ticket of this one."""
        again = copy.copy(self)
        again.flights = []
        again._begin(self._out[CLIENT].session)
        return again

    @property
    def reused(self) -> bool:
        return self._out[CLIENT].session_reused

    @property
    def secrets(self) -> dict[bytes, dict[str, bytes]]:
        return secrets_of(self.key_log)

    @property
    def key_log(self) -> str:
        lines = self._log.read_text().splitlines()
        return "\n".join(line for line in lines if line and not line.startswith("#"))

    def say(self, direction: str, data: bytes) -> None:
        """Send data and let the other side read it."""
        view = memoryview(data)
        peer = self._out[SERVER if direction == CLIENT else CLIENT]
        while view:
            view = view[self._out[direction].write(view[: 1 << 20]) :]
            self._carry(direction)
            while True:
                try:
                    peer.read(1 << 20)
                except ssl.SSLWantReadError:
                    break

    def _shake(self) -> None:
        done = set()
        while done != {CLIENT, SERVER}:
            for direction in (CLIENT, SERVER):
                try:
                    self._out[direction].do_handshake()
                    done.add(direction)
                except ssl.SSLWantReadError:
                    pass
                self._carry(direction)

    def _carry(self, direction: str) -> None:
        """Move what the side has written, through our notebook."""
        if data := self._written[direction].read():
            self.flights.append((direction, data))
            self._read[SERVER if direction == CLIENT else CLIENT].write(data)


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311


@functools.cache
def conversation(suite: str, size: int) -> Conversation:
    """The client sends `size` bytes and the server 1,000, in two turns each, under a suite of `SUITES`."""
    version = SUITES[suite]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "openssl.cnf"
        config.write_text(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
            + (f"Ciphersuites = {suite}\n" if version == "TLSv1_3" else "MinProtocol = TLSv1.2\n")
        )
        told = subprocess.run(
            [sys.executable, __file__, version, suite, str(size), folder],
            env={**os.environ, "OPENSSL_CONF": str(config)},
            capture_output=True,
            check=True,
        ).stdout
    head, _, body = told.partition(b"\n")
    said = json.loads(head)
    flights, at = [], 0
    for direction, length in said["flights"]:
        flights.append((direction, body[at : at + length]))
        at += length
    inside = {CLIENT: content(size, 1) + content(500, 3), SERVER: content(500, 2) + content(500, 4)}
    return Conversation(tuple(flights), inside, said["key_log"], said["certificates"], said["handshake"])


def main() -> None:
    version, suite, size, folder = sys.argv[1:]
    pipe = Pipe(Path(folder), version=version, ciphers=suite if version == "TLSv1_2" else "")
    handshake = len(pipe.flights)
    pipe.say(CLIENT, content(int(size), 1))
    pipe.say(SERVER, content(500, 2))
    pipe.say(CLIENT, content(500, 3))
    pipe.say(SERVER, content(500, 4))
    head = {
        "flights": [(direction, len(data)) for direction, data in pipe.flights],
        "key_log": pipe.key_log,
        "certificates": pipe.certificates,
        "handshake": handshake,
    }
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + b"".join(data for _, data in pipe.flights))


if __name__ == "__main__":
    main()
