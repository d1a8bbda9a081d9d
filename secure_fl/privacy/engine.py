"""DP-SGD: a step that is differentially private, in Opacus's protocol, at nearly the speed of a plain one.

One step on the records D that Poisson sampling has drawn (Abadi et al. 2016, algorithm 1):

    update = ( Σ_{x ∈ D} clip(gradient(x), C)  +  N(0, (σC)² I) ) / B,      B = the expected batch q·N

Guarantee: for neighbouring data sets that differ in one record, the sums differ by at most C in L2 norm, so a step is
the Poisson-subsampled Gaussian mechanism of noise σ that `accounting` counts. B is a constant: dividing by what was
drawn would leak its number. An empty draw gives noise alone, and counts.

`clipped_gradient_sum` is the first term alone, for a step whose noise comes in shares of many sites (`distributed`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from secure_fl.errors import ConfigError
from secure_fl.privacy.book_keeping import BookKeeper, refuse_mixing
from secure_fl.privacy.mechanism import gaussian_mechanism
from secure_fl.privacy.randomness import Randomness

__all__ = ["PrivateOptimizer", "PrivateTraining", "clipped_gradient_sum"]

# Rows at once: before the maps' size is known, and at most.
_FIRST_ROWS, _MOST_ROWS = 32, 64
# What glibc hands out without asking the kernel for fresh, zeroed pages each time: twice as fast where it matters.
_REUSED_BYTES = 32 << 20


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimizer, fed by a book-keeper: `signal_skip_step` accumulates microbatches, `step_hook` accounts.

    It noises by `randomness` and never by torch's global generator, and divides by a float.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        keeper: BookKeeper,
        randomness: Randomness,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        self._keeper, self._randomness = keeper, randomness
        self._recorded = False

    @property
    def grad_samples(self) -> list[Tensor]:
        """Opacus asks whether there is anything to train; we keep no gradients by sample."""
        return [each.detach() for each in self.params]

    @property
    def accumulated_iterations(self) -> int:
        """One: `expected_batch_size` is of the logical batch, however many microbatches it has."""
        return 1

    def recorded(self) -> None:
        """The keeper holds a microbatch. A step without is a step on an empty batch."""
        self._recorded = True

    @torch.no_grad()
    def clip_and_accumulate(self) -> None:
        """Add the microbatch's clipped sums to `summed_grad`."""
        sums = self._keeper.clipped_sums(self.max_grad_norm).sums if self._recorded else {}
        self._recorded = False
        for parameter in self.params:
            added = sums.get(parameter)
            if added is None:
                added = torch.zeros_like(parameter)
            before = parameter.summed_grad
            parameter.summed_grad = added if before is None else before.add_(added)

    @torch.no_grad()
    def add_noise(self) -> None:
        """Noise for all parameters in one draw, into `grad`."""
        params = self.params
        flat = torch.cat([each.summed_grad.reshape(-1) for each in params])
        flat = gaussian_mechanism(
            flat,
            sensitivity=self.max_grad_norm,
            noise_multiplier=self.noise_multiplier,
            randomness=self._randomness,
        )
        for parameter, part in zip(params, torch.split(flat, [each.numel() for each in params]), strict=True):
            parameter.grad = part.view_as(parameter)


class PrivateTraining:
    """A model and its optimizer, trained step by step under differential privacy; a context manager.

    noise_multiplier: σ. max_grad_norm: C. expected_batch_size: q·N, a float. microbatch: rows at once, which
    bounds the memory and moves nothing else; by default as many as keep the largest map cheap to allocate.
    `after_step` is called with the optimizer after each noised step.

    Raises:
        ConfigError: a number has no meaning, or the model has layers that cannot be trained privately.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        randomness: Randomness,
        microbatch: int | None = None,
        after_step: Callable[[DPOptimizer], None] | None = None,
    ) -> None:
        numbers = {
            "noise_multiplier": noise_multiplier,
            "max_grad_norm": max_grad_norm,
            "expected_batch_size": expected_batch_size,
            "microbatch": 1 if microbatch is None else microbatch,
        }
        for name, value in numbers.items():
            if not 0 < value < float("inf"):
                raise ConfigError(f"`{name}` is {value}", fix="give a finite number above 0")
        _refuse_other_parameters(model, optimizer)
        refuse_mixing(model)
        self._model, self._microbatch = model, microbatch
        self._keeper = BookKeeper(model)
        self.optimizer = PrivateOptimizer(
            optimizer,
            self._keeper,
            randomness,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        if after_step is not None:
            self.optimizer.attach_step_hook(after_step)

    def __enter__(self) -> PrivateTraining:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the model back as it was made, without a trace of gradients."""
        self._keeper.detach()
        for parameter in self._model.parameters():
            parameter.grad = None
            parameter.__dict__.pop("summed_grad", None)
            parameter.__dict__.pop("grad_sample", None)

    def step(self, inputs: Tensor, labels: Tensor, *, views: int = 1) -> None:
        """One step on what was drawn: inputs (n·views, …), labels (n·views,); n may be 0.

        The rows of a record stand together; their gradients are averaged before they are clipped.

        Raises:
            ConfigError: a layer mixes records, was used twice, or the rows are not a multiple of `views`.
        """
        refuse_mixing(self._model)
        starts, rows = _microbatches(inputs, labels, views, self._microbatch or _fitting_rows(self._keeper))
        for start in starts:
            self.optimizer.zero_grad(set_to_none=True)
            if len(inputs):
                part = slice(start, start + rows)
                _backward(self._model, self._keeper, inputs[part], labels[part], views)
                self.optimizer.recorded()
            self.optimizer.signal_skip_step(start != starts[-1])
            self.optimizer.step()


def clipped_gradient_sum(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, max_grad_norm: float, views: int = 1
) -> dict[nn.Parameter, Tensor]:
    """Σ clip(gradient(x), C) over the records, by trainable parameter, in float64; nothing is noised or moved.

    inputs, labels, views: as for `PrivateTraining.step`. Microbatches are of float32 and are added in float64.

    Raises:
        ConfigError: C has no meaning, or the model cannot be trained privately.
    """
    if not 0 < max_grad_norm < float("inf"):
        raise ConfigError(f"`max_grad_norm` is {max_grad_norm}", fix="give a finite number above 0")
    refuse_mixing(model)
    sums = {each: torch.zeros_like(each, dtype=torch.float64) for each in model.parameters() if each.requires_grad}
    with BookKeeper(model) as keeper:
        starts, rows = _microbatches(inputs, labels, views, _FIRST_ROWS)
        for start in starts if len(inputs) else ():
            part = slice(start, start + rows)
            _backward(model, keeper, inputs[part], labels[part], views)
            for parameter, added in keeper.clipped_sums(max_grad_norm).sums.items():
                sums[parameter] += added
    return sums


def _microbatches(inputs: Tensor, labels: Tensor, views: int, rows: int) -> tuple[list[int], int]:
    """Where each begins (an empty batch is one), and how many rows it has: whole records."""
    if views < 1 or len(inputs) % views or len(inputs) != len(labels):
        raise ConfigError(f"{len(inputs)} inputs and {len(labels)} labels are not {views} views of each record")
    rows = max(views, rows // views * views)
    return list(range(0, len(inputs), rows)) or [0], rows


def _backward(model: nn.Module, keeper: BookKeeper, inputs: Tensor, labels: Tensor, views: int) -> None:
    keeper.backward(F.cross_entropy(model(inputs), labels, reduction="sum"), views=views, rows=len(labels))


def _fitting_rows(keeper: BookKeeper) -> int:
    """The power of two of rows that is cheap to allocate."""
    if not keeper.row_bytes:
        return _FIRST_ROWS
    fitting = max(1, _REUSED_BYTES // keeper.row_bytes)
    return min(_MOST_ROWS, 1 << (fitting.bit_length() - 1))


def _refuse_other_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What the optimizer moves must be exactly what is clipped and noised."""
    trained = {each for each in model.parameters() if each.requires_grad}
    moved = {each for group in optimizer.param_groups for each in group["params"] if each.requires_grad}
    if trained != moved:
        raise ConfigError(
            "the optimizer does not hold exactly the model's trainable parameters",
            why=f"the model has {len(trained)}, the optimizer {len(moved)}",
            fix="give it model.parameters()",
        )
    if any(group.get("weight_decay") for group in optimizer.param_groups):
        raise ConfigError("the optimizer has weight decay", fix="set it to 0: noise already regularises")
