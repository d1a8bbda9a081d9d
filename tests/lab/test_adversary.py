"""Attackers do what their scenario says, see what their knowledge allows, and are drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from attacks.base import Knowledge, View
from secure_fl.errors import ConfigError
from secure_fl.lab.adversary import Adversary, adversary_of
from secure_fl.lab.data import Shard
from secure_fl.lab.scenario import Scenario

OWN = np.ones((2, 4), np.float32)
HONEST = np.arange(12, dtype=np.float32).reshape(3, 4)


def of(attack: str, **settings: Any) -> Adversary:
    return adversary_of(Scenario(**{"attack": attack, "byzantine": 2, "clients": 5, **settings}))


@dataclass
class Seen:
    """An attack that remembers what it was shown."""

    knowledge: Knowledge
    trains: bool = True
    view: View | None = None

    def craft(self, view: View) -> Any:
        self.view = view
        return view.own


def test_who_attacks_is_drawn_from_the_seed_and_not_from_the_defense() -> None:
    drawn = {of("zero", seed=seed).clients for seed in range(20)}
    assert len(drawn) > 5
    assert of("zero", defense="median", seed=3).clients == of("alie", defense="mean", seed=3).clients


def test_nobody_attacks_without_an_attack() -> None:
    assert adversary_of(Scenario(byzantine=2)).clients == ()
    assert of("zero", attackers=0).clients == ()


@pytest.mark.parametrize(
    ("knowledge", "honest", "defend"),
    [(Knowledge.NONE, False, False), (Knowledge.UPDATES, True, False), (Knowledge.DEFENSE, True, True)],
)
def test_an_attack_is_shown_what_its_knowledge_allows(knowledge: Knowledge, honest: bool, defend: bool) -> None:
    attack: Any = Seen(knowledge)
    adversary = Adversary(clients=(0, 1), seed=0, each_batch=False, update=attack)
    adversary.sent(OWN, HONEST, previous=None, round=1, defend=lambda updates: updates[0])
    assert attack.view is not None
    assert (attack.view.honest is not None, attack.view.defend is not None) == (honest, defend)


def test_a_boosted_update_is_multiplied() -> None:
    sent = of("model_replacement").sent(OWN, HONEST, previous=None, round=1, defend=lambda updates: updates[0])
    assert np.array_equal(sent, OWN * 2.5)  # n / f = 5 / 2


def test_attacks_that_look_at_no_update_of_their_own_do_not_train() -> None:
    assert not of("gaussian").trains
    assert of("sign_flip").trains
    assert of("label_flip").trains
    assert of("nan").trains


def test_only_attackers_poison_and_each_in_its_own_way() -> None:
    adversary = of("backdoor_patch(fraction=0.5)")
    shard = Shard(np.zeros((40, 8, 8, 1), np.uint8), np.full(40, 3))
    first, second = (adversary.shard_of(client, shard) for client in adversary.clients)
    (honest, *_) = (client for client in range(5) if client not in adversary.clients)
    assert adversary.shard_of(honest, shard) is shard
    assert first.images.any() and not np.array_equal(first.images, second.images)
    assert np.array_equal(adversary.shard_of(adversary.clients[0], shard).images, first.images)
    assert adversary.poison_of(adversary.clients[0], 1) is None


def test_poison_in_each_batch_leaves_the_shard_alone() -> None:
    adversary = of("backdoor_patch(fraction=0.5)", poisoning="each-batch")
    shard = Shard(np.zeros((40, 8, 8, 1), np.uint8), np.full(40, 3))
    attacker = adversary.clients[0]
    assert adversary.shard_of(attacker, shard) is shard
    poison = adversary.poison_of(attacker, 1)
    assert poison is not None
    assert 0 < (poison(shard.images, shard.labels)[1] == 1).sum() < 40


def test_success_is_measured_on_other_classes_than_the_target() -> None:
    test = Shard(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10))
    triggered = of("backdoor_patch(target=1)").triggered(test)
    assert triggered is not None and len(triggered) == 9
    assert of("label_flip").triggered(test) is None


@pytest.mark.parametrize("attack", ["wrong_shape", "wrong_dtype", "wrong_spec", "missing_key", "extra_key"])
def test_a_reply_that_a_guard_turns_away_is_a_row_of_nan(attack: str) -> None:
    update, _ = of(attack).forged(OWN[0], 10.0, 0, 1)
    assert np.isnan(update).all()


@pytest.mark.parametrize("claim", ["-1", "1e12"])
def test_a_claimed_number_of_images_is_believed_if_it_can_be_one(claim: str) -> None:
    update, samples = of(f"sample_lie(claim={claim})").forged(OWN[0], 10.0, 0, 1)
    assert (samples, bool(np.isnan(update).any())) == ((1e12, False) if claim == "1e12" else (10.0, True))


@pytest.mark.parametrize("attack", ["late", "duplicate", "sybil", "stale", "leak_jpeg"])
def test_what_needs_a_network_is_refused_with_the_grid_that_has_one(attack: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(attack).forged(OWN[0], 10.0, 0, 1)
    assert "deployment" in caught.value.fix


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("nonsense", "no attack `nonsense`"),
        ("zero+label_flip", "on data, then on updates"),
        ("zero+alie", "one each"),
        ("scaled(factory=2)", "no such parameter"),
    ],
)
def test_an_attack_that_cannot_be_is_refused(attack: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(attack)
    assert words in f"{caught.value} {caught.value.why}"
