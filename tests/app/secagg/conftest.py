"""A federation in this process whose sites do not train: each has an update of its own, and real keys and kits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Context, Message

from secure_fl.app.courier import Courier
from secure_fl.app.gathering import Gathered
from secure_fl.app.identity import Roster
from secure_fl.app.membership import Member
from secure_fl.app.messages import Order
from secure_fl.app.secagg import handlers, wire
from secure_fl.app.secagg.gathering import Journal, Protected
from secure_fl.app.secagg.layout import Layout, Tally, largest_weight
from secure_fl.app.secagg.site import SecureSite, Trained, rounding_seed
from secure_fl.app.strategy import FedAvg
from secure_fl.config import RunConfig
from secure_fl.federation.kits import secagg_node_config
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.federation.pki import FederationKeys, provision
from tests.app.conftest import Events, Time

D = 300
IMAGES = (30, 44, 41, 60, 48, 37, 52, 33, 29, 55)
Fault = Callable[[Message], Message | None]


def update_of(index: int, number: int) -> np.ndarray:
    """What site `index` makes of any model in round `number`."""
    return np.random.default_rng([index, number]).normal(scale=0.05, size=D).astype(np.float32)


def tally_of(index: int) -> Tally:
    metrics = {"train-loss": 0.5 + index, "validation-loss": 0.25, "validation-accuracy": index % 2}
    return Tally(IMAGES[index], 4, metrics)


def kind_of(message: Message) -> str:
    return message.metadata.message_type


def index_of(message: Message) -> int:
    """The site that a message is for, or that answers it."""
    return int(message.metadata.dst_node_id) - 1000


@dataclass
class Federation:
    """Sites of indexes 0 … n-1 at nodes 1000, 1001, …; `fault` may drop or change orders, `answers` change answers."""

    keys: FederationKeys
    folder: Path
    config: RunConfig
    declared: bool = True
    fault: Fault = lambda message: message
    tamper: Callable[[Message, Message], Message] = lambda order, answer: answer
    time: Time = field(default_factory=Time)
    events: Events = field(default_factory=Events)
    trained: list[tuple[int, int]] = field(default_factory=list)
    orders: list[Message] = field(default_factory=list)
    answers: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = dict(enumerate(IMAGES)) if self.declared else {}
        self.roster: Roster = self.keys.roster.first(self.config.sites).declaring(counts)
        self.node_configs = [
            {**secagg_node_config(self.keys.kit(entry.name), self.config), "secagg-log": str(self.folder / entry.name)}
            for entry in self.roster.entries
        ]
        self.grid = LocalGrid(self._site, self.config.sites, node_configs=self.node_configs, fault=self._arriving)
        self.gathering = self.start(lives=1)

    def start(self, *, lives: int) -> Protected:
        """A coordinator that knows nothing of earlier rounds."""
        members = [Member(entry, 1000 + entry.index, "") for entry in self.roster.entries]
        journal, present = Journal(self.events), SimpleNamespace(present=lambda: members)
        courier = Courier(self.grid, present, journal, clock=self.time.clock, sleep=self.time.sleep)
        bench = SimpleNamespace(vector_spec=SimpleNamespace(size=D), reference=lambda vector, *, round: None)
        self.gathering = Protected(
            courier,
            self.roster,
            bench,
            self.config,
            FedAvg(),
            journal=journal,
            lives=lambda: lives,
            run="r1",
            folder=self.folder,
        )
        return self.gathering

    def order(self, number: int) -> Order:
        return Order("r1", number, "spec", self.config, np.zeros(D, np.float32))

    def round(self, number: int = 1) -> Gathered:
        members = self.gathering.free_members()
        return self.gathering.gather(
            self.order(number), members, meanwhile=lambda: self.events.append("round-started", round=number)
        )

    def site(self, index: int) -> SecureSite:
        context = Context(1, 1000 + index, {"partition-id": index, **self.node_configs[index]}, None, {})
        return handlers.site_of(context)

    def clear_mean(self, sites: list[int], number: int = 1) -> np.ndarray:
        """The oracle: these sites' encodings, added without masks and decoded."""
        weights = [self.roster.entries[index].samples or 0 for index in range(self.config.sites)]
        layout = Layout.of(
            self.config,
            size=D,
            members=self.config.sites,
            max_weight=largest_weight(self.config, weights),
            model_sha256=self.order(number).model_sha256,
        )
        total = np.zeros(layout.words, layout.counters.ring.dtype)
        for index in sites:
            rounding = rounding_seed(self.config, round=number, site=index)
            total += layout.encode(update_of(index, number), IMAGES[index], tally_of(index), rounding=rounding)
        return layout.decode(total, sum(IMAGES[index] for index in sites))[0]

    def _arriving(self, message: Message) -> Message | None:
        self.orders.append(message)
        return self.fault(message)

    def _site(self, message: Message, context: Context) -> Message:
        index = int(context.node_config["partition-id"])

        def train(order: Order) -> Trained:
            self.trained.append((index, order.round))
            return Trained(update_of(index, order.round), tally_of(index))

        match kind_of(message):
            case wire.ADVERTISE:
                answer = handlers.advertise(message, context)
            case wire.SHARE:
                answer = handlers.share(message, context)
            case wire.MASKED:
                answer = handlers.mask(message, context, train)
            case wire.AGREE:
                answer = handlers.agree(message, context)
            case wire.OPEN:
                answer = handlers.open_shares(message, context)
            case wire.FORGET:
                answer = handlers.forget(message, context)
        self.answers.append(answer)
        return self.tamper(message, answer)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> FederationKeys:
    """Ten start-up kits."""
    return provision(tmp_path_factory.mktemp("kits") / "federation", sites=10, hosts=[])


@pytest.fixture
def federation(keys: FederationKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Federation]:
    """`federation(sites=6, secagg_bits="16", declared=False)`: sites and a coordinator, before the first round."""
    monkeypatch.setattr(handlers, "_SITES", {})  # sites of this process, by identity: those of another test

    def make(*, declared: bool = True, **settings: object) -> Federation:
        config = RunConfig(secagg="full", grid="local", round_timeout_s=40.0, rounds=9, **settings)
        return Federation(keys, tmp_path, config, declared)

    return make
