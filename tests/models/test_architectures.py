"""The networks are what their spec says, at every width, norm and stem."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import mobilenet_v2

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.models import FixedBatchNorm2d, ModelSpec, build_model
from secure_fl.models.architectures import groups_of, skeleton

SPEC = ModelSpec(
    architecture="mobilenet_v2",
    classes=10,
    image_size_px=32,
    norm="group",
    group_size=16,
    stem="small-images",
    width=0.25,
    dropout=0.2,
)
LIGHT = replace(SPEC, architecture="light_cnn", width=1.0)
WIDTHS = [round(0.1 + 0.05 * step, 2) for step in range(39)]


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [each for each in model.modules() if isinstance(each, nn.Conv2d)]


def map_side(model: nn.Module, side: int) -> int:
    """Side of the last feature maps for an image of `side` px."""
    with torch.inference_mode():
        return int(model.eval().features(torch.zeros(1, 3, side, side)).shape[-1])  # type: ignore[operator]


def test_at_width_1_the_network_is_torchvisions_mobilenet_v2() -> None:
    theirs = mobilenet_v2(num_classes=10)
    ours = skeleton(replace(SPEC, width=1.0, norm="batch", stem="imagenet"))
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}
    assert [c.stride for c in convolutions(ours)] == [c.stride for c in convolutions(theirs)]


@pytest.mark.parametrize("width", [0.1, 0.35, 1.0])
def test_the_small_images_stem_changes_the_first_two_strides_and_no_weight(width: float) -> None:
    imagenet, small = (skeleton(replace(SPEC, stem=stem, width=width)) for stem in ("imagenet", "small-images"))
    assert [c.stride for c in convolutions(imagenet)].count((2, 2)) == 5
    assert [c.stride for c in convolutions(small)].count((2, 2)) == 3
    changed = [
        i
        for i, (a, b) in enumerate(zip(convolutions(imagenet), convolutions(small), strict=True))
        if a.stride != b.stride
    ]
    assert changed[0] == 0
    assert len(changed) == 2
    assert {n: t.shape for n, t in imagenet.state_dict().items()} == {n: t.shape for n, t in small.state_dict().items()}


@pytest.mark.parametrize("stem", ["imagenet", "small-images"])
@pytest.mark.parametrize("side", [8, 16, 28, 32, 33, 64, 96])
def test_the_final_map_is_as_large_as_the_spec_says(stem: str, side: int) -> None:
    for spec in (replace(SPEC, stem=stem, image_size_px=side, width=0.1), replace(LIGHT, image_size_px=side)):
        assert map_side(build_model(spec, seed=0), side) == spec.final_map_px


@pytest.mark.parametrize("width", WIDTHS)
def test_groups_divide_the_channels_at_every_width(width: float) -> None:
    norms = [each for each in skeleton(replace(SPEC, width=width)).modules() if isinstance(each, nn.GroupNorm)]
    assert len(norms) == 52
    for norm in norms:
        size = norm.num_channels // norm.num_groups
        assert 8 <= size <= 16
        assert norm.num_channels % norm.num_groups == 0


@given(channels=st.integers(1, 2048), group_size=st.integers(1, 64))
def test_a_group_is_the_largest_divisor_that_is_small_enough(channels: int, group_size: int) -> None:
    groups = groups_of(channels, group_size)
    size = channels // groups
    assert size * groups == channels
    assert size == max(d for d in range(1, channels + 1) if channels % d == 0 and d <= group_size)


@pytest.mark.parametrize(
    ("norm", "kind", "others"),
    [
        ("group", nn.GroupNorm, (nn.BatchNorm2d, FixedBatchNorm2d)),
        ("batch", nn.BatchNorm2d, (nn.GroupNorm, FixedBatchNorm2d)),
        ("frozen-batch", FixedBatchNorm2d, (nn.GroupNorm, nn.BatchNorm2d)),
    ],
)
def test_all_norm_layers_are_of_the_kind_asked_for(
    norm: str, kind: type[nn.Module], others: tuple[type[nn.Module], ...]
) -> None:
    modules = list(skeleton(replace(SPEC, norm=norm)).modules())
    assert sum(isinstance(each, kind) for each in modules) == 52
    assert not any(isinstance(each, others) for each in modules)


@pytest.mark.parametrize("spec", [SPEC, LIGHT, replace(SPEC, norm="batch")])
def test_no_activation_works_in_place_and_dropout_is_as_asked(spec: ModelSpec) -> None:
    model = skeleton(replace(spec, dropout=0.3))
    assert not any(each.inplace for each in model.modules() if hasattr(each, "inplace"))
    assert [each.p for each in model.modules() if isinstance(each, nn.Dropout)] == [0.3]


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("spec", [SPEC, LIGHT])
def test_there_is_one_output_a_class(spec: ModelSpec, classes: int) -> None:
    model = build_model(replace(spec, classes=classes), seed=0)
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


def test_the_light_cnn_has_about_ten_thousand_parameters() -> None:
    assert 8_000 <= sum(each.numel() for each in skeleton(LIGHT).parameters()) <= 12_000


@pytest.mark.parametrize("side", [8, 9, 16, 28, 31, 32])
def test_the_light_cnn_averages_the_four_quarters_of_its_maps(side: int) -> None:
    model = build_model(replace(LIGHT, image_size_px=side), seed=0).eval()
    images = torch.rand(2, 3, side, side)
    maps = model.features(images)  # type: ignore[operator]
    cells = torch.nn.functional.adaptive_avg_pool2d(maps, 2)  # (n, channels, 2, 2)
    naive = model.classifier(cells.permute(0, 2, 3, 1).flatten(1))  # type: ignore[operator]
    torch.testing.assert_close(model(images), naive)


@pytest.mark.parametrize("spec", [SPEC, LIGHT, replace(SPEC, norm="batch")])
def test_equal_seeds_build_equal_models_and_others_do_not(spec: ModelSpec) -> None:
    torch.manual_seed(11)
    first = build_model(spec, seed=5).state_dict()
    torch.manual_seed(12)
    second, third = build_model(spec, seed=5).state_dict(), build_model(spec, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_building_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model(LIGHT, seed=5)
    skeleton(LIGHT)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_skeleton_has_no_memory() -> None:
    assert {each.device.type for each in skeleton(SPEC).state_dict().values()} == {"meta"}


def test_fixed_statistics_equal_batchnorm_in_evaluation_and_never_move() -> None:
    theirs, ours = nn.BatchNorm2d(6), FixedBatchNorm2d(6)
    with torch.no_grad():
        for tensor in (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var):
            tensor.uniform_(0.5, 2)  # type: ignore[union-attr]
    ours.load_state_dict({name: t for name, t in theirs.state_dict().items() if name != "num_batches_tracked"})
    images = torch.randn(4, 6, 5, 5)
    statistics = ours.running_mean.clone(), ours.running_var.clone()
    assert torch.equal(ours.train()(images), theirs.eval()(images))
    assert torch.equal(ours.running_mean, statistics[0])
    assert torch.equal(ours.running_var, statistics[1])
    assert {name for name, _ in ours.named_parameters()} == {"weight", "bias"}


def test_under_fixed_statistics_images_of_a_batch_do_not_mix() -> None:
    model = build_model(replace(SPEC, norm="frozen-batch", dropout=0.0), seed=0).train()
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "stem"), [(16, "small-images"), (63, "small-images"), (64, "imagenet")])
def test_stem_auto_follows_the_image_size(side: int, stem: str) -> None:
    assert ModelSpec.of(RunConfig(), classes=10, image_size_px=side).stem == stem


def test_a_stem_that_was_chosen_stays() -> None:
    assert ModelSpec.of(RunConfig(stem="imagenet"), classes=10, image_size_px=16).stem == "imagenet"


def test_the_spec_of_the_light_cnn_ignores_stem_and_width() -> None:
    config = RunConfig(model="light_cnn", stem="imagenet", width=0.5)
    spec = ModelSpec.of(config, classes=10, image_size_px=96)
    assert (spec.stem, spec.width) == ("small-images", 1.0)


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"architecture": "resnet"}, "resnet"),
        ({"norm": "layer"}, "layer"),
        ({"stem": "auto"}, "auto"),
        ({"classes": 1}, "classes"),
        ({"classes": 2.0}, "classes"),
        ({"classes": True}, "classes"),
        ({"image_size_px": 7}, "image-size"),
        ({"group_size": 0}, "group-size"),
        ({"width": 0.05}, "width"),
        ({"width": 2.1}, "width"),
        ({"width": float("nan")}, "width"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"architecture": "light_cnn", "norm": "batch"}, "light_cnn"),
        ({"image_size_px": 8, "group_size": 1}, "group-size"),
        ({"image_size_px": 32, "stem": "imagenet", "group_size": 1}, "group-size"),
    ],
)
def test_an_impossible_spec_is_refused_by_name(changes: dict[str, object], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        replace(SPEC, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["group", "batch", "frozen-batch"])
def test_every_residual_branch_starts_as_nothing(norm: str) -> None:
    from torchvision.models.mobilenetv2 import InvertedResidual

    model = build_model(replace(SPEC, norm=norm), seed=0)
    blocks = [each for each in model.modules() if isinstance(each, InvertedResidual) and each.use_res_connect]
    assert blocks and all(not each.conv[-1].weight.any() for each in blocks)
