"""First weights: what is taken over from a file, what is not, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from secure_fl.config import RunConfig
from secure_fl.errors import ModelFileError, NotFoundError
from secure_fl.models import ModelCard, ModelSpec, build_model, initial_model, load_weights, save_model
from secure_fl.models.rng import seeded_torch

WIDTH = 0.1


def spec_of(config: RunConfig, classes: int = 10) -> ModelSpec:
    return ModelSpec.of(config, classes=classes, image_size_px=32)


def small(norm: str = "group", weights: Path | str = "", **settings: object) -> RunConfig:
    return RunConfig(width=WIDTH, norm=norm, weights=str(weights), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BatchNorm network with 7 classes in torchvision's key layout; convolutions in float16."""
    with seeded_torch(3):
        model = mobilenet_v2(num_classes=7, width_mult=WIDTH)
        for each in model.modules():
            if isinstance(each, nn.BatchNorm2d):
                for tensor in (each.weight, each.bias, each.running_mean, each.running_var):
                    tensor.data.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    path = tmp_path_factory.mktemp("weights") / "foreign.safetensors"
    state = {name: t.half() if t.ndim == 4 else t for name, t in model.state_dict().items()}
    safetensors.torch.save_file(state, path)
    return path


def test_without_weights_the_seed_alone_decides() -> None:
    model = initial_model(small(seed=4), spec_of(small()))
    again = build_model(spec_of(small()), seed=4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("norm", ["batch", "frozen-batch"])
def test_a_batchnorm_file_gives_everything_and_the_head_for_other_classes_starts_at_zero(
    foreign: Path, norm: str
) -> None:
    config = small(norm, foreign)
    model, stored = initial_model(config, spec_of(config)), safetensors.torch.load_file(foreign)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        assert tensor.dtype == torch.float32
        assert torch.equal(
            tensor, torch.zeros_like(tensor) if name.startswith("classifier") else stored[name].float()
        ), name


def test_the_head_is_kept_when_the_classes_are_as_many(foreign: Path) -> None:
    config = small("frozen-batch", foreign)
    model = build_model(spec_of(config, classes=7), seed=0)
    stored = safetensors.torch.load_file(foreign)
    assert load_weights(model, stored, source="x") == ()
    assert torch.equal(model.state_dict()["classifier.1.weight"], stored["classifier.1.weight"])


@pytest.mark.parametrize("norm", ["batch", "frozen-batch"])
def test_the_function_in_evaluation_is_the_foreign_networks(foreign: Path, norm: str) -> None:
    stored = {
        name: t.float() if t.is_floating_point() else t for name, t in safetensors.torch.load_file(foreign).items()
    }
    theirs = mobilenet_v2(num_classes=7, width_mult=WIDTH).eval()
    theirs.load_state_dict(stored)
    config = small(norm, foreign, stem="imagenet")
    ours = initial_model(config, spec_of(config, classes=7)).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images))


def test_under_group_norm_the_convolutions_come_over_and_the_norm_layers_do_not(foreign: Path) -> None:
    config = small("group", foreign)
    model, stored = build_model(spec_of(config), seed=0), safetensors.torch.load_file(foreign)
    left = load_weights(model, stored, source="x")
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.GroupNorm)]
    expected = {f"{name}.{kind}" for name in [*norms, "classifier.1"] for kind in ("weight", "bias")}
    assert set(left) == expected
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 4:
            assert torch.equal(tensor, stored[name].float())
    fresh = build_model(spec_of(config), seed=0)
    for name in norms:
        assert torch.equal(model.get_parameter(f"{name}.weight"), fresh.get_parameter(f"{name}.weight"))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_our_own_model_file_can_be_the_start(tmp_path: Path, norm: str) -> None:
    spec = spec_of(small(norm))
    card = ModelCard(spec, tuple("abcdefghij"), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "run", 2)
    trained = build_model(spec, seed=9)
    save_model(tmp_path / "own.safetensors", trained, card)
    model = initial_model(small(norm, tmp_path / "own.safetensors"), spec)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True))


def test_the_pretrained_file_keeps_its_function(shared_data: Path) -> None:
    path = shared_data / "pretrained" / "mobilenet_v2_imagenet.safetensors"
    theirs = mobilenet_v2(num_classes=1000).eval()
    theirs.load_state_dict(safetensors.torch.load_file(path))
    config = RunConfig(norm="frozen-batch", weights=str(path))
    spec = ModelSpec.of(config, classes=1000, image_size_px=64)
    ours, images = initial_model(config, spec).eval(), torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_a_missing_file_is_not_found() -> None:
    config = small("batch", "absent.safetensors")
    with pytest.raises(NotFoundError, match=r"absent\.safetensors"):
        initial_model(config, spec_of(config))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": 0.5}, r"features\.0\.0\.weight is float32\(8, 3, 3, 3\) in the file, float32\(16, 3, 3, 3\)"),
        ({"architecture": "light_cnn", "norm": "group", "width": 1.0}, "features.*is unknown|is missing"),
    ],
)
def test_weights_of_another_network_are_refused_by_tensor(
    foreign: Path, change: dict[str, object], complaint: str
) -> None:
    spec = replace(spec_of(small()), **change)  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match=complaint) as caught:
        load_weights(build_model(spec, seed=0), safetensors.torch.load_file(foreign), source="their.safetensors")
    assert "their.safetensors" in caught.value.what
    assert "more" in caught.value.why


def test_group_norm_weights_cannot_start_a_batch_norm_network() -> None:
    model, other = (build_model(spec_of(small(norm)), seed=0) for norm in ("batch", "group"))
    with pytest.raises(ModelFileError, match="running_mean is missing"):
        load_weights(model, other.state_dict(), source="x")


def test_a_missing_tensor_is_named(foreign: Path) -> None:
    stored = safetensors.torch.load_file(foreign)
    del stored["features.1.conv.0.0.weight"]
    with pytest.raises(ModelFileError, match=r"features\.1\.conv\.0\.0\.weight is missing"):
        load_weights(build_model(spec_of(small("batch", foreign)), seed=0), stored, source="x")


def test_a_refusal_changes_no_weight(foreign: Path) -> None:
    stored = safetensors.torch.load_file(foreign)
    stored["surplus"] = torch.zeros(1)
    model = build_model(spec_of(small("batch", foreign)), seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelFileError, match="surplus is unknown"):
        load_weights(model, stored, source="x")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_offline_the_download_fails_with_the_local_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # tests/conftest.py cuts every connection that leaves this machine.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = RunConfig(norm="frozen-batch", weights="torchvision")
    with pytest.raises(ModelFileError, match="cannot download") as caught:
        initial_model(config, spec_of(config))
    assert "--weights FILE.safetensors" in caught.value.fix
    assert not list(tmp_path.rglob("*.pth"))


def test_an_altered_file_in_the_download_cache_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "mobilenet_v2-7ebf99e0.pth"
    cached.parent.mkdir(parents=True)
    torch.save({"features.0.0.weight": torch.zeros(1)}, cached)
    config = RunConfig(norm="frozen-batch", weights="torchvision")
    with pytest.raises(ModelFileError, match="altered or is incomplete") as caught:
        initial_model(config, spec_of(config))
    assert "7ebf99e0" in caught.value.why


@pytest.mark.parametrize("spec_change", [{"width": 0.5}, {"architecture": "light_cnn", "norm": "group"}])
def test_torchvision_is_not_asked_for_what_it_does_not_have(spec_change: dict[str, object]) -> None:
    config = RunConfig(weights="torchvision")
    with pytest.raises(ModelFileError, match="torchvision has no weights"):
        initial_model(config, replace(spec_of(config), **spec_change))  # type: ignore[arg-type]
