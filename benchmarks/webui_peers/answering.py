"""The part that both peers share: the model of a file, and its five best guesses on a picture; one torch thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from secure_fl.models import load_model

__all__ = ["Answering"]


class Answering:
    """Decode, resize, normalise, run, rank: nothing is checked but that Pillow can read it."""

    def __init__(self, file: Path) -> None:
        torch.set_num_threads(1)
        self._model, self._card = load_model(file)
        self._model.to(memory_format=torch.channels_last)
        self._mean, self._std = (torch.tensor(each).view(1, 3, 1, 1) for each in (self._card.mean, self._card.std))

    def __call__(self, image: Image.Image) -> dict[str, float]:
        """Class names and softmax values, best first."""
        side = self._card.spec.image_size_px
        image.draft("RGB", (2 * side, 2 * side))
        square = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 255
        inputs: Any = ((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            shares = self._model(inputs)[0].softmax(0)
        best = shares.topk(min(5, len(shares)))
        return {self._card.classes[i]: p for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)}
