"""The parts of a report that were measured: what privacy was spent, and what the model and its updates give away.

Numbers only, and small pictures as bytes; what they look like is the page's business. What was not measured says so
(`Outcome.NOT_TESTED`, an empty list with a note) and cannot be left out.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Bound",
    "Inversion",
    "Leakage",
    "ManifestCheck",
    "Membership",
    "OperatingPoint",
    "Outcome",
    "Picture",
    "Privacy",
    "Reconstruction",
    "RocPoint",
    "Spending",
]


class Outcome(StrEnum):
    """How a measurement stands to what was claimed."""

    CONSISTENT = "consistent"
    VIOLATED = "violated"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Spending:
    """One line of a privacy ledger: what was done, and the ε that the accountant makes of it (None: no bound)."""

    site: str
    unit: str  # "image" or "site"
    mechanism: str
    noise_multiplier: float  # σ, in units of the clipping norm
    clip: float  # C
    sample_rate: float  # q
    steps: int  # T
    delta: float
    accountant: str
    epsilon: float | None


@dataclass(frozen=True)
class Bound:
    """An empirical test of what the accountant claims. `lower`: ε that the test proves was spent."""

    test: str  # "Gaussian mechanism", "one run", "χ² of the noise"
    site: str
    claimed: float | None
    lower: float | None
    confidence: float | None  # of the lower bound, 0.95
    p_value: float | None
    outcome: Outcome
    detail: str
    assumes: str


@dataclass(frozen=True)
class Privacy:
    """What the ledgers claim and what was measured. Without DP both lists are empty and the note says so."""

    note: str
    spent: tuple[Spending, ...]
    bounds: tuple[Bound, ...]


@dataclass(frozen=True)
class RocPoint:
    """False and true positive rate."""

    fpr: float
    tpr: float

    def __post_init__(self) -> None:
        if not (0 <= self.fpr <= 1 and 0 <= self.tpr <= 1):
            raise ValueError(f"({self.fpr}, {self.tpr}) is no pair of rates")


@dataclass(frozen=True)
class OperatingPoint:
    """True positive rate at a fixed false positive rate, with its 95 % interval."""

    fpr: float
    tpr: float
    low: float
    high: float


@dataclass(frozen=True)
class Membership:
    """One membership inference attack on the final model. `points` lie in order of fpr, from (0, 0) to (1, 1)."""

    attack: str
    members: int
    non_members: int
    auc: float
    auc_low: float
    auc_high: float
    points: tuple[RocPoint, ...]
    at: tuple[OperatingPoint, ...]
    assumes: str

    def __post_init__(self) -> None:
        rates = [(point.fpr, point.tpr) for point in self.points]
        if rates != sorted(rates):
            raise ValueError("the points of a ROC curve lie in order")


@dataclass(frozen=True)
class Picture:
    """A small picture: `pixels` is base64 of uint8, row by row, `channels` 1 or 3."""

    width: int
    height: int
    channels: int
    pixels: str

    def __post_init__(self) -> None:
        if self.channels not in (1, 3) or not (0 < self.width <= 512 and 0 < self.height <= 512):
            raise ValueError("a picture has 1 or 3 channels and at most 512 × 512 pixels")
        try:
            found = len(base64.b64decode(self.pixels, validate=True))
        except binascii.Error as why:
            raise ValueError(f"the pixels are no base64: {why}") from why
        if found != self.width * self.height * self.channels:
            raise ValueError(f"{found} bytes are not {self.width} × {self.height} × {self.channels}")

    @classmethod
    def of(cls, width: int, height: int, channels: int, pixels: bytes) -> Picture:
        """The picture of these uint8 values."""
        return cls(width, height, channels, base64.b64encode(pixels).decode())

    def bytes(self) -> bytes:
        """The uint8 values."""
        return base64.b64decode(self.pixels)


@dataclass(frozen=True)
class Reconstruction:
    """What an attacker drew from an update that was protected in the named way; PSNR in dB, None if not finite."""

    protection: str  # "unprotected", "DP, ε = 8" ...
    picture: Picture
    psnr_db: float | None


@dataclass(frozen=True)
class Inversion:
    """Gradient inversion of one update. `source` says whose picture it is: never one of a site that did not agree."""

    title: str
    source: str
    original: Picture
    reconstructions: tuple[Reconstruction, ...]
    assumes: str


@dataclass(frozen=True)
class ManifestCheck:
    """Is the model that the server sent the one of the signed manifest (against layers that catch images)?"""

    outcome: Outcome
    expected_sha256: str
    seen_sha256: str
    detail: str


@dataclass(frozen=True)
class Leakage:
    """What the model and its updates give away."""

    note: str
    memberships: tuple[Membership, ...]
    inversions: tuple[Inversion, ...]
    manifest: ManifestCheck
