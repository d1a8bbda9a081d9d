"""Gradient inversion: the picture that an update was made of, reconstructed from the update.

The attacker is whoever sees one site's update and knows the model. Two ways:

    analytic      a fully connected first layer with bias gives its input away exactly: ∂L/∂W_i = (∂L/∂b_i) · x, so x is
                  one division (Phong et al. 2017; Geiping et al. 2020, proposition 3.1)
    optimisation  a picture is sought whose gradient has the direction of the observed one: Adam on the signs of the
                  derivative of  1 − cos(g, g*) + α·TV(x)  (Geiping et al. 2020, "Inverting Gradients", equation 4)

The label comes first, from the sign of the last layer's bias gradient (Zhao et al. 2020, "iDLG"). What is attacked
here is the best case of an attacker: one picture, one step. A picture that protection hides in this case is hidden;
one that is found here may still be hidden among the others of a real round.

The same attack is run on the update as protected: clipped and noised as by DP-SGD, or summed with those of other sites
as by secure aggregation. Equal arguments give equal pictures on one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audit.leakage.pictures import Picture, psnr_db, ssim

__all__ = [
    "Gradients",
    "InversionAudit",
    "Protection",
    "Reconstruction",
    "Scaling",
    "analytic_input",
    "audit_inversion",
    "clipped_and_noised",
    "gradients",
    "infer_label",
    "invert",
    "summed_with",
]

Gradients = tuple[Tensor, ...]
"""One tensor a parameter, in the model's order."""
Protection = Callable[[Gradients], Gradients]
"""What leaves the site instead of the gradient."""

ASSUMES = (
    "the attacker sees one update, made of one picture by one step, and knows the model, the step size and how pictures"
    " are scaled"
)
_TOTAL_VARIATION = 1e-3
_FIRST_STEP = 0.1


@dataclass(frozen=True)
class Scaling:
    """(pixel / 255 − mean) / std by channel: what the model reads of a picture."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def inputs(self, picture: Picture) -> Tensor:
        """(s, s, c) uint8 to (1, c, s, s) float32."""
        values = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        return (values - self._column(self.mean)) / self._column(self.std)

    def picture(self, inputs: Tensor) -> Picture:
        """The inverse, rounded and cut to 0 .. 255."""
        values = (inputs.detach() * self._column(self.std) + self._column(self.mean)) * 255
        found: Picture = np.clip(np.rint(values[0].permute(1, 2, 0).numpy()), 0, 255).astype(np.uint8)
        return found

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """(1, c, 1, 1) each: what black and white become."""
        return tuple((value - self._column(self.mean)) / self._column(self.std) for value in (0.0, 1.0))  # type: ignore[return-value]

    @staticmethod
    def _column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """picture: (s, s, c) uint8; distance: 1 − cos between the gradient of what was found and the observed one."""

    picture: Picture
    psnr_db: float
    ssim: float
    label: int
    distance: float


@dataclass(frozen=True, eq=False)
class InversionAudit:
    """What the attack made of the bare update (`plain`), and of it under each protection, by name."""

    original: Picture
    label: int
    plain: Reconstruction
    protected: Mapping[str, Reconstruction]
    steps: int
    assumes: str = ASSUMES


def audit_inversion(
    model: nn.Module,
    picture: Picture,
    label: int,
    scaling: Scaling,
    *,
    protections: Mapping[str, Protection],
    seed: int,
    steps: int = 300,
) -> InversionAudit:
    """Attack the update that `model` makes of one picture, bare and under each protection.

    model: in evaluation mode, twice differentiable, its last `nn.Linear` has a bias; picture: (s, s, c) uint8, s ≥ 7.

    Raises:
        ValueError: the model is in training mode, or has no last linear layer with a bias.
    """
    true = gradients(model, scaling.inputs(picture), torch.tensor([label]))

    def attacked(observed: Gradients) -> Reconstruction:
        guessed = infer_label(model, observed)
        found, distance = invert(model, observed, guessed, picture.shape, scaling, steps=steps, seed=seed)
        shown = scaling.picture(found)
        return Reconstruction(shown, psnr_db(picture, shown), ssim(picture, shown), guessed, distance)

    protected = {name: attacked(protect(true)) for name, protect in protections.items()}
    return InversionAudit(picture, label, attacked(true), protected, steps)


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> Gradients:
    """Of the summed cross-entropy, detached; the model must be in evaluation mode, or dropout would join in."""
    if model.training:
        raise ValueError("the model is in training mode")
    loss = F.cross_entropy(model(inputs), labels, reduction="sum")
    return torch.autograd.grad(loss, _trained(model))


def infer_label(model: nn.Module, observed: Gradients) -> int:
    """The label of the one picture: p_c − [c is the label] is negative there alone.

    Raises:
        ValueError: the model's last linear layer has no bias, or there is none.
    """
    last = [each for each in model.modules() if isinstance(each, nn.Linear)][-1:]
    if not last or last[0].bias is None:
        raise ValueError("the model has no last linear layer with a bias to infer labels from")
    position = next(i for i, each in enumerate(_trained(model)) if each is last[0].bias)
    return int(observed[position].argmin())


def analytic_input(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """(d,): the one input of a linear layer, from the gradients of its weight (k, d) and bias (k,).

    Raises:
        ValueError: no unit of the layer was active.
    """
    strongest = int(bias_gradient.abs().argmax())
    if bias_gradient[strongest] == 0:
        raise ValueError("no unit of the layer has a gradient")
    return weight_gradient[strongest] / bias_gradient[strongest]


def invert(
    model: nn.Module,
    observed: Gradients,
    label: int,
    shape: tuple[int, ...],
    scaling: Scaling,
    *,
    steps: int,
    seed: int,
    total_variation: float = _TOTAL_VARIATION,
) -> tuple[Tensor, float]:
    """The input (1, c, s, s) whose gradient points as the observed one does, and its distance 1 − cos.

    shape: (s, s, c) of the picture; steps: of Adam, whose step size falls tenfold at 3/8, 5/8 and 7/8 of them.
    """
    generator = torch.Generator().manual_seed(seed)
    sought = torch.randn(1, shape[2], *shape[:2], generator=generator).requires_grad_()
    target, (black, white) = torch.tensor([label]), scaling.bounds
    optimizer = torch.optim.Adam([sought], lr=_FIRST_STEP)
    falling = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps * k // 8 for k in (3, 5, 7)])
    length, distance = _dot(observed, observed).sqrt(), torch.ones(())
    for _ in range(steps):
        loss = F.cross_entropy(model(sought), target)
        made = torch.autograd.grad(loss, _trained(model), create_graph=True)
        distance = 1 - _dot(made, observed) / (_dot(made, made).sqrt() * length).clamp_min(1e-30)
        (slope,) = torch.autograd.grad(distance + total_variation * _variation(sought), sought)
        sought.grad = slope.sign()
        optimizer.step()
        falling.step()
        with torch.no_grad():
            sought.copy_(torch.minimum(torch.maximum(sought, black), white))
    return sought.detach(), float(distance.detach())


def clipped_and_noised(clip: float, noise_multiplier: float, *, seed: int) -> Protection:
    """DP-SGD's protection of one record: its gradient clipped to `clip`, and N(0, (σ·clip)²) in each coordinate."""

    def protect(given: Gradients) -> Gradients:
        generator = torch.Generator().manual_seed(seed)
        scale = (clip / _dot(given, given).sqrt()).clamp_max(1.0)
        std = noise_multiplier * clip
        return tuple(each * scale + std * torch.randn(each.shape, generator=generator) for each in given)

    return protect


def summed_with(others: Sequence[Gradients]) -> Protection:
    """Secure aggregation's: the coordinator sees the sum with the updates of other sites, and nothing else."""

    def protect(given: Gradients) -> Gradients:
        return tuple(torch.stack(each).sum(0) for each in zip(given, *others, strict=True))

    return protect


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def _variation(x: Tensor) -> Tensor:
    return (x[:, :, 1:] - x[:, :, :-1]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()
