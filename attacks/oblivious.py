"""Attacks that need no knowledge of the others: the floor that every defense must clear.

Each client looks at its own update at most, so all of them also work from a real site that sees nothing of its peers.
Sign flip and scaling keep the information of an honest update and turn or stretch it; the noise attacks carry none;
the free riders send next to nothing and want the model for free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacks._validate import finite, non_negative, positive
from attacks.base import Knowledge, Matrix, View

__all__ = ["FreeRider", "Gaussian", "Random", "Scaled", "SignFlip", "Zero"]


@dataclass(frozen=True)
class SignFlip:
    """Each client sends −1 times its honest update: same length, opposite way."""

    name: ClassVar[str] = "sign_flip"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Damaskinos 2018, Asynchronous Byzantine machine learning, ICML (reversed gradient)"
    trains: ClassVar[bool] = True

    def craft(self, view: View) -> Matrix:
        """(f, d): −own."""
        return -view.own


@dataclass(frozen=True)
class Scaled:
    """Each client sends `factor` times its honest update; below 0 it is a sign flip with a loud voice."""

    factor: float = -4.0

    name: ClassVar[str] = "scaled"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Li 2019, RSA, AAAI, experiments (sign flipping, factor −4; arXiv 1811.03761)"
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        finite(self.name, factor=self.factor)

    def craft(self, view: View) -> Matrix:
        """(f, d): factor × own."""
        return np.float32(self.factor) * view.own


@dataclass(frozen=True)
class Gaussian:
    """Each client skips training and sends the global model plus N(0, sigma²) on every weight.

    As an update that is N(0, sigma²) itself. At sigma = 0.5 this is the setting of the published Flower tables.
    """

    sigma: float = 0.5

    name: ClassVar[str] = "gaussian"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Blanchard 2017, Krum, NeurIPS, section 5 (Gaussian workers; arXiv 1703.02757)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self.name, sigma=self.sigma)

    def craft(self, view: View) -> Matrix:
        """(f, d): independent noise, another draw for each client."""
        return view.rng.standard_normal(view.own.shape, np.float32) * np.float32(self.sigma)


@dataclass(frozen=True)
class Random:
    """Each client sends uniform noise in [−scale, scale]: bounded coordinates, unbounded nonsense."""

    scale: float = 1.0

    name: ClassVar[str] = "random"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Han 2023, FedSecurity (Byzantine attack, random mode; arXiv 2306.04959)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self.name, scale=self.scale)

    def craft(self, view: View) -> Matrix:
        """(f, d): independent noise, another draw for each client."""
        unit = view.rng.random(view.own.shape, np.float32)
        return (np.float32(2.0) * unit - np.float32(1.0)) * np.float32(self.scale)


@dataclass(frozen=True)
class Zero:
    """Each client sends nothing at all, as a broken one would: it slows the mean down by f/n and harms no further."""

    name: ClassVar[str] = "zero"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Fraboni 2021, Free-rider attacks, AISTATS (plain free-riding; arXiv 2006.11901)"
    trains: ClassVar[bool] = False

    def craft(self, view: View) -> Matrix:
        """(f, d): zeros."""
        return np.zeros(view.own.shape, np.float32)


@dataclass(frozen=True)
class FreeRider:
    """Each client echoes the last global step with a little noise, so that it looks like work done.

    `noise`: standard deviation of the noise, relative to the root mean square of the echoed step. Nothing can be
    echoed in round 1: then it sends zeros.
    """

    noise: float = 0.1

    name: ClassVar[str] = "free_rider"
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    paper: ClassVar[str] = "Lin 2019, Free-riders in federated learning (advanced delta weights; arXiv 1911.12560)"
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        non_negative(self.name, noise=self.noise)

    def craft(self, view: View) -> Matrix:
        """(f, d): previous + N(0, (noise × rms(previous))²)."""
        if view.previous is None:
            return np.zeros(view.own.shape, np.float32)
        rms = float(np.sqrt(np.mean(np.square(view.previous, dtype=np.float64))))
        sent = view.rng.standard_normal(view.own.shape, np.float32) * np.float32(self.noise * rms)
        sent += view.previous
        return sent
