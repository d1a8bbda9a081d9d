"""Per-sample clipping in one pass, against Opacus's per-sample gradients and against brute force."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.models import FixedBatchNorm2d, ModelSpec, build_model
from secure_fl.privacy import kernel_choice, kernels
from secure_fl.privacy.book_keeping import BookKeeper, refuse_mixing

CLIP = 0.7


def network(stem: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    config = RunConfig(model="mobilenet_v2", stem=stem, norm="group", dropout=0.0)
    model = build_model(ModelSpec.of(config, classes=10, image_size_px=32), seed=3).to(dtype).train()
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # Opacus's hooks cannot stand it
    torch.manual_seed(4)
    with torch.no_grad():  # residual branches begin at zero, where gradients vanish and nothing would be compared
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch(n: int = 3, size: int = 32, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(5)
    return torch.randn(n, 3, size, size, generator=made, dtype=dtype), torch.randint(0, 10, (n,), generator=made)


def naive(model: nn.Module, x: Tensor, labels: Tensor) -> list[Tensor]:
    """Each record's gradient by itself, one row a record: the definition."""
    rows = []
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), labels[i : i + 1], reduction="sum")
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))]))
    return rows


def clipped(rows: list[Tensor], clip: float = CLIP) -> Tensor:
    return sum(row * min(1.0, clip / (float(row.norm()) + 1e-6)) for row in rows)


def ours(model: nn.Module, x: Tensor, labels: Tensor, views: int = 1, clip: float = CLIP) -> tuple[Tensor, Tensor]:
    with BookKeeper(model) as keeper:
        keeper.backward(F.cross_entropy(model(x), labels, reduction="sum"), views=views)
        found = keeper.clipped_sums(clip)
    sums = [found.sums.get(each, torch.zeros_like(each)).reshape(-1) for each in model.parameters()]
    return torch.cat(sums), found.norms


def relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("stem", ["imagenet", "small-images"])
def test_mobilenet_v2_gives_opacuss_norms_and_clipped_sums(stem):
    model, (x, labels) = network(stem), batch(2)
    oracle = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    F.cross_entropy(oracle(x), labels, reduction="sum").backward()
    samples = [each.grad_sample.flatten(1) for each in oracle.parameters()]
    norms = torch.stack([each.norm(dim=1) for each in samples]).norm(dim=0)
    factors = (CLIP / (norms + 1e-6)).clamp(max=1)
    found, found_norms = ours(model, x, labels)
    assert relative(found_norms, norms) < 1e-10
    start = 0
    for name, each in zip((n for n, _ in model.named_parameters()), samples, strict=True):
        part = found[start : start + each.shape[1]]
        assert relative(part, factors @ each) < 1e-10, name
        start += each.shape[1]


def test_in_float32_it_is_as_near_to_float64_as_opacus_is():
    model, (x, labels) = network("imagenet"), batch(2)
    truth = clipped(naive(model, x, labels))
    single, (x, labels) = copy.deepcopy(model).float(), (x.float(), labels)
    oracle = GradSampleModule(copy.deepcopy(single), loss_reduction="sum")
    F.cross_entropy(oracle(x), labels, reduction="sum").backward()
    samples = torch.cat([each.grad_sample.flatten(1) for each in oracle.parameters()], dim=1)
    opacus = clipped(list(samples))
    error = relative(ours(single, x, labels)[0].double(), truth)
    assert error < max(5e-5, 3 * relative(opacus.double(), truth))


CONFIGURATIONS = [
    (h, k, padding, stride, dilation, groups, bias)
    for h, k, padding, stride, dilation, groups, bias in itertools.product(
        (1, 2, 3, 4, 5, 7, 11), (1, 2, 3, 5), (0, 1, 2, "same", "valid"), (1, 2), (1, 2),
        ("one", "two", "depthwise", "multiplier"), (False, True),
    )
    if not (padding == "same" and stride != 1)
    and (padding == "same" or h + 2 * (0 if padding == "valid" else padding) >= dilation * (k - 1) + 1)
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_every_kind_of_convolution_is_exact(dtype, tolerance):
    assert len(CONFIGURATIONS) > 1500
    shapes = {"one": (4, 6, 1), "two": (4, 6, 2), "depthwise": (4, 4, 4), "multiplier": (4, 8, 4)}
    made = torch.Generator().manual_seed(1)
    for h, k, padding, stride, dilation, groups, bias in CONFIGURATIONS:
        inputs, outputs, split = shapes[groups]
        layer = nn.Conv2d(inputs, outputs, k, stride, padding, dilation, split, bias).double()
        x = torch.randn(2, inputs, h, h, generator=made, dtype=torch.float64)
        given = torch.randn(layer(x).shape, generator=made, dtype=torch.float64)
        losses = [(layer(x[i : i + 1]) * given[i]).sum() for i in range(2)]
        expected = [
            torch.cat([each.reshape(-1) for each in torch.autograd.grad(loss, list(layer.parameters()))])
            for loss in losses
        ]
        flow = torch.autograd.grad((layer(leaf := x.clone().requires_grad_()) * given).sum(), leaf)[0]
        layer, leaf, given = layer.to(dtype), x.to(dtype).requires_grad_(), given.to(dtype)
        with BookKeeper(layer) as keeper:
            keeper.backward((layer(leaf) * given).sum())
            found = keeper.clipped_sums(CLIP)
        what = (h, k, padding, stride, dilation, groups, bias)
        sums = torch.cat([found.sums[each].reshape(-1) for each in layer.parameters()]).double()
        # By number, not relative: a sum of two clipped gradients may cancel.
        assert (sums - clipped(expected)).norm() <= tolerance * CLIP * 2, what
        norms = torch.stack([each.norm() for each in expected])  # all zero where the filter sees padding alone
        assert (found.norms.double() - norms).norm() <= tolerance * norms.norm(), what
        assert (leaf.grad.double() - flow).norm() <= tolerance * (1 + flow.norm()), what


def test_the_depthwise_kernels_agree_with_each_other_and_any_may_be_chosen():
    layer = nn.Conv2d(5, 5, 3, 2, 1, groups=5, bias=False).double()
    x = torch.randn(3, 5, 9, 9, dtype=torch.float64)
    g = torch.randn(3, 5, 5, 5, dtype=torch.float64)
    weight = layer.weight.detach()
    found = [
        kernels.conv_weight_gradients(layer, [1, 1], x, weight, g, depthwise=name)
        for name in ("taps", "by-sample", "folded", "unfolded")
    ]
    assert all(torch.allclose(found[0], each, rtol=1e-12, atol=1e-12) for each in found[1:])
    kernel_choice._chosen.clear()
    chosen = kernel_choice.depthwise_kernel(layer, [1, 1], x, weight, g, measure=True)
    assert chosen in ("taps", "by-sample", "folded", "unfolded") and list(kernel_choice._chosen.values()) == [chosen]


class Mixed(nn.Module):
    """GroupNorm of every kind of map, in-place activations, frozen parts, and a layer that only Opacus knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding="same")
        self.norm = nn.GroupNorm(2, 8)
        self.fixed = FrozenBatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=4, groups=8)
        self.small = nn.GroupNorm(4, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.fixed(self.norm(self.first(x))), inplace=True)
        x = F.relu6(self.small(self.second(x)), inplace=True)
        return self.head(self.layer_norm(x.mean((2, 3))))


@pytest.mark.parametrize("size", [5, 8, 12])
def test_other_layers_are_exact_and_opacus_fills_the_gap(size):
    torch.manual_seed(0)
    model, (x, labels) = Mixed().double(), batch(4, size)
    rows = naive(model, x, labels)
    found, norms = ours(model, x, labels)
    assert relative(norms, torch.stack([row.norm() for row in rows])) < 1e-10
    assert relative(found, clipped(rows)) < 1e-10


def test_views_of_a_record_are_averaged_before_they_are_clipped():
    torch.manual_seed(0)
    model, (x, labels) = Mixed().double(), batch(6, 8)
    labels = labels[::3].repeat_interleave(3)
    rows = naive(model, x, labels)
    records = [torch.stack(rows[start : start + 3]).mean(0) for start in (0, 3)]
    found, norms = ours(model, x, labels, views=3)
    assert relative(norms, torch.stack([each.norm() for each in records])) < 1e-10
    assert relative(found, clipped(records)) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_record_more_moves_the_sum_by_no_more_than_the_clip(dtype):
    model, (x, labels) = network("imagenet", dtype), batch(4, dtype=dtype)
    x[3] *= 50  # an outlier
    for clip in (1e-3, 1.0, 30.0):
        with_it, without = (ours(model, x[:n], labels[:n], clip=clip)[0].double() for n in (4, 3))
        moved = float((with_it - without).norm())
        assert 0.2 * clip < moved <= clip * (1 + 1e-5)


def test_gradients_that_cancel_within_a_record_do_not_slip_through_the_clip():
    """In float32 the Gram matrix's terms, 1e13 each, cancel to anything, 0 included; the gradient's norm is 157."""
    torch.manual_seed(1)
    for _ in range(20):
        layer = nn.Conv2d(64, 64, 1, bias=False)
        x = 1e4 * (torch.randn(1, 64, 1, 1) + 1e-4 * torch.randn(1, 64, 2, 2))
        given = torch.randn(1, 64, 1, 1) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        given += 1e-5 * torch.randn(1, 64, 2, 2)
        truth = torch.einsum("nohw,nihw->oi", given.double(), x.double())
        with BookKeeper(layer) as keeper:
            keeper.backward((layer(x) * given).sum())
            found = keeper.clipped_sums(1.0)
        assert float(truth.norm()) > 50
        assert float(found.norms) == pytest.approx(float(truth.norm()), rel=1e-2)
        assert float(found.sums[layer.weight].double().norm()) < 1 + 1e-2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
@pytest.mark.parametrize("size", [2, 8])
def test_a_record_whose_gradient_is_not_finite_adds_nothing_and_spares_the_others(size, value):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 1), nn.GroupNorm(2, 32), nn.Flatten())
    model = nn.Sequential(*net, nn.Linear(32 * size * size, 10)).double()
    x, labels = batch(3, size)
    expected = clipped(naive(model, x[[0, 2]], labels[[0, 2]]))
    x[1] *= value
    assert relative(ours(model, x, labels)[0], expected) < 1e-10


class Patches(nn.Module):
    """Takes an image's patches for rows: each would be clipped by itself, and the image weigh four times the clip."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(-1, 12)).view(len(x), -1, 10).mean(1)


def test_rows_that_are_not_records_are_refused():
    model, x = Patches(), torch.randn(3, 3, 4, 4)
    with BookKeeper(model) as keeper, pytest.raises(ConfigError, match="12 records where the batch has 3"):
        keeper.backward(model(x).sum(), rows=3)
    with BookKeeper(model) as keeper, pytest.raises(ConfigError, match="4 records where the batch has 1"):
        keeper.backward(model(x[:2]).sum(), views=2, rows=2)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 1), "same"])
def test_other_paddings_than_zeros_are_exact(padding, mode):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, (2, 3), padding=padding, padding_mode=mode, groups=3),
        nn.Conv2d(6, 6, 3, padding=padding, padding_mode=mode, groups=6),
        nn.GroupNorm(2, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
    ).double()
    x, labels = batch(3, 6)
    assert relative(ours(model, x, labels)[0], clipped(naive(model, x, labels))) < 1e-10


def test_frozen_parts_are_left_alone():
    torch.manual_seed(0)
    model, (x, labels) = Mixed().double(), batch(3, 8)
    for parameter in (*model.first.parameters(), model.second.weight, model.norm.bias):
        parameter.requires_grad_(False)
    with BookKeeper(model) as keeper:
        keeper.backward(F.cross_entropy(model(x), labels, reduction="sum"))
        found = keeper.clipped_sums(CLIP)
    assert set(found.sums) == {each for each in model.parameters() if each.requires_grad}


def test_without_privacy_the_kernels_give_ordinary_gradients():
    model, (x, labels) = network("imagenet"), batch(2)
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    expected = torch.autograd.grad(loss, list(model.parameters()))
    with BookKeeper(model, private=False) as keeper:
        keeper.backward(F.cross_entropy(model(x), labels, reduction="sum"))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-9)


def test_detaching_gives_the_model_back():
    model, (x, labels) = Mixed().double(), batch(2, 8)
    keys, before = list(model.state_dict()), model(x)
    ours(model, x, labels)
    assert list(model.state_dict()) == keys and not any("forward" in each.__dict__ for each in model.modules())
    assert torch.equal(copy.deepcopy(model)(x), before)


def with_forward(layer: nn.Linear) -> nn.Linear:
    layer.forward = lambda x: 2 * F.linear(x, layer.weight)
    return layer


def with_parameter(layer: nn.Linear) -> nn.Linear:
    layer.register_parameter("weight_g", nn.Parameter(torch.ones(1)))  # as the older weight_norm does
    return layer


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Outside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ self.layer.weight


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


@pytest.mark.parametrize(("model", "reason"), [(Twice(), "used twice"), (Outside(), "outside of its layer")])
def test_uses_that_would_be_wrong_are_refused_when_they_happen(model, reason):
    with BookKeeper(model) as keeper, pytest.raises(ConfigError, match=reason):
        keeper.backward(model(torch.randn(2, 4)).sum())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Tied(), "share a parameter"),
        (nn.Sequential(nn.ConvTranspose2d(3, 3, 3)), "cannot be trained under differential privacy"),
        (nn.Sequential(nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular")), "cannot be trained"),
        (nn.Sequential(nn.Embedding(5, 3, padding_idx=0)), "cannot be trained"),  # Opacus forgets it
        (nn.Sequential(nn.Embedding(5, 3, max_norm=1.0)), "cannot be trained"),
        (nn.Sequential(nn.LayerNorm(3, bias=False)), "cannot be trained"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))), "cannot be trained"),
        (with_forward(nn.Linear(3, 3)), "its forward was replaced"),
        (with_parameter(nn.Linear(3, 3)), "parameters that such a layer does not have"),
        (nn.Sequential(nn.BatchNorm2d(3)), "cannot be trained"),
    ],
)
def test_layers_that_nobody_knows_are_refused_at_once_and_by_name(model, reason):
    with pytest.raises(ConfigError, match=reason):
        BookKeeper(model)


def test_batch_norm_in_training_mode_is_refused_even_if_nothing_of_it_is_trained():
    norm = nn.BatchNorm2d(3).requires_grad_(False)
    model = nn.Sequential(norm, nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match="is in training mode"):
        refuse_mixing(model)
    norm.eval()
    refuse_mixing(model)
    with pytest.raises(ConfigError):
        refuse_mixing(nn.BatchNorm2d(3, track_running_stats=False).eval())


def test_statistics_that_would_leave_without_noise_are_refused():
    with pytest.raises(ConfigError, match="keeps running statistics"):
        refuse_mixing(nn.Sequential(nn.InstanceNorm2d(3, affine=True, track_running_stats=True)))
    refuse_mixing(nn.Sequential(nn.InstanceNorm2d(3, affine=True)))


def test_batch_normalisation_by_fixed_statistics_is_exact_and_trains_with_all_layers():
    torch.manual_seed(0)
    spec = ModelSpec("mobilenet_v2", 4, 16, "frozen-batch", 16, "small-images", 0.25, 0.0)
    model = build_model(spec, seed=0).double().train()
    for each in model.modules():
        if isinstance(each, FixedBatchNorm2d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2.0)
            torch.nn.init.normal_(each.weight)
    x, labels = torch.randn(5, 3, 16, 16).double(), torch.randint(0, 4, (5,))
    rows = []
    for i in range(5):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), labels[i : i + 1]).backward()
        rows.append({name: each.grad.clone() for name, each in model.named_parameters()})
    norms = torch.stack([torch.cat([each.flatten() for each in row.values()]).norm() for row in rows])
    clip = float(norms.median())
    factors = (clip / norms).clamp(max=1)
    with BookKeeper(model) as keeper:
        keeper.backward(F.cross_entropy(model(x), labels, reduction="sum"), rows=5)
        found = keeper.clipped_sums(clip)
    torch.testing.assert_close(found.norms, norms, rtol=1e-9, atol=1e-9)
    for name, parameter in model.named_parameters():
        truth = sum(factor * row[name] for factor, row in zip(factors, rows, strict=True))
        torch.testing.assert_close(found.sums[parameter], truth, rtol=1e-6, atol=1e-8)
