"""benchmarks/webui.py: its arithmetic, its pictures, and what peers answer; its servers are the real ones.

Whether the bars are cleared is for the benchmark itself to say: on a busy machine times mean nothing.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.webui import p95, photographs, rate, ratios, times
from benchmarks.webui_peers.answering import Answering
from benchmarks.webui_servers import Asker
from secure_fl.config import RunConfig
from secure_fl.data.images import decode_image, fit_square
from secure_fl.models import ModelCard, ModelSpec, build_model, save_model
from webui.inference.classifier import Classifier


class Counting(Asker):
    """Answers at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def predict(self, jpeg: bytes) -> None:
        self.asked.append(jpeg)


def test_of_a_hundred_values_the_95th_counts_and_of_one_that_one() -> None:
    assert p95([float(each) for each in range(100, 0, -1)]) == 95.0
    assert p95([3.0]) == 3.0
    assert p95([1.0, 2.0]) == 2.0


def test_photographs_are_what_the_docstring_says_and_the_same_each_time() -> None:
    pictures = photographs(2)
    assert pictures == photographs(2) and pictures[0] != pictures[1]
    for each in pictures:
        image = Image.open(io.BytesIO(each))
        assert (image.format, image.size) == ("JPEG", (640, 480))
        assert 20_000 < len(each) < 200_000  # a flat one would be quicker to decode than any photograph


def test_a_burst_asks_every_client_equally_and_every_picture_in_turn() -> None:
    clients, pictures = [Counting() for _ in range(4)], [b"a", b"b"]
    assert rate(clients, pictures, 40) > 0
    assert [len(each.asked) for each in clients] == [10] * 4
    assert sum(each.asked.count(b"a") for each in clients) == 20


def test_a_burst_fails_if_one_answer_does() -> None:
    class Failing(Asker):
        def __init__(self) -> None:
            pass

        def predict(self, jpeg: bytes) -> None:
            raise RuntimeError("3 guesses instead of five")

    with pytest.raises(RuntimeError, match="instead of five"):
        rate([Failing()], [b"a"], 2)


def test_ratios_are_formed_turn_by_turn() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_as_many_times_are_taken_as_calls_are_made() -> None:
    calls: list[int] = []
    assert len(times(lambda: calls.append(1), 5)) == len(calls) == 5


def test_peers_say_what_our_classifier_says(tmp_path: Path) -> None:
    spec, file = (
        ModelSpec.of(RunConfig(model="light_cnn"), classes=10, image_size_px=32),
        tmp_path / "model.safetensors",
    )
    card = ModelCard(spec, tuple("0123456789"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "a-run", 3)
    save_model(file, build_model(spec, seed=1), card)
    data = photographs(1)[0]
    theirs = Answering(file)(Image.open(io.BytesIO(data)))
    ours = Classifier(file).answer(fit_square(decode_image(data, name="a"), 32))
    assert list(theirs) == [each.label for each in ours.guesses]
    for each in ours.guesses:
        assert theirs[each.label] == pytest.approx(each.probability, abs=0.02)  # they shrink in one step less
