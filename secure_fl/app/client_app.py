"""The site's side: Flower's ClientApp.

A site joins by answering a query, trains when told, and evaluates when told. It keeps nothing from
round to round except caches: all randomness of round r at site k comes from (seed, r, k), so that a
site may be restarted, replaced by a stock SuperNode, or simulated, with the same result to the bit.

What is the site's own (data folder, identity key) comes from its node config and cannot be set by the
coordinator; `dataset`, `data-dir` and `weights` there override what the coordinator's config says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from audit.leakage.traps import inspect_weights
from secure_fl.adversity import Space
from secure_fl.app.adversary import Adversary, Metrics, moment_of, posting_name
from secure_fl.app.board import Board
from secure_fl.app.forgery import Honest, forged_reply
from secure_fl.app.identity import SiteSigner, join_statement, update_statement, vector_sha256
from secure_fl.app.messages import (
    Introduction,
    Order,
    evaluation_reply,
    introduction_reply,
    read_order,
    update_reply,
)
from secure_fl.app.secagg import handlers as secagg
from secure_fl.app.secagg.layout import Tally
from secure_fl.app.secagg.site import Trained
from secure_fl.app.site_privacy import SitePrivacy
from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, SiteData, load_site
from secure_fl.errors import ConfigError, FederationError
from secure_fl.models import (
    ModelSpec,
    VectorSpec,
    build_model,
    flatten,
    flatten_by_parameter,
    initial_model,
    unflatten,
)
from secure_fl.privacy.randomness import Randomness
from secure_fl.training.device import configure_torch, usable_device
from secure_fl.training.evaluation import Evaluation, evaluate
from secure_fl.training.examples import Examples, Pictures, staged
from secure_fl.training.local import TrainSettings, train_locally
from secure_fl.training.private import PrivateSettings, gradient_sum, train_privately
from secure_fl.training.seeds import derive_seed

__all__ = ["app"]

Vector = np.ndarray[Any, Any]

# How many of its training pictures a simulated leak has to choose from.
_LEAKABLE = 8

app = ClientApp()


@dataclass(frozen=True)
class _Site:
    """Who we are, from the node config: index, name, signer, and the settings that are ours to decide.

    `board`, `adversary`: of a simulated attack only, and only where whoever started this site configured them.
    """

    index: int
    name: str
    signer: SiteSigner | None
    own: tuple[tuple[str, str], ...]
    privacy: SitePrivacy
    board: Board | None
    adversary: Adversary | None

    @classmethod
    def of(cls, context: Context) -> _Site:
        node = context.node_config
        if "partition-id" not in node:
            raise ConfigError("the node config has no `partition-id`", fix="start with --node-config 'partition-id=0'")
        index = int(node["partition-id"])
        key = node.get("identity-key")
        own = tuple((name, str(node[name])) for name in ("dataset", "data-dir", "weights") if name in node)
        return cls(
            index=index,
            name=str(node.get("site", f"site-{index}")),
            signer=SiteSigner.from_file(Path(str(key))) if key else None,
            own=own,
            privacy=SitePrivacy.of(node),
            board=Board.of(node),
            adversary=Adversary.of(node),
        )

    def settings(self, config: RunConfig) -> RunConfig:
        """The coordinator's config with what is ours put in its place."""
        return config.changed({name: value for name, value in self.own if name != "weights" or config.weights})

    def sign(self, statement: bytes) -> bytes:
        """Our signature, or nothing where the federation has no identities (simulation)."""
        return self.signer.sign(statement) if self.signer else b""


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Join: load our data, and say who we are over the coordinator's nonce."""
    site = _Site.of(context)
    order = message.content["order"]
    config = site.settings(RunConfig.from_mapping(dict(message.content["config"])))
    data = _data(config, site.index)
    run, nonce = str(order["run"]), str(order["nonce"])
    samples = len(data.train.labels)
    secagg.refuse_unprotected(context.node_config, config)
    site.privacy.admit(config, samples=samples, data=data.fingerprint)
    if config.secagg != "none":
        secagg.rejoin(context)
        samples = secagg.announced_samples(context)
    shown = site.privacy.pseudonym(data.fingerprint) if config.dp_withholds else data.fingerprint
    statement = join_statement(run=run, nonce=nonce, site=site.name, index=site.index, samples=samples, data=shown)
    introduction = Introduction(site.name, site.index, samples, shown, site.sign(statement))
    return introduction_reply(message, introduction)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round: start from the received model, train on our images, send the difference."""
    started, cpu_started = time.perf_counter(), time.process_time()
    site, order = _Site.of(context), read_order(message)
    config = site.settings(order.config)
    secagg.refuse_unprotected(context.node_config, config)
    if config.secagg != "none":
        raise FederationError("asked for an update in the clear", why=f"this run has secagg={config.secagg}")
    configure_torch(config.threads, config.device)
    update, metrics = _contribution(order, config, site)
    own = _data(config, site.index).train
    samples = len(own.labels)
    if not config.dp_withholds:  # under DP-SGD they would tell how many images its steps have drawn
        metrics |= {
            "compute-s": time.perf_counter() - started,
            "cpu-s": time.process_time() - cpu_started,
            "memory-bytes": psutil.Process().memory_info().rss,
        }
    if site.adversary is not None and site.adversary.space is Space.WIRE:
        pictures = tuple(own.images[:_LEAKABLE])
        honest = Honest(site.name, samples, update, metrics, site.sign, pictures)
        return forged_reply(message, context, order, site.adversary, honest, seed=config.seed)
    statement = update_statement(
        run=order.run,
        round=order.round,
        site=site.name,
        samples=samples,
        model_sha256=order.model_sha256,
        update_sha256=vector_sha256(update),
    )
    return update_reply(
        message,
        order,
        site=site.name,
        samples=samples,
        update=update,
        metrics=metrics,
        signature=site.sign(statement),
    )


@app.query("secagg_commit")
def secagg_commit(message: Message, context: Context) -> Message:
    """Before the first round of a grouped run: our word that we have drawn."""
    return secagg.commit(message, context)


@app.query("secagg_reveal")
def secagg_reveal(message: Message, context: Context) -> Message:
    """What we had drawn, once all have given their word."""
    return secagg.reveal(message, context)


@app.query("secagg_advertise")
def secagg_advertise(message: Message, context: Context) -> Message:
    """Secure aggregation, trip 0: keys for a slot."""
    return secagg.advertise(message, context)


@app.query("secagg_share")
def secagg_share(message: Message, context: Context) -> Message:
    """Trip 1: the terms of the sum, and shares of our secrets for our peers."""
    return secagg.share(message, context)


@app.train("secagg_masked")
def secagg_masked(message: Message, context: Context) -> Message:
    """Trip 2: train, and send what came of it under masks."""
    site = _Site.of(context)

    def trained(order: Order) -> Trained:
        config = site.settings(order.config)
        configure_torch(config.threads, config.device)
        update, metrics = _contribution(order, config, site)
        data = _data(config, site.index)
        tally = Tally(len(data.train.labels), len(data.validation.labels), metrics)
        if site.adversary is not None:
            return Trained.unclipped(update, tally, clip=config.secagg_clip)
        return Trained(update, tally)

    return secagg.mask(message, context, trained)


@app.query("secagg_agree")
def secagg_agree(message: Message, context: Context) -> Message:
    """Trip 3: whose sum it is."""
    return secagg.agree(message, context)


@app.query("secagg_open")
def secagg_open(message: Message, context: Context) -> Message:
    """Trip 4: the shares that take the masks off the sum."""
    return secagg.open_shares(message, context)


@app.query("secagg_forget")
def secagg_forget(message: Message, context: Context) -> Message:
    """The coordinator has given the sum up."""
    return secagg.forget(message, context)


def _contribution(order: Order, config: RunConfig, site: _Site) -> tuple[Vector, Metrics]:
    """What our images make of the model; or, at a simulated attacker, what it makes of that."""

    def trained(index: int) -> tuple[Vector, Metrics]:
        data = _data(config, index)
        if site.adversary is not None:
            data = site.adversary.poisoned(data, config, index)
        model = _model_for(order, config, data)
        if config.audit or order.round <= 1:  # a third of a second for MobileNetV2
            _refuse_traps(model)
        return _trained(model, order, config, data, replace(site, index=index))

    if site.adversary is not None:
        return site.adversary.contribution(order, config, trained)
    update, metrics = trained(site.index)
    if site.board is not None:
        site.board.post(posting_name(site.index), moment_of(order), update)
    return update, metrics


def _trained(model: nn.Module, order: Order, config: RunConfig, data: SiteData, site: _Site) -> tuple[Vector, Metrics]:
    """Our update, (d,), from the received model; and what may be told of it.

    Where privacy holds against the coordinator, nothing that was measured on images leaves us, and their cost is
    entered before they are touched.
    """
    seed = derive_seed(config.seed, "train", order.round, site.index)
    if not config.dp_withholds:
        metrics = _train(model, order, config, data, site, seed=seed)
        return flatten(model) - order.model, metrics
    cost = site.privacy.spend(config, run=order.run, round=order.round, data=data.fingerprint)
    told = {"steps": config.dp_steps, "dp-epsilon": cost.value}
    if not config.dp_at_sites:
        _train(model, order, config, data, site, seed=seed)
        return flatten(model) - order.model, {"dp-epsilon": cost.value}
    seeded = Randomness.insecure_for_tests(seed) if config.insecure_test_rng else Randomness.from_system()
    learner, examples = _staged(model, data.train, data, config)
    private = PrivateSettings.of(config, round=order.round)
    if config.dp_sgd == "distributed":
        sums = gradient_sum(learner, examples, private, seed=seed, randomness=seeded)
        return flatten_by_parameter(sums, model), told
    train_privately(learner, examples, private, seed=seed, randomness=seeded)
    return flatten(model) - order.model, told


def _train(
    model: nn.Module, order: Order, config: RunConfig, data: SiteData, site: _Site, *, seed: int
) -> dict[str, Any]:
    """Train in place, without DP-SGD; what was measured."""
    received = _validate(model, data, config)
    learner, examples = _staged(model, data.train, data, config)
    settings = TrainSettings.of(config, round=order.round)
    adjust = site.adversary.adjustment(order) if site.adversary is not None else None
    trained = train_locally(learner, examples, settings, seed=seed, adjust=adjust)
    local = _validate(model, data, config)
    metrics: dict[str, Any] = {
        "train-loss": trained.loss,
        "steps": trained.steps,
        **_named("validation", local),
        **_named("received-validation", received),
    }
    if local is not None:
        # A site without images of a class says -1 there; the wire has no None.
        metrics["per-class-accuracy"] = [-1.0 if each is None else each for each in local.per_class_accuracy]
    return metrics


@app.evaluate()
def evaluate_model(message: Message, context: Context) -> Message:
    """Measure a model on our validation images; under privacy nothing measured on them leaves us."""
    site, order = _Site.of(context), read_order(message)
    config = site.settings(order.config)
    secagg.refuse_unprotected(context.node_config, config)
    if config.dp_withholds or config.secagg != "none":
        return evaluation_reply(message, metrics={})
    configure_torch(config.threads, config.device)
    data = _data(config, site.index)
    measured = _validate(_model_for(order, config, data), data, config)
    return evaluation_reply(message, metrics=_named("validation", measured))


def _model_for(order: Order, config: RunConfig, data: SiteData) -> nn.Module:
    """Our model with the received values in it."""
    height = data.train.images.shape[1]
    spec = ModelSpec.of(config, classes=len(data.train.classes), image_size_px=height)
    model, vector_spec = _model(config, spec)
    if vector_spec.digest != order.spec_digest:
        raise FederationError(
            "our model and the coordinator's have different parameters",
            why=f"ours has {vector_spec.size} for {len(data.train.classes)} classes",
            fix="use the same package version, data with the same classes, and the same weights file",
        )
    unflatten(order.model, model)
    return model


def _refuse_traps(model: nn.Module) -> None:
    """Turn down a model whose weights are made to copy images into the update (Fowl et al. 2022, Boenisch et al. 2023).

    The network itself is ours, built from the settings, so that the coordinator cannot add a layer that does it.
    """
    found = inspect_weights({name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()})
    if found:
        why = f"{found[0].place.path}: {found[0].message}"
        raise FederationError("the received model has trap weights", why=why, fix="ask who sent it")


@lru_cache(maxsize=2)
def _model(config: RunConfig, spec: ModelSpec) -> tuple[nn.Module, VectorSpec]:
    """One model a process, overwritten each round. Constants, which do not travel, come from our own copy of the
    weights file; without constants it is not needed here."""
    constant = spec.norm == "frozen-batch" or spec.trained == "head"
    model = initial_model(config, spec) if constant else build_model(spec, seed=0)
    return model, VectorSpec.of(model)


@lru_cache(maxsize=64)
def _data(config: RunConfig, site: int) -> SiteData:
    """Our images, decoded once for all rounds of a run (64: a simulation holds many sites)."""
    return load_site(config, site)


def _validate(model: nn.Module, data: SiteData, config: RunConfig) -> Evaluation | None:
    if not len(data.validation.labels):
        return None
    return evaluate(*_staged(model, data.validation, data, config), device=config.device)


def _staged(model: nn.Module, images: ImageSet, data: SiteData, config: RunConfig) -> tuple[nn.Module, Examples]:
    """What is trained or measured, and on what."""
    return staged(model, Pictures(images, data.normalisation), config.train_part, usable_device(config.device))


def _named(prefix: str, measured: Evaluation | None) -> dict[str, float]:
    if measured is None:
        return {}
    return {f"{prefix}-loss": measured.loss, f"{prefix}-accuracy": measured.accuracy}
