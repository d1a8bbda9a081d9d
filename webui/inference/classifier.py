"""A model in service: one thread of arithmetic, a short queue, and an honest word about how sure it is.

Measured: with torch's own thread pool, inference beside a training process is 7 to 15 times slower than with one
thread, because the pool's threads spin while they wait for cores that training holds. So there is one thread a
picture, at most `AT_ONCE` pictures at a time, `WAITING` more in line, and beyond that a refusal that says when to come
back; the pages stay quick whatever happens.

A softmax is not a probability of being right: it was never told how often it errs. `Answer` therefore carries the
entropy and the margin beside it, and a word for the reader.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secure_fl.errors import SecureFLError

if TYPE_CHECKING:
    from secure_fl.data.source import Pixels
    from secure_fl.models import ModelCard

__all__ = ["AT_ONCE", "WAITING", "Answer", "Busy", "Classifier", "Guess"]

AT_ONCE, WAITING = 2, 8
_PATIENCE_S = 10.0
_SURE_MARGIN, _UNSURE_ENTROPY = 0.5, 0.6


class Busy(SecureFLError):
    """So many pictures are waiting that another would only make all of them late."""

    code = "BUSY"
    http_status = 503
    retry_after_s = 2


@dataclass(frozen=True)
class Guess:
    """One class and its softmax value in 0..1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the model says about one picture.

    guesses: best first; entropy: of the softmax over all classes, 0 (one class) to 1 (all alike); margin: between the
    first two guesses; model_ms: the network alone, without decoding and waiting.
    """

    guesses: tuple[Guess, ...]
    entropy: float
    margin: float
    model_ms: float

    @property
    def confidence(self) -> str:
        """`clear`, `leaning` or `unsure`: a word for entropy and margin, not a promise."""
        if self.entropy > _UNSURE_ENTROPY:
            return "unsure"
        return "clear" if self.margin >= _SURE_MARGIN else "leaning"


class Classifier:
    """The model of one file. Threads may share it: the network is only read, and pictures wait their turn.

    Raises (at construction): what `secure_fl.models.load_model` and `refuse_simulated` raise.
    """

    def __init__(self, file: Path) -> None:
        import torch

        from secure_fl.models import load_model, refuse_simulated

        torch.set_num_threads(1)
        self.file = file
        self._model, self.card = load_model(file)
        refuse_simulated(file.name, self.card)
        self._model.to(memory_format=torch.channels_last)
        self._traced = self._trace()
        self._working = threading.BoundedSemaphore(AT_ONCE)
        self._admitted = threading.BoundedSemaphore(AT_ONCE + WAITING)

    card: ModelCard

    def answer(self, pixels: Pixels, *, top_k: int = 5) -> Answer:
        """The `top_k` best guesses on one picture (s, s, 3) uint8 of the model's own size.

        Raises:
            Busy: too many pictures are waiting.
        """
        import torch

        with self.turn(), torch.inference_mode():
            started = time.perf_counter()
            logits = self._traced(self.inputs(pixels))[0]
            model_ms = 1e3 * (time.perf_counter() - started)
        shares = logits.double().softmax(0)
        best = shares.topk(min(top_k, len(shares)))
        guesses = tuple(
            Guess(self.card.classes[index], value)
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        entropy = float(-(shares * shares.clamp_min(1e-300).log()).sum()) / math.log(len(shares))
        margin = guesses[0].probability - (guesses[1].probability if len(guesses) > 1 else 0.0)
        return Answer(guesses, min(1.0, max(0.0, entropy)), margin, model_ms)

    def _trace(self) -> Any:
        """The network as one call that holds no Python lock, so that requests do not wait for each layer's turn.

        It computes the same, to the bit; where it does not, the network answers as it is.
        """
        import torch

        side = self.card.spec.image_size_px
        example = self.inputs(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.jit is to be replaced one day
            traced = torch.jit.freeze(torch.jit.trace(self._model, example, check_trace=False), optimize_numerics=False)  # type: ignore[no-untyped-call]
            same = all(torch.equal(traced(example), self._model(example)) for _ in range(3))  # it settles in two calls
        return traced if same else self._model

    def inputs(self, pixels: Pixels) -> Any:
        """(1, 3, s, s) float32 as the network was trained on it: (pixel / 255 - mean) / std, by channel."""
        import torch

        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (self.card.mean, self.card.std))
        scaled = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)

    @property
    def network(self) -> Any:
        """The network, for whoever explains its answers; to be used within `turn`."""
        return self._model

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the places at the arithmetic.

        Raises:
            Busy: the line is full, or it did not move for ten seconds.
        """
        if not self._admitted.acquire(blocking=False):
            raise Busy(f"{AT_ONCE + WAITING} pictures are being looked at or waiting", fix="try again in a moment")
        try:
            if not self._working.acquire(timeout=_PATIENCE_S):
                raise Busy("the machine is too busy to look at pictures", fix="try again in a moment")
            try:
                yield
            finally:
                self._working.release()
        finally:
            self._admitted.release()
