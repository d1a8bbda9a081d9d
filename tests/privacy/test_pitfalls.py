"""The ways in which DP-SGD goes wrong quietly, each as a test that ours does not.

The numbers are those of the list of pitfalls that was found in use of Opacus 1.6; 13 (what else a site sends) is tested
with the messages, in tests/app.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secure_fl.config import RunConfig
from secure_fl.data import ImageSet, Normalisation
from secure_fl.errors import ConfigError
from secure_fl.models import ModelSpec, build_model
from secure_fl.privacy.book_keeping import BookKeeper
from secure_fl.privacy.engine import PrivateTraining
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.randomness import Randomness
from secure_fl.privacy.regime import planned, promise, sample_event
from secure_fl.training.examples import Pictures
from secure_fl.training.private import PrivateSettings, train_privately

NO_NOISE = 1e-12  # far below what the tests tell apart
CLIP = 0.5  # clips most records of the network below, not all
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def network(*, inplace: bool = False, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.GroupNorm(2, 8),
            nn.ReLU6(inplace=inplace),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
            nn.GroupNorm(2, 8),
            nn.ReLU6(inplace=inplace),
            nn.Conv2d(8, 12, 1),
            nn.Flatten(),
            nn.Linear(12 * 9, 4),
        ).double()


def records(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 3, 6, 6, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 4, (count,), generator=generator)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()]).clone()


def clipped(model: nn.Module, inputs: Tensor, labels: Tensor, views: int = 1) -> Tensor:
    """The sum of clipped gradients as a textbook has it: a backward pass for each record."""
    total = torch.zeros_like(weights(model))
    for first in range(0, len(labels), views):
        rows = slice(first, first + views)
        loss = F.cross_entropy(model(inputs[rows]), labels[rows])  # the mean over the views of one record
        gradient = torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])
        total += gradient * min(1.0, CLIP / (float(gradient.norm()) + 1e-6))  # the guard against 0 is Opacus's
    return total


def stepped(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    noise: float = NO_NOISE,
    expected: float = 4.0,
    randomness: Randomness | None = None,
    microbatch: int = 64,
    views: int = 1,
) -> Tensor:
    """What one step at learning rate 1 takes off the weights."""
    before = weights(model)
    with PrivateTraining(
        model,
        torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.0),
        noise_multiplier=noise,
        max_grad_norm=CLIP,
        expected_batch_size=expected,
        randomness=randomness or Randomness.insecure_for_tests(3),
        microbatch=microbatch,
    ) as training:
        training.step(inputs, labels, views=views)
    return before - weights(model)


@pytest.mark.parametrize("expected", [0.49, 0.98, 2.5])
def test_1_the_expected_batch_size_is_not_cut_to_a_whole_number(expected: float) -> None:
    inputs, labels = records(3)
    change = stepped(network(), inputs, labels, expected=expected)
    torch.testing.assert_close(change, clipped(network(), inputs, labels) / expected, **CLOSE)


class Recorded(Randomness):
    """The real randomness, which also remembers what was asked of it and what it drew."""

    def __init__(self) -> None:
        super().__init__(bytes(32), insecure=True)
        self.asked: list[tuple[int, float]] = []
        self.drawn: list[int] = []

    def poisson(self, samples: int, rate: float) -> np.ndarray:
        chosen = super().poisson(samples, rate)
        self.asked.append((samples, rate))
        self.drawn.append(len(chosen))
        return chosen


def private_round(randomness: Randomness, *, images: int, rate: float) -> RunConfig:
    """One round of a site with `images` images, as the site app has it; returns the settings."""
    config = planned(
        RunConfig(model="light_cnn", dp_epsilon=8.0, dp_delta=1e-3, dp_sample_rate=rate, rounds=1, local_epochs=2)
    )
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, 16, 16, 3), dtype=np.uint8)
    site = ImageSet(images=pixels, labels=generator.integers(0, 3, images), classes=("a", "b", "c"))
    model = build_model(ModelSpec.of(config, classes=3, image_size_px=16), seed=0)
    normalisation = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    settings = PrivateSettings.of(config, round=1)
    train_privately(model, Pictures(site, normalisation), settings, seed=0, randomness=randomness)
    return config


def test_2_what_is_drawn_is_what_is_accounted() -> None:
    """A loader of 40 records in batches of 12 draws at 1/4 instead of 3/10, and int(1/q) steps an epoch."""
    source, randomness = Randomness.insecure_for_tests(0), Recorded()
    event = sample_event(private_round(randomness, images=40, rate=0.3))
    assert randomness.asked == [(40, event.sample_rate)] * event.steps
    assert (event.mechanism, event.sample_rate, event.steps) == ("poisson-gaussian", 0.3, round(2 / 0.3))
    sizes = [len(source.poisson(40, 0.3)) for _ in range(2000)]
    # Binomial(40, 0.3): mean 12, variance 8.4. At a rate of 1/4 the mean would be 10.
    assert np.mean(sizes) == pytest.approx(12, abs=0.35)
    assert np.var(sizes) == pytest.approx(8.4, rel=0.15)


def test_3_an_empty_batch_stays_empty_and_is_noised_like_any_other() -> None:
    source = Randomness.insecure_for_tests(0)
    sizes = [len(source.poisson(10, 0.1)) for _ in range(2000)]
    assert np.mean([size == 0 for size in sizes]) == pytest.approx(0.9**10, abs=0.05)

    model = network()
    change = stepped(model, *(each[:0] for each in records(1)), noise=2.0, expected=4.0)
    assert bool((change != 0).all())
    assert float(change.std()) == pytest.approx(2.0 * CLIP / 4.0, rel=0.1)
    assert abs(float(change.mean())) < 4 * 2.0 * CLIP / 4.0 / len(change) ** 0.5


def test_3_a_round_that_draws_nobody_is_a_round() -> None:
    randomness = Recorded()
    event = sample_event(private_round(randomness, images=2, rate=0.1))
    assert 0 in randomness.drawn
    assert len(randomness.drawn) == event.steps == 20


def test_4_microbatches_need_no_manager_and_leftover_gradients_do_not_enter() -> None:
    inputs, labels = records(7)
    whole = stepped(network(), inputs, labels, noise=1.0)
    model = network()
    for each in model.parameters():
        each.grad = torch.full_like(each, 1e6)
    split = stepped(model, inputs, labels, noise=1.0, microbatch=3)
    torch.testing.assert_close(split, whole, **CLOSE)


def test_4_a_second_step_has_nothing_of_the_first() -> None:
    inputs, labels = records(6)
    model = network()
    with PrivateTraining(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=NO_NOISE,
        max_grad_norm=CLIP,
        expected_batch_size=4.0,
        randomness=Randomness.insecure_for_tests(0),
        microbatch=2,
    ) as training:
        training.step(inputs[:3], labels[:3])
        between = copy.deepcopy(model.state_dict())
        before = weights(model)
        training.step(inputs[3:], labels[3:])
    reference = network()
    reference.load_state_dict(between)
    torch.testing.assert_close(before - weights(model), clipped(reference, inputs[3:], labels[3:]) / 4.0, **CLOSE)


def test_5_secure_noise_needs_no_abandoned_package_and_a_seed_is_called_insecure() -> None:
    assert importlib.util.find_spec("torchcsprng") is None
    assert not Randomness.from_system().insecure
    assert Randomness.insecure_for_tests(0).insecure
    zeros = torch.zeros(1000)
    one, other = (Randomness.from_system().noised(zeros, 1.0, grid=1e-9) for _ in range(2))
    assert not bool((one == other).any())
    config = RunConfig(dp_epsilon=8.0, dp_noise_multiplier=4.0, rounds=1)
    assert not any("not_private" in line for line in promise(config))
    assert all("not_private" in line for line in promise(config.changed({"insecure-test-rng": True})))


def test_6_the_seed_of_a_run_has_no_part_in_the_noise() -> None:
    """Two sites, or two rounds, that seed torch and numpy alike: their noise must not cancel."""
    empty = [each[:0] for each in records(1)]
    changes = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        before = torch.get_rng_state()
        changes.append(stepped(network(), *empty, noise=1.0, randomness=Randomness.from_system()))
        assert torch.equal(torch.get_rng_state(), before), "the noise came from torch's own generator"
    spread = float((changes[0] - changes[1]).std()) / float(changes[0].std())
    assert spread == pytest.approx(2**0.5, rel=0.25)


def test_6_two_steps_have_different_noise() -> None:
    source = Randomness.insecure_for_tests(0)
    empty = [each[:0] for each in records(1)]
    one, other = (stepped(network(), *empty, noise=1.0, randomness=source) for _ in range(2))
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.2


def test_7_activations_in_place_are_exact() -> None:
    inputs, labels = records(5)
    expected = clipped(network(), inputs, labels) / 4.0
    torch.testing.assert_close(stepped(network(inplace=True), inputs, labels), expected, **CLOSE)


@pytest.mark.parametrize("stem", ["imagenet", "small-images"])
def test_7_no_group_of_our_networks_has_one_value(stem: str) -> None:
    config = RunConfig(stem=stem)
    model = build_model(ModelSpec.of(config, classes=10, image_size_px=32), seed=0)
    norms = [each for each in model.modules() if isinstance(each, nn.GroupNorm)]
    assert len(norms) > 50
    assert min(each.num_channels // each.num_groups for each in norms) >= 8


def with_frozen_batch_norm() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 16, 4)).double()
    model[1].requires_grad_(False)
    return model


def test_8_batch_norm_is_refused_even_if_nothing_of_it_is_trained() -> None:
    model = with_frozen_batch_norm().train()
    with pytest.raises(ConfigError, match="BatchNorm"):
        stepped(model, *records(3))


def test_8_batch_norm_that_is_switched_to_training_later_is_refused() -> None:
    model = with_frozen_batch_norm().eval()
    with PrivateTraining(
        model,
        torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.0),
        noise_multiplier=1.0,
        max_grad_norm=CLIP,
        expected_batch_size=4.0,
        randomness=Randomness.insecure_for_tests(0),
    ) as training:
        model.train()
        before = weights(model)
        with pytest.raises(ConfigError, match="BatchNorm"):
            training.step(*records(3))
    assert torch.equal(weights(model), before)


def test_9_the_model_is_not_wrapped_and_can_be_copied() -> None:
    inputs, labels = records(3)
    model = network()
    names, expected = list(model.state_dict()), network()(inputs)
    with BookKeeper(model):
        assert list(model.state_dict()) == names
        torch.testing.assert_close(model(inputs), expected, **CLOSE)
    twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == names
    stepped(twin, inputs, labels)
    torch.testing.assert_close(model(inputs), expected, **CLOSE)
    # Plain training again: autograd fills the gradients of the weights.
    F.cross_entropy(model(inputs), labels).backward()
    assert all(each.grad is not None for each in model.parameters())


def test_9_a_model_can_be_trained_privately_again() -> None:
    inputs, labels = records(3)
    model = network()
    stepped(model, inputs, labels)
    expected = clipped(model, inputs, labels) / 4.0
    torch.testing.assert_close(stepped(model, inputs, labels), expected, **CLOSE)


def test_10_frozen_layers_stay_as_they_are() -> None:
    inputs, labels = records(5)
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    change = stepped(model, inputs, labels, noise=1.0)
    assert torch.equal(model[0].weight, before)
    assert bool((change[before.numel() :] != 0).all())


def test_10_a_model_in_evaluation_mode_is_trained_alike() -> None:
    inputs, labels = records(5)
    expected = clipped(network(), inputs, labels) / 4.0
    torch.testing.assert_close(stepped(network().eval(), inputs, labels), expected, **CLOSE)


class WithUnused(nn.Module):
    """A trainable layer that no input reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = network(), nn.Linear(5, 5).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x)
        return out


def test_10_a_layer_that_is_not_reached_gets_noise_only() -> None:
    inputs, labels = records(5)
    model = WithUnused()
    change = stepped(model, inputs, labels)
    size = sum(each.numel() for each in model.unused.parameters())
    torch.testing.assert_close(change[:-size], clipped(network(), inputs, labels) / 4.0, **CLOSE)
    assert float(change[-size:].abs().max()) < 1e-9
    noised = stepped(WithUnused(), inputs, labels, noise=1.0)
    assert bool((noised[-size:] != 0).all())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_11_there_is_no_reduction_to_get_wrong(count: int) -> None:
    """The number of records that were drawn has no part in the scale: the sum is divided by the expected number."""
    inputs, labels = records(count)
    expected = clipped(network(), inputs, labels) / 3.7
    torch.testing.assert_close(stepped(network(), inputs, labels, expected=3.7), expected, **CLOSE)


def test_12_what_is_needed_to_go_on_counting_is_on_the_disk(tmp_path: Path) -> None:
    config = planned(RunConfig(dp_epsilon=3.0, dp_sample_rate=0.1, rounds=3, local_epochs=1))
    event = sample_event(config)
    first = Ledger(tmp_path / "site.jsonl")
    first.spend(event, run="run", round=1, unit="sample", data="images")
    again = Ledger(tmp_path / "site.jsonl")  # another process, after a crash
    assert [each.event for each in again.spendings("images")] == [event]
    assert again.epsilon("images", 1e-5).value == first.epsilon("images", 1e-5).value > 0
    # What is planned survives the run record's own form, so that a resumed run has the same noise.
    assert config.dp_noise_multiplier > 0
    restored = RunConfig(**{key.replace("-", "_"): value for key, value in config.to_mapping().items()})
    assert sample_event(restored) == event


@pytest.mark.parametrize("views", [2, 4])
def test_14_the_views_of_a_record_are_averaged_before_it_is_clipped(views: int) -> None:
    inputs, labels = records(3 * views)
    labels = labels[::views].repeat_interleave(views)
    expected = clipped(network(), inputs, labels, views=views) / 4.0
    torch.testing.assert_close(stepped(network(), inputs, labels, views=views), expected, **CLOSE)
    torch.testing.assert_close(
        stepped(network(), inputs, labels, views=views, microbatch=views + 1), expected, **CLOSE
    )  # a microbatch never divides a record
    alone = stepped(network(), inputs[:views], labels[:views], views=views, expected=1.0)
    assert float(alone.norm()) <= CLIP * (1 + 1e-9)


def test_14_a_record_enters_a_step_once_and_copies_are_records_of_their_own() -> None:
    chosen = Randomness.insecure_for_tests(0).poisson(1000, 0.9)
    assert len(np.unique(chosen)) == len(chosen)
    inputs, labels = records(1)
    once = stepped(network(), inputs, labels)
    twice = stepped(network(), inputs.repeat(2, 1, 1, 1), labels.repeat(2))
    torch.testing.assert_close(twice, 2 * once, **CLOSE)
