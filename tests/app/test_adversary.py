"""A simulated attacker: made by its own node config alone, one with its accomplices, and the same on every grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.base import Knowledge, View
from attacks.wire import Reply
from secure_fl.adversity import Space
from secure_fl.app import adversary
from secure_fl.app.adversary import Adversary, moment_of, posting_name
from secure_fl.app.board import Board
from secure_fl.app.messages import Order
from secure_fl.config import RunConfig
from secure_fl.data import load_site
from secure_fl.errors import FederationError

D, SITES, FIRST = 40, 5, 3


def order(round: int = 1, model: float = 0.0) -> Order:
    config = RunConfig(sites=SITES, seed=7, grid="local")
    return Order("run", round, "spec", config, np.full(D, model, np.float32))


def honest_update(index: int) -> np.ndarray:
    return np.random.default_rng(index).normal(1, 0.1, D).astype(np.float32)


class Training:
    """Counts who was trained for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        self.asked.append(index)
        return honest_update(index), {"train-loss": 1.0}


def attacker(folder: Path, attack: str, index: int = FIRST) -> Adversary:
    node = {"partition-id": index, "num-partitions": SITES, "attack": attack, "attackers": SITES - FIRST}
    made = Adversary.of({**node, "board": str(folder), "board-wait-s": 0.0})
    assert made is not None
    return made


def show_honest(folder: Path, at: Order) -> None:
    board = Board(folder, 0.0)
    for index in range(FIRST):
        board.post(posting_name(index), moment_of(at), honest_update(index))


def test_no_message_makes_a_site_malicious() -> None:
    node = {"partition-id": 4, "num-partitions": SITES, "site": "site-4"}
    assert Adversary.of(node) is None
    # Whatever the coordinator's config says: it is not even asked.
    assert RunConfig(sites=SITES, attack="alie", attackers=1).attack == "alie"
    assert Adversary.of({**node, "attack": "alie", "attackers": 1}) is None, "without a board there is no simulation"


def test_an_attack_without_knowledge_needs_nobody_else(tmp_path: Path) -> None:
    training = Training()
    update, metrics = attacker(tmp_path, "sign_flip").contribution(order(), order().config, training)
    np.testing.assert_array_equal(update, -honest_update(FIRST))
    assert training.asked == [FIRST] and metrics == {}, "an attacker tells nothing of its training"


class Colluding:
    """An attack that looks at the updates of all attackers and of the honest sites."""

    knowledge, trains = Knowledge.UPDATES, True

    def craft(self, view: View) -> np.ndarray:
        assert view.honest is not None and len(view.honest) == FIRST
        return np.stack([view.own.sum(axis=0), view.honest.sum(axis=0)]).astype(np.float32)


def test_the_first_attacker_stands_in_for_its_accomplices_and_the_others_train_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversary, "build_attack", lambda *_, **__: Colluding())
    show_honest(tmp_path, order())
    first, second = Training(), Training()
    one = attacker(tmp_path, "alie", 3).contribution(order(), order().config, first)[0]
    two = attacker(tmp_path, "alie", 4).contribution(order(), order().config, second)[0]
    assert (first.asked, second.asked) == ([3, 4], [])
    np.testing.assert_allclose(one, honest_update(3) + honest_update(4), rtol=1e-6)
    np.testing.assert_allclose(two, sum(honest_update(index) for index in range(FIRST)), rtol=1e-6)


@pytest.mark.parametrize("attack", ["opt_ipm", "min_max", "rop", "mimic"])
def test_the_same_round_gives_the_same_update_again(tmp_path: Path, attack: str) -> None:
    made = []
    for trial in ("a", "b"):
        (folder := tmp_path / trial).mkdir()
        show_honest(folder, order())
        made.append(attacker(folder, attack).contribution(order(), order().config, Training())[0])
    np.testing.assert_array_equal(made[0], made[1])


def test_an_attack_that_was_shown_nothing_fails_by_name_instead_of_guessing(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="the attack failed: alie"):
        attacker(tmp_path, "alie").contribution(order(), order().config, Training())


def test_an_attacker_knows_the_last_step_from_the_models_that_it_received(tmp_path: Path) -> None:
    rider = attacker(tmp_path, "free_rider")
    first, _ = rider.contribution(order(1, model=1.0), order().config, Training())
    second, _ = rider.contribution(order(2, model=3.0), order().config, Training())
    assert not np.allclose(second, first)
    assert np.corrcoef(second, np.full(D, 2.0) + 1e-3 * second)[0, 1] > 0


def test_poisoned_images_are_the_attackers_alone_and_the_same_in_each_round(tmp_path: Path) -> None:
    config = RunConfig(sites=SITES, samples=200, seed=7, model="light_cnn", grid="local")
    data = load_site(config, FIRST)
    flipper = attacker(tmp_path, "label_flip")
    poisoned = flipper.poisoned(data, config, FIRST)
    np.testing.assert_array_equal(poisoned.train.labels, (data.train.labels + 1) % 10)
    assert flipper.poisoned(data, config, FIRST) is poisoned
    assert attacker(tmp_path, "sign_flip").poisoned(data, config, FIRST) is data


def test_model_replacement_sends_its_update_multiplied(tmp_path: Path) -> None:
    boosted, _ = attacker(tmp_path, "model_replacement(factor=3)").contribution(order(), order().config, Training())
    np.testing.assert_allclose(boosted, 3 * honest_update(FIRST), rtol=1e-6)


def test_an_attack_on_the_wire_leaves_the_update_to_be_forged_later(tmp_path: Path) -> None:
    forger = attacker(tmp_path, "nan")
    assert forger.space is Space.WIRE
    update, metrics = forger.contribution(order(), order().config, Training())
    np.testing.assert_array_equal(update, honest_update(FIRST))
    forgery = forger.forged(Reply({"u": update}, 10.0, 1, "spec"), earlier=None, seed=7)
    assert np.isnan(forgery.reply.arrays["u"]).sum() == 1 and metrics
