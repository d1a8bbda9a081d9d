"""One flat buffer trains as torch's own SGD does, on networks of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secure_fl.lab.data import Shard, to_input
from secure_fl.lab.learner import Learner, TrainingPlan
from secure_fl.lab.networks import NETWORKS
from secure_fl.models.rng import seeded_torch
from secure_fl.training.batches import shuffled_batches
from secure_fl.training.seeds import derive_seed

PLAN = TrainingPlan(
    epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.01, grad_clip=0.5, augment="none", mean=(), std=()
)


def shard(channels: int, side: int = 28) -> Shard:
    rng = np.random.default_rng(0)
    return Shard(rng.integers(0, 256, (20, side, side, channels), dtype=np.uint8), rng.integers(0, 10, 20))


def plan(channels: int) -> TrainingPlan:
    return replace(PLAN, mean=(0.5,) * channels, std=(0.3,) * channels)


def by_torch(module: nn.Module, plan: TrainingPlan, data: Shard, seed: int) -> None:
    """The same training in the plainest words."""
    optimizer = torch.optim.SGD(module.parameters(), lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay)
    shuffling = torch.Generator().manual_seed(derive_seed(seed, "shuffle"))
    module.train()
    with seeded_torch(derive_seed(seed, "dropout")):
        for _ in range(plan.epochs):
            for batch in shuffled_batches(len(data), plan.batch_size, shuffling):
                optimizer.zero_grad()
                inputs = to_input(data.images[batch], plan.mean, plan.std)
                F.cross_entropy(module(inputs), torch.from_numpy(data.labels[batch])).backward()
                nn.utils.clip_grad_norm_(module.parameters(), plan.grad_clip)
                optimizer.step()


@pytest.mark.parametrize("name", ["light_cnn", "softmax", "batch_norm_cnn", "conv_pair"])
def test_it_learns_what_torchs_sgd_learns(name: str) -> None:
    network = NETWORKS[name]
    data, chosen = shard(network.channels), plan(network.channels)
    learner = Learner(network.build(10, 28, 3), chosen)
    reference = network.build(10, 28, 3)
    before = learner.weights()
    update, steps = learner.train(before, data, seed=7)
    by_torch(reference, chosen, data, seed=7)
    assert steps == 6
    learned = Learner(reference, chosen).weights()
    np.testing.assert_allclose(before + update, learned, atol=2e-5)


def test_equal_seeds_give_equal_bits_whatever_ran_before() -> None:
    learner = Learner(NETWORKS["light_cnn"].build(10, 28, 3), plan(3))
    before, data = learner.weights(), shard(3)
    first, _ = learner.train(before, data, seed=1)
    learner.train(before, data, seed=2)
    assert np.array_equal(learner.train(before, data, seed=1)[0], first)


def test_the_vector_of_a_batch_norm_network_ends_with_its_statistics() -> None:
    module = NETWORKS["batch_norm_cnn"].build(10, 28, 0)
    learner = Learner(module, plan(1))
    assert learner.size - learner.trained == 2 * (8 + 16)
    assert learner.counters == 2
    before = learner.weights()
    update, _ = learner.train(before, shard(1), seed=0)
    statistics = np.concatenate([each.numpy() for each in module.buffers() if each.is_floating_point()])
    assert np.array_equal((before + update)[learner.trained :], statistics)


def test_what_an_attacker_does_to_batches_and_gradients_is_done() -> None:
    learner = Learner(NETWORKS["softmax"].build(10, 28, 0), replace(plan(1), weight_decay=0.0))
    before, data = learner.weights(), shard(1)
    assert not learner.train(before, data, seed=0, mask=np.zeros_like)[0].any()
    black = learner.train(before, data, seed=0, poison=lambda images, labels: (images * 0, labels))[0]
    directly = learner.train(before, Shard(data.images * 0, data.labels), seed=0)[0]
    assert np.array_equal(black, directly)


def test_a_test_counts_by_class_and_leaves_the_statistics_alone() -> None:
    module, data = NETWORKS["batch_norm_cnn"].build(10, 28, 0), shard(1)
    learner = Learner(module, plan(1))
    before = learner.weights()
    found = learner.test(before, data, 11)
    module.eval()
    predicted = module(to_input(data.images, (0.5,), (0.3,))).argmax(1).numpy()
    assert found.accuracy == (predicted == data.labels).mean()
    assert found.per_class_accuracy[10] is None
    shares = [(predicted[data.labels == k] == k).mean() if (data.labels == k).any() else None for k in range(11)]
    assert list(found.per_class_accuracy) == shares
    assert learner.share_taken_for(3, before, data.images) == (predicted == 3).mean()
    assert np.array_equal(learner.weights(), before)
