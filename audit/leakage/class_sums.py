"""Where a real update holds noise and nothing else: the sums over classes of its last layer.

Softmax cross-entropy gives the logits a gradient p − y whose components add up to zero. So in the last, linear layer
the gradient's sum over the classes is zero for each feature and for the bias, for every picture, whatever the picture
shows: Σ_c ∂L/∂W[c, j] = h_j Σ_c (p_c − y_c) = 0. Averaging views, clipping by a scalar, adding up, momentum and
weighted averages of sites keep it zero. Only noise has a part there. An auditor who holds two models of a run, or one
update, can therefore measure the noise of DP-SGD inside the run itself, with neither canaries nor the site's help: per
model step one coordinate a feature and one for the bias, each with `classes` times the variance of a coordinate.

Weight decay breaks this (W's own sums come in), and so does any loss whose gradient does not add up to zero.
It shows the noise in these directions. Software that means to deceive could put noise there alone; a bug does not.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["class_sums", "momentum_gain"]


def class_sums(weight: npt.ArrayLike, bias: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(features + 1,): the last layer's difference (classes, features) and (classes,), summed over classes, and scaled
    so that independent noise of standard deviation s in each coordinate has standard deviation s in each sum.
    """
    w, b = np.asarray(weight, np.float64), np.asarray(bias, np.float64)
    if w.ndim != 2 or b.shape != (len(w),):
        raise ValueError(f"{w.shape} and {b.shape} are not weight and bias of one layer")
    found: npt.NDArray[np.float64] = np.append(w.sum(axis=0), b.sum()) / math.sqrt(len(w))
    return found


def momentum_gain(momentum: float, steps: int) -> float:
    """By how much SGD with heavy-ball momentum, from rest, spreads independent noise of the gradients over `steps`.

    The step from w is −lr Σ_s v_s with v_s = momentum · v_{s−1} + g_s, so g_s counts (1 − momentum^{steps−s+1}) /
    (1 − momentum) times; the gain is the root of the sum of their squares: √steps without momentum.
    """
    counts = [sum(momentum**k for k in range(steps - s)) for s in range(steps)]
    return math.sqrt(sum(each * each for each in counts))
