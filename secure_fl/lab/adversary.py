"""The Byzantine side of a simulation: which clients attack, what they see, and what they send.

An attack composition is at most one attack on data, one on updates and one on the wire, applied in that order: poisoned
clients train, the adversary that controls all of them crafts updates from what its knowledge lets it see, and what
leaves a client may be forged at last. Clients whose updates nobody looks at do not train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import AttackError, Knowledge, UpdateAttack, View
from attacks.data import DataAttack
from attacks.registry import DATA_ATTACKS, UPDATE_ATTACKS, WIRE_ATTACKS, build
from attacks.wire import Reply, WireAttack
from secure_fl.data.source import Labels, Pixels
from secure_fl.errors import ConfigError
from secure_fl.lab.data import Shard
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Matrix, Vector
from secure_fl.training.seeds import derive_seed

__all__ = ["Adversary", "adversary_of"]

_ORDER = ("data", "update", "wire")


@dataclass(frozen=True, eq=False)
class Adversary:
    """The attackers of a scenario. clients: their positions among the n, in order; the attacks that they combine."""

    clients: tuple[int, ...]
    seed: int
    each_batch: bool
    data: DataAttack | None = None
    update: UpdateAttack | None = None
    wire: WireAttack | None = None

    @property
    def trains(self) -> bool:
        """Whether the attackers have to train."""
        return bool(self.clients) and (self.update is None or self.update.trains)

    @property
    def target(self) -> int | None:
        """The class that a backdoor wants to see."""
        return self.data.target if self.data else None

    def shard_of(self, client: int, shard: Shard) -> Shard:
        """What `client` trains on: its own shard, poisoned once if it attacks so."""
        if self.data is None or self.each_batch or client not in self.clients:
            return shard
        return Shard(*self._poison(self.data, client, shard.images, shard.labels, self._rng("once", client)))

    def poison_of(self, client: int, round: int) -> Callable[[Pixels, Labels], tuple[Pixels, Labels]] | None:
        """How `client` changes each batch of a round; None where it does not."""
        attack = self.data
        if attack is None or not self.each_batch or client not in self.clients:
            return None
        rng = self._rng("batches", client, round)
        return lambda images, labels: self._poison(attack, client, images, labels, rng)

    def mask_of(self, client: int, previous: Vector | None) -> Callable[[Vector], Vector] | None:
        """How `client` changes each of its gradients; None where it does not. previous: the last step, parameters."""
        attack = self.data
        if attack is None or client not in self.clients:
            return None
        return lambda gradient: attack.masked(gradient, previous)

    def sent(
        self, own: Matrix, honest: Matrix, *, previous: Vector | None, round: int, defend: Callable[[Matrix], Vector]
    ) -> Matrix:
        """What the attackers send in a round, (f, d). own: (f, d) what their training gave; honest: (n - f, d)."""
        if self.data is not None and self.data.boost != 1.0:
            own = own * np.float32(self.data.boost)
        if self.update is None:
            return own
        knowledge = self.update.knowledge
        view = View(
            own=own,
            honest=None if knowledge is Knowledge.NONE else honest,
            previous=previous,
            defend=defend if knowledge in (Knowledge.DEFENSE, Knowledge.PARAMETERS) else None,
            round=round,
            rng=self._rng("craft", round),
        )
        return self.update.craft(view)

    def forged(self, update: Vector, samples: float, client: int, round: int) -> tuple[Vector, float]:
        """What the coordinator decodes of a client's reply, update (d,) and claimed samples.

        A reply that the guard of a real run would turn away becomes a row of NaN: no rule uses it, and it counts
        against the f that the rule tolerates.
        """
        if self.wire is None:
            return update, samples
        reply = Reply(arrays={"update": update}, samples=samples, round=round, spec="")
        try:
            sent = self.wire.forge(reply, earlier=None, rng=self._rng("wire", client, round))
        except AttackError as error:
            fix = "run it on a real federation: --grid deployment"
            raise ConfigError(f"`{self.wire.name}` cannot be simulated", why=error.why, fix=fix) from None
        if (sent.copies, sent.delay_s, sent.joins, sent.reply.round) != (1, 0.0, 0, round):
            raise ConfigError(
                f"`{self.wire.name}` cannot be simulated",
                why="it is about when, how often or under whose name a reply arrives",
                fix="run it on a real federation: --grid deployment",
            )
        (array,) = sent.reply.arrays.values() if len(sent.reply.arrays) == 1 else (None,)
        usable = array is not None and array.dtype == np.float32 and array.shape == update.shape
        if array is None or not usable or sent.reply.spec != "" or not sent.reply.samples >= 0:
            return np.full_like(update, np.nan), samples
        return array, sent.reply.samples

    def triggered(self, test: Shard) -> Pixels | None:
        """The test images of other classes than the target, with the trigger; None for attacks without one."""
        if self.data is None or self.data.target is None:
            return None
        return self.data.triggered(test.images[test.labels != self.data.target])

    def _poison(
        self, attack: DataAttack, client: int, images: Pixels, labels: Labels, rng: np.random.Generator
    ) -> tuple[Pixels, Labels]:
        return attack.poison(images, labels, rng, attacker=self.clients.index(client), attackers=len(self.clients))

    def _rng(self, *purpose: str | int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, "attack", *purpose))


def adversary_of(scenario: Scenario) -> Adversary:
    """The attackers that a scenario asks for; who they are is drawn from the attack stream.

    Raises:
        ConfigError: an attack or parameter does not exist, or two attacks cannot go together.
    """
    n, f = scenario.clients, scenario.attackers if scenario.attack else 0
    chosen = np.random.default_rng(derive_seed(scenario.seed, "attack", "who")).permutation(n)[:f]
    made: dict[str, Any] = {}
    for name, parameters in scenario.attack_steps:
        kind = _kind(name)
        if kind in made or any(_ORDER.index(each) > _ORDER.index(kind) for each in made):
            raise ConfigError(
                f"`attack` is {scenario.attack}", why="attacks go on data, then on updates, then on the wire, one each"
            )
        try:
            made[kind] = build(name, parameters, n=n, f=f)
        except AttackError as error:
            raise ConfigError(error.what, why=error.why, fix=error.fix) from None
    clients = tuple(sorted(int(each) for each in chosen))
    return Adversary(clients=clients, seed=scenario.seed, each_batch=scenario.poisoning == "each-batch", **made)


def _kind(name: str) -> str:
    for kind, known in zip(_ORDER, (DATA_ATTACKS, UPDATE_ATTACKS, WIRE_ATTACKS), strict=True):
        if name in known:
            return kind
    names = sorted({*DATA_ATTACKS, *UPDATE_ATTACKS, *WIRE_ATTACKS})
    raise ConfigError(f"there is no attack `{name}`", fix=f"choose one of: {', '.join(names)}")
