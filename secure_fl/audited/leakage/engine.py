"""The mechanism itself, fed with canaries: what it lets through, measured on the code that the sites run.

The canaries are records whose gradients are orthogonal and longer than the clip: one input each of a linear layer,
trained by `PrivateTraining` with the run's σ, C, q and number of steps. Each is in the data, or not, by a coin. The
layer has two classes, so a canary moves the difference of its two weights by C a step, and their sum not at all
(`class_sums`): the same pass shows signal and pure noise. The learning rate is zero, as only gradients are read.

It proves what this software does with these settings on this machine, not that the sites ran it: see `noise` for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from secure_fl.privacy.accounting import PrivacyEvent
from secure_fl.privacy.engine import PrivateTraining
from secure_fl.privacy.mechanism import gaussian_mechanism
from secure_fl.privacy.randomness import Randomness

__all__ = ["MOST_STEPS", "Replay", "replay_coordinator", "replay_site"]

MOST_STEPS = 2_000
"""Steps that are replayed at most; claims are then made for as many."""
_LENGTH = 100.0  # of a canary's gradient, in clips

Vector = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Replay:
    """In units of the clip: scores (m,), what came out in each canary's coordinate, summed over steps; included (m,)
    bool; noise (m,), what came out where no record reaches; noise_std: what each entry of `noise` should have."""

    event: PrivacyEvent
    scores: Vector
    included: Vector
    noise: Vector
    noise_std: float


def replay_site(
    event: PrivacyEvent, clip: float, *, canaries: int, coins: np.random.Generator, randomness: Randomness
) -> Replay:
    """DP-SGD at a site: Poisson sampling, clipping and noise by the engine that sites train with."""
    included = coins.random(canaries) < 0.5
    present = np.flatnonzero(included)
    model = nn.Linear(canaries, 2, bias=False)
    nn.init.zeros_(model.weight)  # both classes stay equally likely, so that all gradients have one length
    expected = event.sample_rate * len(present)
    scores, noise = np.zeros(canaries), np.zeros(canaries)
    with PrivateTraining(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        noise_multiplier=event.noise_multiplier,
        max_grad_norm=clip,
        expected_batch_size=expected,
        randomness=randomness,
    ) as training:
        for _ in range(event.steps):
            drawn = torch.from_numpy(present[randomness.poisson(len(present), event.sample_rate)])
            inputs = torch.zeros(len(drawn), canaries)
            inputs[torch.arange(len(drawn)), drawn] = _LENGTH * clip * math.sqrt(2)
            training.step(inputs, torch.zeros(len(drawn), dtype=torch.int64))
            assert model.weight.grad is not None  # noqa: S101 - for the type checker
            first, second = model.weight.grad.numpy().astype(np.float64) * (expected / clip)
            scores += (second - first) / math.sqrt(2)
            noise += (second + first) / math.sqrt(2)
    return Replay(event, scores, included, noise, event.noise_multiplier * math.sqrt(event.steps))


def replay_coordinator(
    event: PrivacyEvent, clip: float, *, canaries: int, coins: np.random.Generator, randomness: Randomness
) -> Replay:
    """Client-level DP: the mechanism that noises the sum of clipped updates, once a round; every site takes part."""
    included = coins.random(canaries) < 0.5
    total = np.zeros((2, canaries))
    sums = torch.from_numpy(np.stack([included * clip, np.zeros(canaries)]))
    for _ in range(event.steps):
        noised = gaussian_mechanism(
            sums, sensitivity=clip, noise_multiplier=event.noise_multiplier, randomness=randomness
        )
        total += noised.numpy() / clip
    return Replay(event, total[0], included, total[1], event.noise_multiplier * math.sqrt(event.steps))
