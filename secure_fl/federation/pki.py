"""The keys and certificates of a federation, made on first use and renewed before they expire.

    HOME/federation/            0700
      ca.crt, ca.key            the federation's own authority (P-256); signs nothing but what is below
      server.crt, server.key    the coordinator, for the names and addresses by which sites reach it
      roster.json, roster.sig   the admitted sites: public keys and certificate fingerprints, signed by the authority
      sites/site-0/             one start-up kit a site; on another machine, it is all that the site needs
        ca.crt, tls.crt, tls.key   mutual TLS
        node.key, node.pub         Flower's node authentication (P-384, OpenSSH form)
        identity.key               signs updates (Ed25519)
        roster.json, roster.sig    who else is in the federation

The roster says who a site is. A site that is in it and whose kit does not lie here has its kit with it: its entry
stays as it is, and nothing is made in its place unless a new kit is asked for by name. A kit that lies here must be
the one that the roster names.

Private keys are written 0600 into a 0700 folder before they hold a byte, and are never printed,
logged or passed on a command line. Whoever can read `ca.key` can admit sites: on a coordinator that
matters, keep it elsewhere once the sites are provisioned (`authority`).
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_fl.app.identity import Roster, RosterEntry, SiteSigner
from secure_fl.app.signed_roster import is_signed
from secure_fl.errors import FederationError
from secure_fl.federation.authority import Authority
from secure_fl.federation.certificates import ends_soon, hosts_of, is_issued_by, read_certificate, write_certificate
from secure_fl.federation.key_files import key_at, private_folder, write_durably, write_private
from secure_fl.federation.kits import kit_is_here, missing_keys

__all__ = ["FIRST_SITES", "LEAF_DAYS", "FederationKeys", "absent_kits", "control_kit", "provision", "revoke"]

logger = logging.getLogger("secure_fl.federation")

FIRST_SITES = 5
LEAF_DAYS = 365


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
    folder: Path,
    *,
    sites: int | None,
    hosts: Iterable[str],
    new_kits: Sequence[str] = (),
    now: datetime.datetime | None = None,
) -> FederationKeys:
    """Make what is missing for `sites` sites and a coordinator known as `hosts`; keep what is there.

    sites: None stands for as many as the roster has, or 5 where there is none.

    A site that is not in the roster gets a kit; so does, with new keys, each of `new_kits`, and what it had before
    is refused from then on. A kit that lies here is kept, with its keys. Certificates here that end within 30 days,
    or whose names no longer fit, are issued anew from the same authority.

    Raises:
        FederationError: what is here cannot be read or does not fit together, the authority has expired or its key
            is needed and not here, or a new kit is asked for a site that has its kit here or is not in the roster.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    known = _known(folder)
    _refuse_new_kits(folder, known, new_kits)
    private_folder(folder)
    authority = Authority.at(folder, moment)
    entries = {entry.name: entry for entry in known.entries}
    count = max((entry.index + 1 for entry in known.entries), default=FIRST_SITES) if sites is None else sites
    indexes = {f"site-{index}": index for index in range(count)}
    fresh = dict.fromkeys([*new_kits, *(name for name in indexes if name not in entries)])
    if fresh:
        authority.require(f"make a start-up kit for {', '.join(fresh)}")
    names = sorted({"localhost", "127.0.0.1", *hosts})
    _leaf(folder / "server", authority, common_name="coordinator", hosts=names, moment=moment)
    for name in indexes:
        entry = entries.get(name)
        if entry is not None and not entry.revoked and kit_is_here(folder / "sites" / name):
            entries[name] = _kept_kit(folder, entry, authority, moment)
    for name in fresh:
        before = entries.get(name)
        made = _made_kit(folder, name, before.index if before else indexes[name], authority, moment)
        entries[name] = replace(made, samples=before.samples) if before else made
    roster = Roster(tuple(sorted(entries.values(), key=lambda entry: entry.index)))
    _publish(folder, roster, authority)
    return FederationKeys(folder, roster)


def absent_kits(folder: Path) -> list[RosterEntry]:
    """The admitted sites, by index, whose kits are elsewhere.

    Raises:
        FederationError: what lies at `roster.json` is not a roster.
    """
    admitted = (entry for entry in _known(folder).entries if not entry.revoked)
    absent = (entry for entry in admitted if not kit_is_here(folder / "sites" / entry.name))
    return sorted(absent, key=lambda entry: entry.index)


def control_kit(keys: FederationKeys, folder: Path, *, moment: datetime.datetime) -> str:
    """A client certificate of a day for the audit's controls, with its key, in `folder`; its SHA-256.

    It is in no roster, so no run admits it; `superlink` is told of it for the one run that it is made for.

    Raises:
        FederationError: the authority cannot sign it.
    """
    authority = Authority.at(keys.folder, moment)
    authority.require("audit a run: the audit's controls get a certificate of a day")
    key = key_at(folder / "tls.key", ec.SECP256R1())
    certificate = authority.issue("audit-control", key.public_key(), days=1, moment=moment)
    write_certificate(folder / "tls.crt", certificate)
    write_certificate(folder / "ca.crt", authority.certificate)
    return certificate.fingerprint(hashes.SHA256()).hex()


def revoke(folder: Path, site: str) -> Roster:
    """Take a site out of every later run; its kit and name stay, and `provision` does not admit it again.

    Raises:
        FederationError: there is no roster, or no such site in it, or the authority cannot sign the new one.
    """
    roster = Roster.read(folder / "roster.json").revoking(site)
    _publish(folder, roster, Authority.at(folder, datetime.datetime.now(datetime.UTC)))
    return roster


def _known(folder: Path) -> Roster:
    file = folder / "roster.json"
    return Roster.read(file) if file.exists() else Roster(())


def _refuse_new_kits(folder: Path, known: Roster, names: Iterable[str]) -> None:
    """A kit can be made in place of one that was lost, and of no other."""
    for name in names:
        entry, kit = known.by_name(name), folder / "sites" / name
        if entry is None:
            listed = ", ".join(each.name for each in known.entries if not each.revoked)
            raise FederationError(
                f"no site `{name}` is in the roster",
                fix=f"choose one of: {listed}" if listed else "secure-fl federation provision --sites N",
            )
        if entry.revoked:
            raise FederationError(f"{name} is revoked", fix="admit another site: --sites N")
        if kit_is_here(kit):
            raise FederationError(
                f"the kit of {name} lies here", why="a new kit is for one that was lost", fix=f"delete {kit} first"
            )


def _publish(folder: Path, roster: Roster, authority: Authority) -> None:
    """Write the roster with its signature, here and into every kit that lies here; what is up to date stays so."""
    document = roster.to_json().encode()
    kits = (folder / "sites" / entry.name for entry in roster.entries)
    places = [folder, *(kit for kit in kits if kit_is_here(kit))]
    signatures = {place: _signature(place, document, authority.certificate) for place in places}
    stale = [place for place, signature in signatures.items() if signature is None]
    if not stale:
        return
    signature = next((each for each in signatures.values() if each), None) or authority.sign(document)
    for place in stale:
        write_durably(place / "roster.json", document, mode=0o644)
        write_durably(place / "roster.sig", signature, mode=0o644)


def _signature(place: Path, document: bytes, ca: x509.Certificate) -> bytes | None:
    """The authority's signature that lies at `place`, if it is over this roster and the roster lies beside it."""
    copy, file = place / "roster.json", place / "roster.sig"
    if not (copy.exists() and file.exists()) or copy.read_bytes() != document:
        return None
    signature = file.read_bytes()
    return signature if is_signed(document, signature, ca) else None


def _kept_kit(folder: Path, entry: RosterEntry, authority: Authority, moment: datetime.datetime) -> RosterEntry:
    """Keep up a kit that lies here, and the roster's entry with it.

    Raises:
        FederationError: it has lost a key, or is not the one that the roster names.
    """
    kit = folder / "sites" / entry.name
    fix = f"delete {kit} if the site has its kit; if not, then: secure-fl federation provision --new-kit {entry.name}"
    if missing := missing_keys(kit):
        raise FederationError(f"the kit of {entry.name} is not whole", why=f"no {', '.join(missing)} in {kit}", fix=fix)
    if (_identity(kit), _node_key(kit)) != (entry.identity_key, entry.node_key):
        raise FederationError(
            f"the kit of {entry.name} is not the roster's", why=f"{kit} holds keys that it does not name", fix=fix
        )
    made = _made_kit(folder, entry.name, entry.index, authority, moment)
    return replace(made, samples=entry.samples)


def _made_kit(folder: Path, name: str, index: int, authority: Authority, moment: datetime.datetime) -> RosterEntry:
    """Make or complete one start-up kit and say what the roster must hold of it."""
    kit = folder / "sites" / name
    private_folder(kit.parent)
    private_folder(kit)
    certificate = _leaf(kit / "tls", authority, common_name=name, hosts=(), moment=moment)
    write_certificate(kit / "ca.crt", authority.certificate)
    node = _node_key(kit)
    write_durably(kit / "node.pub", node.encode() + b"\n", mode=0o644)
    return RosterEntry(
        name=name,
        index=index,
        identity_key=_identity(kit),
        node_key=node,
        certificate_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _node_key(kit: Path) -> str:
    """The public half of a kit's node key, made now if there is none, as an OpenSSH line."""
    key = key_at(kit / "node.key", ec.SECP384R1(), serialization.PrivateFormat.OpenSSH)
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _identity(kit: Path) -> str:
    """The public half of a kit's identity key, made now if there is none, as hex."""
    path = kit / "identity.key"
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, pem)
    return SiteSigner.from_file(path).public_hex


def _leaf(
    stem: Path, authority: Authority, *, common_name: str, hosts: Iterable[str], moment: datetime.datetime
) -> x509.Certificate:
    """The certificate `stem.crt` with key `stem.key`, issued (again) when it must be.

    One that ends soon and cannot be renewed, because ca.key is not here, is used to its end.
    """
    key_file, file = stem.with_suffix(".key"), stem.with_suffix(".crt")
    current = read_certificate(file) if file.exists() else None
    if current is None or not key_file.exists():
        authority.require(f"sign a certificate for a new key of {common_name}")
    key = key_at(key_file, ec.SECP256R1())
    names = set(hosts)
    if current is not None:
        misfit = _misfit(current, key, names, authority)
        if not misfit and not ends_soon(current, moment):
            return current
        ends = f"{current.not_valid_after_utc:%Y-%m-%d}"
        if not misfit and current.not_valid_after_utc > moment and not authority.can_sign:
            logger.warning("the certificate of %s ends on %s; ca.key is needed to renew it", common_name, ends)
            return current
        authority.require(f"renew the certificate of {common_name}, which {misfit or f'ends on {ends}'}")
        names |= hosts_of(current)
    certificate = authority.issue(common_name, key.public_key(), hosts=sorted(names), days=LEAF_DAYS, moment=moment)
    write_certificate(file, certificate)
    return certificate


def _misfit(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: set[str], authority: Authority
) -> str:
    """Why a certificate is of no use here, however long it lasts; empty if it fits."""
    if not is_issued_by(certificate, authority.certificate):
        return "is of another authority"
    if certificate.public_key() != key.public_key():
        return "is for another key"
    missing = names - hosts_of(certificate)
    return f"is not for {', '.join(sorted(missing))}" if missing else ""
