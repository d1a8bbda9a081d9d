"""Per-sample clipping in one backward pass, by book-keeping.

Bu, Wang, Zha, Karypis, "Differentially Private Optimization on Large Model at Small Cost", ICML 2023, section 3,
extended to convolutions and GroupNorm. While the gradient of the summed loss flows back, each layer leaves either
its samples' weight gradients, or the pair they are the product of together with their norms (by a Gram matrix).
Then, with n_i the norm of sample i's gradient over all parameters,

    Σ_i  c_i · gradient_i,      c_i = min(1, C / n_i)

is one weighted sum a parameter. Unclipped weight gradients are never computed, and there is no second pass.

What is exact: the clipped sum, up to floating point: relative errors of 1e-14 in float64; in float32 a norm is
off by about 1e-6, so a sample may weigh that much more than C. Gram matrices are of float64 whatever the network's
precision: their terms cancel, and in float32 a record made for it could weigh a hundred times C. A record whose
gradient is not finite adds nothing. Samples must not be mixed by a layer: BatchNorm in training mode is refused; so
are trainable layers whose per-sample gradient nobody here or in Opacus knows.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secure_fl.errors import ConfigError
from secure_fl.privacy.layers import convolution, normalisation, product

__all__ = ["BookKeeper", "ClippedSums", "refuse_mixing"]

# A Gram matrix, in float64, is worth its product where activations have this share of the weight's size (measured).
_GRAM_SHARE = 0.25
_STAND_INS: dict[type[nn.Module], Callable[[Any, Any], Callable[..., Tensor]]] = {
    nn.Conv2d: convolution,
    nn.GroupNorm: normalisation,
    nn.Linear: product,
}
_NORM_GUARD = 1e-6  # keeps C / norm finite; as in Opacus
# A product's own rounding, in units of the last place of its terms' lengths, counts as gradient: it is summed too.
_ROUNDING = 4.0


@dataclass(frozen=True)
class ClippedSums:
    """`sums`: by parameter, the sum of the clipped gradients; `norms`: (records,), before clipping."""

    sums: dict[nn.Parameter, Tensor]
    norms: Tensor


@dataclass(frozen=True)
class _Gradients:
    """Each sample's gradient of one parameter, (n, size)."""

    rows: Tensor

    def weighted(self, factors: Tensor) -> Tensor:
        """Σ_i factors_i · gradient_i."""
        return factors @ self.rows

    def without(self, dropped: Tensor) -> _Gradients:
        """With zeros where `dropped`, (n,): a factor of zero would leave NaN as it is."""
        return _Gradients(self.rows.masked_fill(dropped.view(-1, 1), 0))


@dataclass(frozen=True)
class _Pair:
    """What the gradients are the product of: activations (n, t, in), output gradients (n, t, out)."""

    activations: Tensor
    output_gradients: Tensor

    def weighted(self, factors: Tensor) -> Tensor:
        """The same, as one matrix product over all samples and places."""
        given = (self.output_gradients * factors.view(-1, 1, 1)).flatten(0, 1)
        return given.t() @ self.activations.flatten(0, 1)

    def without(self, dropped: Tensor) -> _Pair:
        """With zeros where `dropped`, (n,)."""
        dropped = dropped.view(-1, 1, 1)
        return _Pair(self.activations.masked_fill(dropped, 0), self.output_gradients.masked_fill(dropped, 0))


class BookKeeper:
    """Makes `model` leave per-sample gradients behind; a context manager that restores it.

    private: False computes ordinary summed gradients by the same kernels: the fair baseline of a benchmark.

    Raises:
        ConfigError: a trainable layer's per-sample gradient is not known, or a parameter is shared.
    """

    def __init__(self, model: nn.Module, *, private: bool = True) -> None:
        self.private = private
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self._books: dict[nn.Parameter, _Gradients | _Pair] = {}
        self._views, self._records = 1, 0
        self.row_bytes = 0
        """The largest input of a convolution, of one row."""
        self._squares: Tensor | None = None
        self._by_opacus: set[nn.Parameter] = set()
        self._layers: list[nn.Module] = []
        forwards = [(layer, self._forward_of(name, layer)) for name, layer in _trainable_layers(model)]
        for layer, forward in forwards:
            layer.forward = types.MethodType(forward, layer)
            self._layers.append(layer)

    def __enter__(self) -> BookKeeper:
        return self

    def __exit__(self, *raised: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Give the layers their own forward again."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self._layers.clear()

    def backward(self, losses_sum: Tensor, *, views: int = 1, rows: int | None = None) -> None:
        """One pass from the sum of the rows' losses. Each `views` consecutive rows are views of one record.

        rows: how many there are, to be held against what each layer sees; by default what the last layer sees.

        Raises:
            ConfigError: a layer was used twice, or sees other rows than the batch's, or a parameter is used outside
                of its layer.
        """
        self._reset()
        self._views, self._records = views, (rows or 0) // views
        for parameter in self.parameters:
            parameter.grad = None
        losses_sum.backward()  # type: ignore[no-untyped-call]
        if not self.private:
            return
        for parameter in self._by_opacus:
            parameter.grad = None
        if any(parameter.grad is not None for parameter in self.parameters):
            raise ConfigError("a parameter is used outside of its layer", why="its gradient by sample is not known")

    @torch.no_grad()
    def clipped_sums(self, max_norm: float) -> ClippedSums:
        """The sum over records of their gradients, each scaled down to `max_norm` if it is longer."""
        if self._squares is None:
            raise ConfigError("nothing was recorded", fix="call `backward` first, on a loss of at least one row")
        norms = self._squares.sqrt()
        factors = (max_norm / (norms + _NORM_GUARD)).clamp(max=1.0)
        books, lost = self._books, ~torch.isfinite(norms)
        if lost.any():  # one record must not take the others' gradients, and the model, with it
            factors = factors.masked_fill(lost, 0)
            books = {each: book.without(lost) for each, book in books.items()}
        sums = {each: book.weighted(factors).view_as(each) for each, book in books.items()}
        self._reset()
        return ClippedSums(sums, norms)

    def _reset(self) -> None:
        self._books, self._squares = {}, None

    def _note(self, parameter: nn.Parameter, squares: Tensor, book: _Gradients | _Pair) -> None:
        if parameter in self._books:
            raise ConfigError(
                "a trainable layer was used twice in one pass",
                why="its gradients by sample would have to be added before they are clipped",
                fix="give each use a layer of its own",
            )
        self._records = self._records or len(squares)
        if len(squares) != self._records:
            raise ConfigError(
                f"a trainable layer sees {len(squares)} records where the batch has {self._records}",
                why="its gradients by row are not those by record: parts of an image would be clipped each by itself",
                fix="keep the batch as the first dimension of every trainable layer's input",
            )
        self._squares = squares if self._squares is None else self._squares + squares
        self._books[parameter] = book

    def note_gradients(self, parameter: nn.Parameter, gradients: Tensor) -> None:
        """A layer's samples' gradients, (n, *parameter.shape)."""
        flat = gradients.reshape(len(gradients), -1)
        if self._views > 1:
            flat = flat.view(-1, self._views, flat.shape[1]).mean(1)
        squares = torch.linalg.vector_norm(flat, dim=1).square()
        self._note(parameter, squares, _Gradients(flat))

    def note_pair(self, parameter: nn.Parameter, activations: Tensor, output_gradients: Tensor) -> None:
        """Gradients that are Σ_t g_t ⊗ a_t: norms by Gram matrices if those are smaller than the weight."""
        a, g = activations, output_gradients
        if self._views > 1:
            a = a.reshape(len(a) // self._views, -1, a.shape[2])
            g = g.reshape(len(a), -1, g.shape[2]) / self._views
        places = a.shape[1]
        if places == 1:
            squares = a.square().sum((1, 2)) * g.square().sum((1, 2))
        elif places * (a.shape[2] + g.shape[2]) < _GRAM_SHARE * a.shape[2] * g.shape[2]:
            squares = _gram_squares(a, g)
        else:
            gradients = torch.bmm(g.transpose(1, 2), a).flatten(1)
            squares = torch.linalg.vector_norm(gradients, dim=1).square()
            self._note(parameter, squares, _Gradients(gradients))
            return
        self._note(parameter, squares, _Pair(a, g))

    def _forward_of(self, name: str, layer: nn.Module) -> Callable[..., Tensor]:
        """What stands in for the layer's forward."""
        _refuse_disguised(name, layer)
        stand_in = _STAND_INS.get(type(layer))
        return stand_in(layer, self) if stand_in is not None else self._opacus_forward(name, layer)

    def _opacus_forward(self, name: str, layer: nn.Module) -> Callable[..., Tensor]:
        """The lower rungs: the layer as it is, its gradients by sample from itself, from our sampler for Opacus's
        hooks, or from Opacus's own.

        A layer that knows its own has a method `sample_gradients(x, g)`: by parameter, (n, *parameter.shape).
        """
        from opacus.grad_sample import GradSampleModule

        from secure_fl.privacy.samplers import FAST_SAMPLERS

        own: Callable[[Tensor, Tensor], dict[nn.Parameter, Tensor]] | None = getattr(layer, "sample_gradients", None)
        sampler = FAST_SAMPLERS.get(type(layer)) or GradSampleModule.GRAD_SAMPLERS.get(type(layer))
        if own is None and (sampler is None or _unknown_to_opacus(layer)):
            raise ConfigError(
                f"layer `{name}` ({type(layer).__name__}) cannot be trained under differential privacy",
                why="nobody here knows its gradient by sample",
                fix="freeze it, or use convolutions with zero padding, GroupNorm and linear layers",
            )
        original = layer.forward
        self._by_opacus |= {each for each in layer.parameters(recurse=False) if each.requires_grad}

        def forward(self_: nn.Module, x: Tensor) -> Tensor:
            y: Tensor = original(x)

            def record(g: Tensor) -> None:
                found = own(x.detach(), g) if own is not None else sampler(layer, [x.detach()], g)
                for parameter, gradients in found.items():
                    if parameter.requires_grad:
                        self.note_gradients(parameter, gradients.detach())

            if self.private and y.requires_grad:
                y.register_hook(record)  # type: ignore[no-untyped-call]
            return y

        return forward


def refuse_mixing(model: nn.Module) -> None:
    """Refuse layers that mix the samples of a batch, whether or not they have anything to train.

    Raises:
        ConfigError: a BatchNorm is in training mode, or an InstanceNorm keeps statistics.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.running_mean is not None:
            raise ConfigError(
                f"layer `{name}` (InstanceNorm) keeps running statistics",
                why="they are a function of the images, would be sent with the weights, and have no noise",
                fix="build it with track_running_stats=False, or choose norm=group",
            )
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None):
            raise ConfigError(
                f"layer `{name}` (BatchNorm) is in training mode",
                why="it normalises an image by the others of its batch, so that no image's influence is bounded",
                fix="choose norm=group or norm=frozen-batch",
            )


def _trainable_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers with trainable parameters of their own."""
    owners: dict[nn.Parameter, str] = {}
    layers = []
    for name, layer in model.named_modules():
        own = [each for each in layer.parameters(recurse=False) if each.requires_grad]
        for parameter in own:
            if parameter in owners:
                raise ConfigError(
                    f"layers `{owners[parameter]}` and `{name}` share a parameter",
                    why="its gradients by sample would have to be added before they are clipped",
                    fix="give each layer a parameter of its own",
                )
            owners[parameter] = name
        if own:
            layers.append((name, layer))
    return layers


def _refuse_disguised(name: str, layer: nn.Module) -> None:
    """Refuse a layer that looks like one we know and does something else."""
    own = {key for key, each in layer.named_parameters(recurse=False) if each.requires_grad}
    if "forward" in layer.__dict__ or not own <= {"weight", "bias"}:
        raise ConfigError(
            f"layer `{name}` ({type(layer).__name__}) cannot be trained under differential privacy",
            why="its forward was replaced, or it trains parameters that such a layer does not have",
            fix="detach what changed it: another book-keeper, weight_norm, spectral_norm",
        )


def _unknown_to_opacus(layer: nn.Module) -> bool:
    """Whether Opacus's sampler, though there is one for the layer's type, would be wrong or fail for its options."""
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return True
    if isinstance(layer, nn.LayerNorm):
        return layer.bias is None
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):  # max_norm changes weights by what the batch looks up
        return layer.padding_idx is not None or layer.max_norm is not None
    return False


def _gram_squares(a: Tensor, g: Tensor) -> Tensor:
    """‖Σ_t g_t ⊗ a_t‖² = Σ_ts (a_t·a_s)(g_t·g_s) of each sample, (n,). a: (n, t, in), g: (n, t, out)."""
    wide_a, wide_g = a.double(), g.double()
    of_a, of_g = torch.bmm(wide_a, wide_a.transpose(1, 2)), torch.bmm(wide_g, wide_g.transpose(1, 2))
    lengths = (of_a.diagonal(dim1=1, dim2=2) * of_g.diagonal(dim1=1, dim2=2)).sqrt().sum(1)
    rounding = _ROUNDING * torch.finfo(a.dtype).eps * lengths
    return ((of_a * of_g).sum((1, 2)).clamp(min=0) + rounding.square()).to(a.dtype)
