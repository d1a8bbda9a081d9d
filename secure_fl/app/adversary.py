"""A simulated attacker at a site: what it trains on, what it sends instead of its update.

A site is malicious because *its own node config* says so, which only whoever starts the site writes: our launcher,
for the last `attackers` sites of a run with an attack. Nothing in a coordinator's message can turn a site. The run's
record and its model carry the mark of a simulation.

The attackers are one adversary with several sites. Attacks on updates see what `attacks.base.Knowledge` grants:

    none        only the site's own update, so that the attack would work from a real site
    updates     the updates of the honest sites and of the accomplices, from the `Board`
    defense     also the rule in force, with its default parameters
    parameters  also the rule's parameters

An attacker waits for the honest sites' postings (bounded: then it works with what is there). What an accomplice has
not posted in time it trains itself: it has the accomplice's images. On the local grid, where sites answer one after
the other by index and attackers are the last, the honest postings are always there, and the first attacker stands
in for all. Everything is drawn from (seed, round), so both grids end in the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
from torch import nn

from attacks.base import AttackError, Knowledge, Rule, UpdateAttack, View
from attacks.data import DataAttack
from attacks.wire import Forgery, Reply, WireAttack
from defenses.base import Surroundings
from defenses.trials import trial_of
from secure_fl.adversity import Space, build_attack, build_defense, needs_root, space_of, without_parameters
from secure_fl.app.board import Board
from secure_fl.app.messages import Order
from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.data import SiteData
from secure_fl.errors import FederationError
from secure_fl.models import flatten_gradient, unflatten_gradient
from secure_fl.training.local import Adjust
from secure_fl.training.seeds import derive_seed

__all__ = ["Adversary", "Metrics", "Train", "moment_of", "posting_name"]

Vector = np.ndarray[Any, Any]
Metrics = dict[str, Any]
# Trains as the site of this index would, honestly but for a data attack; its update (d,) and its metrics.
Train = Callable[[int], tuple[Vector, Metrics]]

# Received models that are kept: a resumed run repeats its last round or two.
_REMEMBERED = 4


@dataclass(frozen=True)
class Adversary:
    """The attacker at site `index`; the attackers are the sites from `first` on, of `sites` in all."""

    attack: str
    index: int
    first: int
    sites: int
    board: Board

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Adversary | None:
        """What the node config says; None for an honest site."""
        board = Board.of(node)
        if board is None or "attack" not in node:
            return None
        sites = int(node["num-partitions"])
        return cls(str(node["attack"]), int(node["partition-id"]), sites - int(node["attackers"]), sites, board)

    @property
    def attackers(self) -> int:
        """f, the sites of this adversary."""
        return self.sites - self.first

    @property
    def space(self) -> Space:
        """Where the attack acts."""
        return space_of(self.attack)

    def poisoned(self, data: SiteData, config: RunConfig, index: int) -> SiteData:
        """The images that the attacker at `index` trains on; the same in each round."""
        return data if self.space is not Space.DATA else _poisoned(self, data, config.seed, index)

    def adjustment(self, order: Order) -> Adjust | None:
        """What an attack on data does to each gradient of its training, in place (Neurotoxin's projection)."""
        if self.space is not Space.DATA:
            return None
        attack, previous = self._data_attack(), self._last_step(order)

        def adjust(model: nn.Module) -> None:
            unflatten_gradient(attack.masked(flatten_gradient(model), previous), model)

        return adjust

    def contribution(self, order: Order, config: RunConfig, train: Train) -> tuple[Vector, Metrics]:
        """What goes out instead of an honest update, and the metrics that go with it.

        Raises:
            FederationError: the attack cannot be carried out, for example because no honest update was shown.
        """
        if self.space is Space.UPDATE:
            return self._crafted(order, config, train), {}
        update, metrics = train(self.index)
        return np.float32(self._data_attack().boost) * update if self.space is Space.DATA else update, metrics

    def forged(self, reply: Reply, *, earlier: Reply | None, seed: int) -> Forgery:
        """What a wire attack makes of an honest reply."""
        rng = np.random.default_rng(derive_seed(seed, "wire", reply.round, self.index))
        return cast(WireAttack, self._built(self.sites)).forge(reply, earlier=earlier, rng=rng)

    def _crafted(self, order: Order, config: RunConfig, train: Train) -> Vector:
        attack: UpdateAttack = self._built(self.sites)
        own = self._own(attack, order, train)  # before the wait for the honest, who train meanwhile
        honest = self._honest(attack, order)
        if honest:
            attack = self._built(self.attackers + len(honest))
        view = View(
            own=own,
            honest=np.stack(list(honest.values())) if honest else None,
            previous=self._last_step(order),
            defend=self._defend(attack, config, rows=len(own) + len(honest)),
            round=order.round,
            rng=np.random.default_rng(derive_seed(config.seed, "attack", order.round)),
        )
        try:
            rows = attack.craft(view)
        except AttackError as error:
            raise _failed(error) from None
        return np.ascontiguousarray(rows[self.index - self.first], dtype=np.float32)

    def _own(self, attack: UpdateAttack, order: Order, train: Train) -> Vector:
        """(f, d): the attackers' honest updates."""
        if not attack.trains:
            return np.zeros((self.attackers, order.model.size), np.float32)
        if attack.knowledge is Knowledge.NONE:
            return np.repeat(train(self.index)[0][None], self.attackers, axis=0)
        self._posted(self.index, order, train)
        accomplices = range(self.first, self.sites)
        self.board.gather(map(posting_name, accomplices), moment_of(order))
        return np.stack([self._posted(each, order, train) for each in accomplices])

    def _posted(self, index: int, order: Order, train: Train) -> Vector:
        """An attacker's honest update: as it was posted, or trained now and posted."""
        update = self.board.read(posting_name(index), moment_of(order))
        if update is None:
            update, _ = train(index)
            self.board.post(posting_name(index), moment_of(order), update)
        return update

    def _honest(self, attack: UpdateAttack, order: Order) -> dict[str, Vector]:
        """What the honest sites have posted, as far as the attack may look."""
        if attack.knowledge is Knowledge.NONE:
            return {}
        return self.board.gather(map(posting_name, range(self.first)), moment_of(order))

    def _last_step(self, order: Order) -> Vector | None:
        """The last global step, which every site can compute from the models that it received."""
        self.board.post(f"model-{order.round % _REMEMBERED}", f"round-{order.round}", order.model)
        before = self.board.read(f"model-{(order.round - 1) % _REMEMBERED}", f"round-{order.round - 1}")
        return None if before is None else order.model - before

    def _defend(self, attack: UpdateAttack, config: RunConfig, *, rows: int) -> Rule | None:
        """The rule in force, as the attacker imagines it: without the history that only the coordinator has."""
        match attack.knowledge:
            case Knowledge.DEFENSE:
                text = without_parameters(config.defense)
            case Knowledge.PARAMETERS:
                text = config.defense
            case _:
                return None
        seed = derive_seed(config.seed, "imagined defense")

        if text == FEDAVG:
            return lambda updates: np.asarray(updates.mean(axis=0, dtype=np.float64), dtype=np.float32)
        rule = build_defense(text, sites=rows, byzantine=config.byzantine)
        if needs_root(text):  # the attacker has no root images, and takes a site's honest update for theirs
            return lambda updates: rule.aggregate(updates, Surroundings(reference=updates[0])).step
        return trial_of(rule, lambda: Surroundings(rng=np.random.default_rng(seed)))

    def _data_attack(self) -> DataAttack:
        return cast(DataAttack, self._built(self.sites))

    def _built(self, sites: int) -> Any:
        """The attack, for so many sites in all."""
        return build_attack(self.attack, sites=sites, attackers=self.attackers, place=self.index - self.first)


@lru_cache(maxsize=16)
def _poisoned(adversary: Adversary, data: SiteData, seed: int, index: int) -> SiteData:
    rng = np.random.default_rng(derive_seed(seed, "poison", index))
    place, count = index - adversary.first, adversary.attackers
    try:
        images, labels = adversary._data_attack().poison(
            data.train.images, data.train.labels, rng, attacker=place, attackers=count
        )
    except AttackError as error:  # for example, other classes than the attack was built for
        raise _failed(error) from None
    return replace(data, train=replace(data.train, images=images, labels=labels))


def _failed(error: AttackError) -> FederationError:
    return FederationError(f"the attack failed: {error.what}", why=error.why, fix=error.fix)


def posting_name(index: int) -> str:
    """Under what name the site of this index posts."""
    return f"site-{index}"


def moment_of(order: Order) -> str:
    """The round, and the model that it starts from."""
    return f"round-{order.round}-{order.model_sha256[:16]}"
