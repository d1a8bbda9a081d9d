"""Serving answers: what training's own evaluation says, how sure, and never more at once than there is room for."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secure_fl.config import RunConfig
from secure_fl.errors import ModelFileError
from secure_fl.models import SIMULATION_MARK, ModelCard, ModelSpec, build_model, load_model, save_model
from secure_fl.training.evaluation import classify
from webui.inference.classifier import AT_ONCE, WAITING, Answer, Busy, Classifier, Guess
from webui.inference.explain import grad_cam, overlay

CLASSES = tuple("abcdefghij")


@pytest.fixture(scope="module", params=["light_cnn", "tanh_cnn", "mobilenet_v2"])
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = ModelSpec.of(RunConfig(model=request.param), classes=10, image_size_px=32)
    card = ModelCard(spec, CLASSES, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "a-run", 3)
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(file, build_model(spec, seed=1), card)
    return file


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_answers_are_those_of_the_evaluation_that_graded_the_model(model_file: Path, pixels: np.ndarray) -> None:
    theirs = classify(*load_model(model_file), pixels[None], top_k=5)[0]
    ours = Classifier(model_file).answer(pixels)
    assert [each.label for each in ours.guesses] == [each.label for each in theirs]
    assert [each.probability for each in ours.guesses] == pytest.approx([p.probability for p in theirs], rel=1e-5)


def test_all_shares_alike_have_entropy_one_and_no_margin(model_file: Path, pixels: np.ndarray) -> None:
    classifier = Classifier(model_file)
    for parameter in classifier.network.get_submodule("classifier").parameters():
        parameter.data.zero_()
    answer = classifier.answer(pixels)
    assert answer.entropy == pytest.approx(1.0)
    assert answer.margin == pytest.approx(0.0)
    assert answer.confidence == "unsure"


@pytest.mark.parametrize(
    ("entropy", "margin", "word"), [(0.1, 0.9, "clear"), (0.3, 0.2, "leaning"), (0.7, 0.6, "unsure")]
)
def test_the_word_for_confidence_follows_entropy_and_margin(entropy: float, margin: float, word: str) -> None:
    assert Answer((Guess("a", 1.0),), entropy, margin, 1.0).confidence == word


def test_a_model_of_a_simulated_attack_is_never_served(model_file: Path, tmp_path: Path) -> None:
    model, card = load_model(model_file)
    marked = tmp_path / "marked.safetensors"
    save_model(marked, model, replace(card, extra={SIMULATION_MARK: "sign_flip by 1 of 5 sites"}))
    with pytest.raises(ModelFileError, match="study only"):
        Classifier(marked)


def test_a_picture_beyond_the_line_is_turned_away_and_the_others_are_served(
    model_file: Path, pixels: np.ndarray
) -> None:
    classifier = Classifier(model_file)
    held, leave, answered = threading.Barrier(AT_ONCE + 1), threading.Event(), []

    def hold() -> None:
        with classifier.turn():
            held.wait(10)
            leave.wait(10)

    def wait_in_line() -> None:
        answered.append(classifier.answer(pixels))

    holders = [threading.Thread(target=hold) for _ in range(AT_ONCE)]
    for each in holders:
        each.start()
    held.wait(10)
    line = [threading.Thread(target=wait_in_line) for _ in range(WAITING)]
    for each in line:
        each.start()
    while classifier._admitted._value:  # until each of them stands in line
        pass
    with pytest.raises(Busy):
        classifier.answer(pixels)
    leave.set()
    for each in [*holders, *line]:
        each.join(10)
    assert len(answered) == WAITING
    assert classifier.answer(pixels)


def test_grad_cam_is_the_formula_of_the_paper(model_file: Path, pixels: np.ndarray) -> None:
    import torch

    classifier = Classifier(model_file)
    label = classifier.answer(pixels).guesses[0].label
    found = grad_cam(classifier, pixels, label)

    # The same by autograd through the whole network, without a hook that cuts it.
    maps: list[torch.Tensor] = []
    handle = classifier.network.get_submodule("features").register_forward_hook(lambda m, i, out: maps.append(out))
    logits = classifier.network(classifier.inputs(pixels))
    handle.remove()
    (slope,) = torch.autograd.grad(logits[0, CLASSES.index(label)], maps[0])
    expected = torch.einsum("khw,k->hw", maps[0][0], slope[0].mean(dim=(1, 2))).relu().detach().numpy()
    assert found == pytest.approx(expected / max(expected.max(), 1e-30), abs=1e-5)
    assert found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1


def test_the_explanation_leaves_the_model_as_it_was(model_file: Path, pixels: np.ndarray) -> None:
    classifier = Classifier(model_file)
    before = classifier.answer(pixels)
    grad_cam(classifier, pixels, "a")
    assert classifier.answer(pixels).guesses == before.guesses
    assert all(each.grad is None for each in classifier.network.parameters())


def test_the_overlay_is_a_small_png_of_the_picture(model_file: Path, pixels: np.ndarray) -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1.0
    shown = np.asarray(Image.open(io.BytesIO(overlay(Image.fromarray(pixels), heat))))
    assert shown.shape == (320, 320, 3)
    warm = shown[:40, :40].astype(int)
    cold = shown[-40:, -40:].astype(int)
    assert (warm[..., 0] - warm[..., 2]).mean() > 60  # vermillion
    assert np.abs(cold[..., 0] - cold[..., 2]).max() == 0  # grey
