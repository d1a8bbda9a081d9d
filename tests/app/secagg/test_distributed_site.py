"""Noise in shares at a site: one noised vector for each entry of its ledger, however often a round is attempted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secure_fl.app.secagg.site import Trained
from secure_fl.secagg.terms import Slot
from tests.app.secagg import test_site
from tests.app.secagg.conftest import tally_of, update_of
from tests.app.secagg.test_site import Sum

SHARED = {"dp-epsilon": 8.0, "dp-unit": "client", "dp-client-clip": 2.0}


class Trainer:
    """Trains, and counts how often: each time is an entry in the ledger."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, order) -> Trained:
        self.times += 1
        return Trained(update_of(0, order.round), tally_of(0))


@pytest.fixture
def attempt(federation, monkeypatch):
    """Carry an attempt at round 1 on to where site 0 has masked its words."""
    made = federation()
    made.config = made.config.changed(SHARED)

    def carried_out(number: int, train: Trainer, **changes):
        monkeypatch.setattr(test_site, "SLOT", Slot("r1", 1, number, 0))
        made.config = made.config.changed(changes)
        begun = Sum(made, declared=[1] * 5, max_weight=1)
        begun.share()
        masked, _ = begun.sites[0].mask(begun.masked_order(0), train)
        return begun.sites[0], masked

    return carried_out


def test_another_attempt_sends_the_same_noise_under_other_masks(attempt):
    train = Trainer()
    site, first = attempt(1, train)
    ready = site._ready.words.copy()
    site, second = attempt(2, train)
    assert train.times == 1
    assert np.array_equal(site._ready.words, ready) and not np.array_equal(first, second)


def test_under_other_settings_a_site_trains_and_pays_again(attempt):
    train = Trainer()
    site, _ = attempt(1, train)
    ready = site._ready.words.copy()
    site, _ = attempt(2, train, **{"dp-epsilon": 9.0})  # with which less noise would do
    assert train.times == 2
    assert np.mean(site._ready.words == ready) < 0.1


def test_every_site_counts_once_whatever_it_declares(attempt):
    site, _ = attempt(1, Trainer())
    shared = replace(site._shared)
    assert site._weight(shared, images=60) == 1
