"""Evaluation counts right, by class too, and leaves the model as it found it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secure_fl.data import ImageSet, Normalisation
from secure_fl.errors import DataError
from secure_fl.models import ModelCard, ModelSpec, build_model
from secure_fl.training.evaluation import classify, evaluate
from secure_fl.training.examples import Pictures

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SPEC = ModelSpec(
    architecture="light_cnn",
    classes=4,
    image_size_px=16,
    norm="group",
    group_size=16,
    stem="small-images",
    width=1.0,
    dropout=0.5,
)
CARD = ModelCard(SPEC, ("a", "b", "c", "d"), PLAIN.mean, PLAIN.std, "run", 1)


class ReadsItsAnswer(nn.Module):
    """Logits (n, 4): 5 for the class that the red value of the first pixel names, 0 for the others."""

    def forward(self, x: Tensor) -> Tensor:
        return 5 * nn.functional.one_hot((x[:, 0, 0, 0] * 255).round().long(), 4).float()


def said(answers: list[int], truths: list[int]) -> ImageSet:
    """Images on which `ReadsItsAnswer` gives `answers`, truly of the classes `truths`."""
    pixels = np.zeros((len(answers), 16, 16, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = answers
    return ImageSet(pixels, np.array(truths, dtype=np.int64), ("a", "b", "c", "d"))


def test_accuracy_and_loss_by_hand() -> None:
    found = evaluate(ReadsItsAnswer(), Pictures(said([0, 0, 1, 3, 3], [0, 1, 1, 3, 3]), PLAIN))
    normaliser = np.log(np.exp(5) + 3)
    assert found.loss == pytest.approx((4 * (normaliser - 5) + normaliser) / 5, rel=1e-6)
    assert found.accuracy == 4 / 5
    assert found.per_class_accuracy == (1.0, 0.5, None, 1.0)
    assert found.per_class_count == (1, 2, 0, 2)
    assert found.samples == 5


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    rng = np.random.default_rng(0)
    images = ImageSet(rng.integers(0, 256, (11, 16, 16, 3), dtype=np.uint8), rng.integers(0, 4, 11), CARD.classes)
    model = build_model(SPEC, seed=0)
    whole, parts = (
        evaluate(model, Pictures(images, PLAIN)),
        evaluate(model, Pictures(images, PLAIN), batch_size=batch_size),
    )
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert replace(parts, loss=0) == replace(whole, loss=0)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(training: bool) -> None:
    images, model = said([0, 1, 2], [0, 1, 2]), build_model(SPEC, seed=0).train(training)
    before = torch.get_rng_state()
    assert evaluate(model, Pictures(images, PLAIN)) == evaluate(model, Pictures(images, PLAIN))
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_comes_back_also_after_an_error() -> None:
    model = build_model(SPEC, seed=0).train()
    with pytest.raises(IndexError):
        evaluate(model, Pictures(said([0], [9]), PLAIN))
    assert model.training


def test_without_images_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="no images to evaluate on"):
        evaluate(ReadsItsAnswer(), Pictures(said([], []), PLAIN))


def test_labels_in_read_only_memory_are_fine(recwarn: pytest.WarningsRecorder) -> None:
    images = said([0, 1], [0, 1])
    images.labels.flags.writeable = images.images.flags.writeable = False
    assert evaluate(ReadsItsAnswer(), Pictures(images, PLAIN)).accuracy == 1.0
    assert not recwarn.list


def test_guesses_are_ordered_named_and_sum_to_one() -> None:
    first, second = classify(ReadsItsAnswer(), CARD, said([2, 1], [0, 0]).images, top_k=4)
    assert [first[0].label, second[0].label] == ["c", "b"]
    assert first[0].probability == pytest.approx(np.exp(5) / (np.exp(5) + 3))
    assert sum(each.probability for each in first) == pytest.approx(1)
    assert sorted((each.probability for each in first), reverse=True) == [each.probability for each in first]
    assert isinstance(first[0].probability, float)


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (5, 4)])
def test_there_are_no_more_guesses_than_classes(asked: int, given: int) -> None:
    (only,) = classify(ReadsItsAnswer(), CARD, said([0], [0]).images, top_k=asked)
    assert len(only) == given


def test_many_images_are_classified_like_single_ones() -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 16, 16, 3), dtype=np.uint8)
    model = build_model(SPEC, seed=0)
    together = classify(model, CARD, images)
    alone = [classify(model, CARD, images[i : i + 1])[0] for i in (0, 63, 64, 129)]
    for expected, found in zip(alone, (together[i] for i in (0, 63, 64, 129)), strict=True):
        assert [each.label for each in found] == [each.label for each in expected]
        assert found[0].probability == pytest.approx(expected[0].probability, rel=1e-5)


def test_no_images_get_no_guesses() -> None:
    assert classify(ReadsItsAnswer(), CARD, said([], []).images) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 8, 8, 3), dtype=np.uint8),
        np.zeros((16, 16, 3), dtype=np.uint8),
        np.zeros((1, 16, 16, 1), dtype=np.uint8),
        np.zeros((1, 16, 16, 3), dtype=np.float32),
    ],
)
def test_images_of_another_form_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot be classified") as caught:
        classify(ReadsItsAnswer(), CARD, pixels)
    assert "16x16" in caught.value.why
