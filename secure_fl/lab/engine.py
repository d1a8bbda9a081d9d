"""The simulation: rounds of federated learning with attackers in them, in one process and one thread.

Equal scenarios give equal numbers, whatever ran before in the process: every random draw comes from a generator of its
own, seeded by what it is for (seed, purpose, round, client). Work whose result nobody sees is left out: attackers that
do not train are skipped, and the model is tested only every `evaluate-every` rounds.

One engine, many processes: sweeps run one simulation a core. Stacking clients into one batched network is slower than
this on CPUs for convolutional networks (measured: 0.75 times).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attacks.base import AttackError
from defenses.base import Aggregation, DefenseError, Surroundings
from secure_fl.errors import ConfigError
from secure_fl.lab.adversary import Adversary, adversary_of
from secure_fl.lab.data import Federation, load_federation
from secure_fl.lab.grouping import clipped
from secure_fl.lab.learner import Learner, TrainingPlan
from secure_fl.lab.networks import network_named
from secure_fl.lab.outcome import Outcome, RoundOutcome
from secure_fl.lab.record import Recorder
from secure_fl.lab.rules import coordinator_of
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Coordinator, Matrix, Submissions, Vector
from secure_fl.training.device import torch_threads
from secure_fl.training.seeds import derive_seed

__all__ = ["OnRound", "defense_rng", "learner_of", "simulate", "step_of"]

OnRound = Callable[[RoundOutcome], None]


def simulate(scenario: Scenario, *, on_round: OnRound | None = None, updates_to: Path | None = None) -> Outcome:
    """Run a scenario from its first weights to its last round.

    Args:
        on_round: called after each round.
        updates_to: a folder that gets all updates of each round (`secure_fl.lab.record`).

    Raises:
        ConfigError: the scenario asks for an attack, defense or network that cannot be.
        DataError: its data cannot be used.
    """
    began, cpu = time.perf_counter(), time.process_time()
    with torch_threads(1), _attacks_as_settings():
        simulation = _Simulation.of(scenario)
        recorder = Recorder(updates_to) if updates_to is not None else None
        rounds = []
        for number in range(1, scenario.rounds + 1):
            rounds.append(simulation.round(number, recorder))
            if on_round is not None:
                on_round(rounds[-1])
    attackers = simulation.adversary.clients
    return Outcome(
        digest=scenario.digest(),
        scenario=scenario.manifest(),
        rounds=tuple(rounds),
        attackers=attackers,
        seconds=time.perf_counter() - began,
        cpu_s=time.process_time() - cpu,
        data=simulation.federation.fingerprint,
        record=recorder.close(scenario, attackers) if recorder is not None else "",
    )


@contextmanager
def _attacks_as_settings() -> Iterator[None]:
    """An attack that turns out to be impossible (a trigger larger than the images, say) is a wrong setting."""
    try:
        yield
    except AttackError as error:
        raise ConfigError(error.what, why=error.why, fix=error.fix) from None


def learner_of(scenario: Scenario) -> tuple[Learner, Federation]:
    """The network of a scenario with its first weights, and the data that it learns from; raises as `simulate`."""
    network = network_named(scenario.model)
    federation = load_federation(scenario, network)
    side = federation.test.images.shape[1]
    module = network.build(federation.classes, side, derive_seed(scenario.seed, "init"))
    return Learner(module, _plan(scenario, federation)), federation


def step_of(coordinator: Coordinator, submissions: Submissions, rng: np.random.Generator) -> Aggregation:
    """What the coordinator makes of a round; with too few usable rows the round is lost and the model stays."""
    try:
        return coordinator.aggregate(submissions, rng)
    except DefenseError:
        n, d = submissions.updates.shape
        lost = np.zeros(n, dtype=np.bool_)
        return Aggregation(np.zeros(d, dtype=np.float32), np.zeros(n), lost, ~lost)


def defense_rng(scenario: Scenario, number: int) -> np.random.Generator:
    """What a rule that draws draws from in a round; the same in every replay."""
    return np.random.default_rng(derive_seed(scenario.seed, "defense", number))


@dataclass(eq=False)
class _Simulation:
    """What lasts over the rounds. weights: (d,) the global model; previous: (d,) the last step."""

    scenario: Scenario
    federation: Federation
    adversary: Adversary
    coordinator: Coordinator
    learner: Learner
    weights: Vector
    previous: Vector | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> _Simulation:
        adversary, coordinator = adversary_of(scenario), coordinator_of(scenario)
        learner, federation = learner_of(scenario)
        return cls(scenario, federation, adversary, coordinator, learner, learner.weights())

    def __post_init__(self) -> None:
        self.shards = [self.adversary.shard_of(k, shard) for k, shard in enumerate(self.federation.clients)]
        self.triggered = self.adversary.triggered(self.federation.test)

    def round(self, number: int, recorder: Recorder | None) -> RoundOutcome:
        """Train, attack, aggregate, take the step, and test if it is time."""
        submissions = self._submissions(number)
        if recorder is not None:
            recorder.add(submissions)
        found = step_of(self.coordinator, submissions, defense_rng(self.scenario, number))
        self.weights = self.weights + found.step
        self.previous = found.step
        return self._outcome(number, found)

    def _submissions(self, number: int) -> Submissions:
        n, attackers = self.scenario.clients, self.adversary.clients
        updates: Matrix = np.zeros((n, self.learner.size), dtype=np.float32)
        batches = np.zeros((n, self.learner.counters), dtype=np.int64)
        for client in range(n):
            if client not in attackers or self.adversary.trains:
                updates[client], batches[client] = self._train(number, client)
            if self.scenario.secagg != "none" and client not in attackers:  # theirs is whatever they send
                updates[client] = clipped(updates[client], self.scenario.secagg_clip)
        submissions = Submissions(
            updates=updates,
            samples=np.array([len(shard) for shard in self.shards], dtype=np.float64),
            weights=self.weights,
            batches=batches,
            reference=self._reference(number) if self.coordinator.needs_reference else None,
        )
        return self._attacked(submissions, number) if attackers else submissions

    def _train(self, number: int, client: int) -> tuple[Vector, int]:
        previous = None if self.previous is None else self.previous[: self.learner.trained]
        return self.learner.train(
            self.weights,
            self.shards[client],
            seed=derive_seed(self.scenario.seed, "batches", number, client),
            poison=self.adversary.poison_of(client, number),
            mask=self.adversary.mask_of(client, previous),
        )

    def _reference(self, number: int) -> Vector:
        seed = derive_seed(self.scenario.seed, "batches", number, "coordinator")
        return self.learner.train(self.weights, self.federation.root, seed=seed)[0]

    def _attacked(self, submissions: Submissions, number: int) -> Submissions:
        """The same submissions with what the attackers send in the place of what they trained."""
        theirs = list(self.adversary.clients)
        others = [client for client in range(self.scenario.clients) if client not in self.adversary.clients]
        order = np.array(others + theirs)  # the adversary knows the rule's rows in this order

        def defend(updates: Matrix) -> Vector:
            trial = Submissions(
                updates=updates,
                samples=submissions.samples[order],
                weights=submissions.weights,
                batches=submissions.batches[order],
                reference=submissions.reference,
                clients=tuple(order.tolist()),
            )
            return step_of(self.coordinator.snapshot(), trial, defense_rng(self.scenario, number)).step

        offered = self.coordinator.trial(
            lambda: Surroundings(reference=submissions.reference, rng=defense_rng(self.scenario, number))
        )
        updates, samples = submissions.updates, submissions.samples
        updates[theirs] = self.adversary.sent(
            updates[theirs], updates[others], previous=self.previous, round=number, defend=offered or defend
        )
        # Counters of batches are the sender's claim too, and the usual number is the one that nobody doubts.
        submissions.batches[theirs] = np.median(submissions.batches[others], axis=0)
        for client in theirs:
            updates[client], samples[client] = self.adversary.forged(updates[client], samples[client], client, number)
        return submissions

    def _outcome(self, number: int, found: Aggregation) -> RoundOutcome:
        accuracy = loss = success = None
        by_class: tuple[float | None, ...] = ()
        if number % self.scenario.evaluate_every == 0 or number == self.scenario.rounds:
            tested = self.learner.test(self.weights, self.federation.test, self.federation.classes)
            accuracy, loss, by_class = tested.accuracy, tested.loss, tested.per_class_accuracy
            if self.triggered is not None and self.adversary.target is not None:
                success = self.learner.share_taken_for(self.adversary.target, self.weights, self.triggered)
        return RoundOutcome(
            round=number,
            accuracy=accuracy,
            loss=loss,
            attack_success=success,
            per_class_accuracy=by_class,
            kept=tuple(bool(each) for each in found.kept),
            weights=None if found.weights is None else tuple(float(each) for each in found.weights),
            step_norm=float(np.linalg.norm(found.step.astype(np.float64))),
        )


def _plan(scenario: Scenario, federation: Federation) -> TrainingPlan:
    return TrainingPlan(
        epochs=scenario.local_epochs,
        batch_size=scenario.batch_size,
        lr=scenario.lr,
        momentum=scenario.momentum,
        weight_decay=scenario.weight_decay,
        grad_clip=scenario.grad_clip,
        augment=scenario.augment,
        mean=federation.mean,
        std=federation.std,
    )
