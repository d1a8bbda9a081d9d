"""Distributed DP in a run: how a site encodes what it contributes, and what the coordinator makes of an opened sum.

Client level (`dp-unit=client`): the sum is of clipped updates, and the model moves by their noised mean. DP-SGD
(`dp-sgd=distributed`): the sum is of clipped gradients of one Poisson draw from all sites' images, and the coordinator
takes the step that one trainer over all of them would take:

    g = sum / (q·N),    v ← μ·v + g,    w ← w - lr·v,        N = the declared images of the sites in the sum.

All of that is post-processing of a noised sum. Sites count alike in both. N is public, as sample counts always were;
momentum lives at the coordinator. A step that the validation gate undoes is undone in v, too: the next one is that of
a run without that round. After a restart v is read off the last two models that differ.

`codec_of` is a pure function of what both ends know, so they cannot disagree about steps or noise. A site takes the
quorum, how many survivors there are at least, from terms that it has checked itself: m = quorum - assumed colluders.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from secure_fl.app.client_privacy import ClientPrivacy
from secure_fl.app.identity import Roster
from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.privacy.distributed import LEVELS, SharedNoise
from secure_fl.privacy.regime import client_event, planned
from secure_fl.protection import threshold_of
from secure_fl.runs import RunRecord
from secure_fl.secagg.keystream import SEED
from secure_fl.secagg.noise import DiscreteGaussian
from secure_fl.secagg.noisy import NoisyFixedPoint
from secure_fl.secagg.ring import Ring
from secure_fl.training.seeds import derive_seed

__all__ = ["ClientSteps", "GlobalSGD", "Stepper", "codec_of", "encoding_seed", "shared_noise", "stepper_of"]

Vector = np.ndarray[Any, Any]

# Draws of more images than a sum has room for happen once in 2⁴⁰ rounds.
_RARE = 40 * math.log(2)


def shared_noise(config: RunConfig, *, quorum: int, parameters: int) -> SharedNoise:
    """The noise of a run with distributed DP whose `planned` settings these are.

    Raises:
        ConfigError: no honest site is sure to stay, or there are too many parameters for the ring's steps.
    """
    multiplier = client_event(config).noise_multiplier if config.dp_of_sites else config.dp_noise_multiplier
    return SharedNoise(multiplier, parameters, quorum - config.secagg_colluders)


def codec_of(config: RunConfig, *, members: int, quorum: int, parameters: int) -> NoisyFixedPoint | None:
    """How each of `members` sites encodes its contribution, noise included; None where sites add no shares of noise.

    Raises:
        ConfigError: as `shared_noise`, or the ring has no room for so many contributions and their noise.
    """
    if not config.dp_distributed:
        return None
    noise, ring = shared_noise(config, quorum=quorum, parameters=parameters), Ring(int(config.secagg_bits))
    per_site = 1 if config.dp_of_sites else 0  # sums of gradients: the coordinator knows how many there may be
    _refuse_overflow(noise.steps_needed(per_site * members, members), ring)
    return NoisyFixedPoint(
        ring,
        clip=config.dp_client_clip if config.dp_of_sites else config.dp_clip,
        levels=LEVELS,
        noise=DiscreteGaussian(noise.share),
        longest_squared=noise.longest_squared if config.dp_of_sites else None,
    )


def encoding_seed(config: RunConfig, *, round: int, site: int) -> bytes:
    """32 bytes for one site's roundings and noise in one round; of the run's seed only under insecure-test-rng."""
    if not config.insecure_test_rng:
        return os.urandom(SEED)
    return hashlib.sha256(f"insecure-test-rng {derive_seed(config.seed, 'share', round, site)}".encode()).digest()


class Stepper(Protocol):
    """Makes steps of the global model from opened sums."""

    def step(self, mean: Vector, sites: Sequence[int], *, round: int) -> Vector:
        """What to add to the model, (d,) float32. mean: over `sites`, roster indexes."""

    def undo(self) -> None:
        """The last step was not taken: what is remembered is again, to the bit, what it was before."""


class ClientSteps:
    """The model moves by the mean of the noised sum; the coordinator's ledger has it first."""

    def __init__(self, privacy: ClientPrivacy) -> None:
        self.privacy = privacy

    def step(self, mean: Vector, sites: Sequence[int], *, round: int) -> Vector:
        """What to add to the model, (d,) float32. mean: over `sites`, roster indexes. Raises as ClientPrivacy.enter."""
        self.privacy.enter(round=round)
        return mean

    def undo(self) -> None:
        """Nothing is remembered; what the sum has cost stays spent."""


class GlobalSGD:
    """Steps of one DP-SGD over all sites' images.

    images: the declared number of each site, by roster index. velocity: v before the next round's step.
    """

    def __init__(self, config: RunConfig, images: dict[int, int], velocity: Vector | None = None) -> None:
        self._config, self._images = config, images
        self._velocity: Vector | float = 0.0 if velocity is None else velocity
        self._before = self._velocity

    @classmethod
    def of(cls, config: RunConfig, record: RunRecord, roster: Roster, *, parameters: int) -> GlobalSGD:
        """Where the record's run stands.

        Raises:
            ConfigError: a site declares no number of images, or so many images in a step do not fit the ring.
        """
        images = {}
        for entry in roster.entries:
            if entry.samples is None:
                raise ConfigError(
                    f"`dp-sgd` is distributed but {entry.name} declares no number of images",
                    why="the step is divided by a number that must not depend on who was drawn",
                    fix="declare it in the roster",
                )
            images[entry.index] = entry.samples
        noise = shared_noise(config, quorum=threshold_of(len(images)), parameters=parameters)
        drawn = _most_drawn(sum(images.values()), config.dp_sample_rate)
        _refuse_overflow(noise.steps_needed(drawn, len(images)), Ring(int(config.secagg_bits)))
        return cls(config, images, _velocity(config, record))

    def step(self, mean: Vector, sites: Sequence[int], *, round: int) -> Vector:
        """What to add to the model, (d,) float32. mean: of the sums of `sites`, roster indexes."""
        images = sum(self._images[each] for each in sites)
        gradient = mean.astype(np.float64) * (len(sites) / (self._config.dp_sample_rate * images))
        self._before = self._velocity
        self._velocity = self._config.momentum * self._velocity + gradient
        return np.asarray(-self._config.lr_in(round) * self._velocity, dtype=np.float32)

    def undo(self) -> None:
        """v is what it was before the last step, which was not taken."""
        self._velocity = self._before


def stepper_of(config: RunConfig, record: RunRecord, roster: Roster, *, parameters: int) -> Stepper | None:
    """What turns opened sums into steps; None where sums are of plain updates. Raises as `GlobalSGD.of`."""
    if not config.dp_distributed:
        return None
    if config.dp_of_sites:
        return ClientSteps(ClientPrivacy.of(config, record, roster))
    return GlobalSGD.of(planned(config), record, roster, parameters=parameters)


def _velocity(config: RunConfig, record: RunRecord) -> Vector | None:
    """v of the last round that took a step: what it moved the model by, over its learning rate.

    A round that was void or undone has left the model, and v, as they were.
    """
    saved = record.checkpoints()
    for earlier, later in reversed(list(pairwise(saved))):
        if later.round != earlier.round + 1:
            return None
        before, after = (record.load_checkpoint(each).astype(np.float64) for each in (earlier, later))
        if not np.array_equal(before, after):
            return np.asarray((before - after) / config.lr_in(later.round))
    return None


def _most_drawn(images: int, rate: float) -> float:
    """A number of images that a Poisson draw exceeds with a probability of 2⁻⁴⁰ at most (Bernstein's inequality)."""
    spread = images * rate * (1 - rate)
    return min(images, images * rate + math.sqrt(2 * spread * _RARE) + 2 * _RARE / 3)


def _refuse_overflow(steps: float, ring: Ring) -> None:
    if steps > ring.largest:
        raise ConfigError(
            f"a noised sum needs {steps:.2g} steps, and a ring of {ring.bits} bits has {ring.largest:.2g}",
            why="it would wrap around and be lost",
            fix="draw fewer images in a step (dp-sample-rate), or take a larger dp-epsilon",
        )
