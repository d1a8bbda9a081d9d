"""A running average of the global models: what is evaluated and saved, while training goes on from the last one.

Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", in the exponential form that De et
al. 2022 (arXiv:2204.13650, section 3.3) use under differential privacy: the noise of single steps averages out, and
as the average is a function of models that are released anyway, it costs no privacy. The weight of the past grows
with the number of models, so that the first, untrained one is soon forgotten.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ModelAverage"]

Vector = np.ndarray[Any, Any]


class ModelAverage:
    """decay: weight of the past, 0 (the average is the last model) to below 1."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._models = 0
        self._average: Vector | None = None

    def add(self, vector: Vector) -> Vector:
        """Take the model of the next round, (d,) float32, in; the average with it."""
        if self._decay:
            past = min(self._decay, self._models / (9 + self._models))
            before = self._average if self._average is not None else np.zeros(len(vector))
            self._average = past * before + (1 - past) * vector.astype(np.float64)
            self._models += 1
        return self.of(vector)

    def of(self, vector: Vector) -> Vector:
        """The average so far, (d,) float32; `vector` itself without averaging."""
        return vector if self._average is None else self._average.astype(np.float32)
