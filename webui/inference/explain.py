"""Where a model looked: Grad-CAM (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-Based Localization", ICCV 2017, section 3, equations 1 and 2), on the last feature maps.

    weight of map k = mean over places of ∂ logit(class) / ∂ map k,      heat = ReLU(Σ weight · map)

It shows which places raised the logit of one class. It does not show that the model is right, nor why; maps of a small
network are coarse (4 × 4 cells for images of 32 px), and the picture is drawn smooth for the eye only.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from webui.inference.classifier import Classifier

if TYPE_CHECKING:
    from secure_fl.data.source import Pixels

__all__ = ["grad_cam", "overlay"]

_HEAT_RGB = (213, 94, 0)  # Okabe and Ito's vermillion, which the colour-blind tell from grey too
_STRONGEST = 0.75
_SHOWN_PX = 320

Heat = npt.NDArray[np.float32]


def grad_cam(classifier: Classifier, pixels: Pixels, label: str) -> Heat:
    """(h, w) float32 in 0..1, one value for each cell of the last feature maps; all zero where nothing spoke for
    `label`.

    Raises:
        ValueError: the model knows no such class.
        Busy: as `Classifier.turn`.
    """
    import torch

    column = classifier.card.classes.index(label)
    network = classifier.network
    kept: list[torch.Tensor] = []
    with classifier.turn(), torch.enable_grad():
        inputs = classifier.inputs(pixels)

        def keep(module: object, given: object, maps: torch.Tensor) -> torch.Tensor:
            leaf = maps.detach().requires_grad_(True)  # below the maps no gradient is needed, so none is kept
            kept.append(leaf)
            return leaf

        hook = network.get_submodule("features").register_forward_hook(keep)
        try:
            logit = network(inputs)[0, column]
        finally:
            hook.remove()
        (gradient,) = torch.autograd.grad(logit, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * kept[0].detach()).sum(dim=1)[0].clamp_min(0)
    peak = float(heat.max())
    return np.asarray((heat / peak if peak > 0 else heat).numpy(), dtype=np.float32)


def overlay(image: Image.Image, heat: Heat) -> bytes:
    """A PNG of the picture's centre square in grey, with vermillion where the heat is."""
    side = _SHOWN_PX
    grey = Image.merge("RGB", [_square(image, side).convert("L")] * 3)
    alpha = Image.fromarray(np.uint8(255 * _STRONGEST * heat)).resize((side, side), Image.Resampling.BICUBIC)
    grey.paste(Image.new("RGB", (side, side), _HEAT_RGB), mask=alpha)
    out = io.BytesIO()
    grey.save(out, "PNG")
    return out.getvalue()


def _square(image: Image.Image, side: int) -> Image.Image:
    from secure_fl.data.images import fit_square

    return Image.fromarray(fit_square(image, side))
