"""The federation's authority: a certificate that all trust, and the key that signs in its name.

Whoever can read `ca.key` can admit sites, so it may be kept off-line: what is signed already is used without it,
and what needs a new signature says so and what for. A key is made only where there is no authority yet: one made in
place of a missing `ca.key` would sign what nobody trusts, and would look like the one that is kept.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from secure_fl.app.signed_roster import sign_roster
from secure_fl.errors import FederationError
from secure_fl.federation.certificates import issue_certificate, read_certificate, write_certificate
from secure_fl.federation.key_files import key_at, read_key

__all__ = ["CA_DAYS", "Authority"]

CA_DAYS = 1825


@dataclass(frozen=True)
class Authority:
    """The authority whose material lies in `folder`; its text form never shows the key."""

    folder: Path
    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey | None = field(repr=False)

    @classmethod
    def at(cls, folder: Path, moment: datetime.datetime) -> Authority:
        """The authority in `folder`, made (or completed after a crash) where there is no certificate yet.

        Raises:
            FederationError: its files cannot be read, or it has expired.
        """
        key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
        if certificate_file.exists():
            certificate = read_certificate(certificate_file)
            if certificate.not_valid_after_utc <= moment:
                raise FederationError(
                    f"the federation's authority expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
                    fix=f"move {folder} away and provision anew; every site needs its new kit",
                )
            return cls(folder, certificate, read_key(key_file) if key_file.exists() else None)
        key = key_at(key_file, ec.SECP256R1())
        certificate = issue_certificate(
            "Secure FL federation authority", key.public_key(), key, issuer=None, days=CA_DAYS, moment=moment
        )
        write_certificate(certificate_file, certificate)
        return cls(folder, certificate, key)

    @property
    def can_sign(self) -> bool:
        """Whether the certificate's own key lies here."""
        return self._key is not None and self._key.public_key() == self.certificate.public_key()

    def require(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        """The key, for `purpose` ("make …"): asked for before anything is written that would need it.

        Raises:
            FederationError: it does not lie here, or is not the certificate's.
        """
        if self._key is None or not self.can_sign:
            what = "holds no ca.key" if self._key is None else "holds a ca.key that is not the key of its ca.crt"
            raise FederationError(
                f"ca.key is needed to {purpose}",
                why=f"{self.folder} {what}",
                fix=f"bring the federation's ca.key to {self.folder}, and take it away again afterwards",
            )
        return self._key

    def issue(
        self,
        common_name: str,
        public_key: ec.EllipticCurvePublicKey,
        *,
        hosts: Iterable[str] = (),
        days: float,
        moment: datetime.datetime,
    ) -> x509.Certificate:
        """A certificate of this authority: a server's if it has `hosts`, else a client's.

        Raises:
            FederationError: the key does not lie here.
        """
        key = self.require(f"sign a certificate for {common_name}")
        return issue_certificate(
            common_name, public_key, key, issuer=self.certificate, hosts=hosts, days=days, moment=moment
        )

    def sign(self, roster: bytes) -> bytes:
        """The signature over a roster's document.

        Raises:
            FederationError: the key does not lie here.
        """
        return sign_roster(roster, self.require("sign the roster, which has changed or was never signed"))
