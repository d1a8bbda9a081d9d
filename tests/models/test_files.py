"""A model file rebuilds exactly the model; everything else is refused with the reason, and runs no code."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from secure_fl.errors import ModelFileError, NotFoundError
from secure_fl.models import ModelCard, ModelSpec, build_model, fingerprint, load_model, save_model

SPEC = ModelSpec(
    architecture="mobilenet_v2",
    classes=3,
    image_size_px=16,
    norm="group",
    group_size=16,
    stem="small-images",
    width=0.1,
    dropout=0.2,
)
LIGHT = replace(SPEC, architecture="light_cnn", width=1.0)
CARD = ModelCard(
    spec=LIGHT,
    classes=("cat", "dog", "Käfer \u2603"),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    run_id="20260101-000000-abcd",
    round=3,
    extra={"dataset": "pets"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, build_model(LIGHT, seed=1), CARD)
    return path


def rewritten(
    file: Path, tensors: dict[str, torch.Tensor] | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """The file with other tensors or metadata, as somebody else's program might write it."""
    kept = safetensors.torch.load_file(file)
    given = {"secure-fl": CARD.to_json()} if metadata is None else metadata
    file.write_bytes(safetensors.torch.save(kept if tensors is None else tensors, metadata=given))
    return file


@pytest.mark.parametrize(
    "spec",
    [SPEC, LIGHT, replace(SPEC, norm="batch"), replace(SPEC, norm="frozen-batch"), replace(SPEC, stem="imagenet")],
)
def test_the_loaded_model_is_the_saved_one(tmp_path: Path, spec: ModelSpec) -> None:
    model, card = build_model(spec, seed=4), replace(CARD, spec=spec)
    images = torch.rand(2, 3, 16, 16)
    model.train()(images)  # moves the statistics of BatchNorm
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, found = load_model(tmp_path / "m.safetensors")
    assert found == card
    assert fingerprint(loaded) == fingerprint(model)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert torch.equal(loaded(images), model.eval()(images))
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]


def test_the_hash_returned_is_the_files_and_equal_models_give_equal_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    model = build_model(LIGHT, seed=1)
    hashes = [save_model(path, model, CARD) for path in paths]
    assert hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert hashes[0] == hashes[1]
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert save_model(paths[0], model, CARD) == hashes[0]


def test_the_file_is_public_replaces_the_old_one_and_leaves_nothing_beside_it(file: Path) -> None:
    old = file.read_bytes()
    mask = os.umask(0o077)
    try:
        save_model(file, build_model(LIGHT, seed=2), CARD)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_bytes() != old
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_failed_write_keeps_the_old_file_and_no_scrap(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    old = file.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(file, build_model(LIGHT, seed=2), CARD)
    assert file.read_bytes() == old
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_any_safetensors_reader_can_read_weights_and_card(file: Path) -> None:
    with safetensors.safe_open(file, framework="np") as stored:
        entries = json.loads(stored.metadata()["secure-fl"])
        assert stored.get_tensor("classifier.1.bias").dtype == np.float32
    assert entries["classes"] == ["cat", "dog", "Käfer \u2603"]
    assert entries["spec"] == asdict(LIGHT)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.safetensors"):
        load_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load_model(file)


def test_a_file_with_something_appended_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load_model(file)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load_model(tmp_path)


class Bomb:
    """Unpickling it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", ["torch", "torch-legacy", "pickle"])
def test_a_pickle_with_our_ending_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "model.safetensors", tmp_path / "it-ran"
    with path.open("wb") as stream:
        if kind == "pickle":
            pickle.dump(Bomb(mark), stream)
        else:
            torch.save({"bomb": Bomb(mark)}, stream, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(ModelFileError, match="pickle") as caught:
        load_model(path)
    assert "safetensors.torch.save_file" in caught.value.fix
    assert not mark.exists()


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"secure_fl": "{}"}])
def test_weights_without_a_card_are_refused_with_what_to_do(file: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(ModelFileError, match="not a Secure FL model") as caught:
        load_model(rewritten(file, metadata=metadata))
    assert "--weights" in caught.value.fix


def entry(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda card: card.update({name: value})


def spec_entry(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda card: card["spec"].update({name: value})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (entry("format", 2), "format 2"),
        (lambda card: card.pop("format"), "format"),
        (lambda card: card.pop("classes"), "classes"),
        (lambda card: card.pop("spec"), "spec"),
        (entry("author", "me"), "author"),
        (entry("classes", ["cat", "dog"]), "names 2 classes"),
        (entry("classes", 3), "int"),
        (entry("mean", [0, 0]), "three finite numbers"),
        (entry("mean", [0, 0, float("nan")]), "three finite numbers"),
        (entry("mean", ["a", "b", "c"]), "real number"),
        (entry("std", [1, 1, 0]), "above zero"),
        (entry("spec", "mobilenet"), "card is unusable"),
        (spec_entry("architecture", "resnet"), "resnet"),
        (entry("run_id", ["x"]), "must be text"),
        (entry("round", "3"), "must be text"),
        (entry("extra", {"a": 1}), "must be text"),
        (entry("extra", None), "card is unusable"),
        (entry("classes", ["cat", "dog", 7]), "must be text"),
        (spec_entry("norm", "layer"), "layer"),
        (spec_entry("image_size_px", 1_000_000), "image-size"),
        (spec_entry("classes", 4), "4 outputs"),
        (spec_entry("classes", "three"), "three"),
        (spec_entry("width", "wide"), "card is unusable"),
        (spec_entry("depth", 3), "depth"),
    ],
)
def test_an_unusable_card_is_refused_by_its_culprit(
    file: Path, change: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    card = json.loads(CARD.to_json())
    change(card)
    with pytest.raises(ModelFileError) as caught:
        load_model(rewritten(file, metadata={"secure-fl": json.dumps(card)}))
    assert str(file) in caught.value.what
    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"text"', "[" * 100_000])
def test_a_card_that_is_not_an_object_is_refused(file: Path, text: str) -> None:
    with pytest.raises(ModelFileError, match="card is unusable"):
        load_model(rewritten(file, metadata={"secure-fl": text}))


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        ("classifier.1.bias", torch.zeros(4), r"classifier\.1\.bias is float32\(4,\) in the file, float32\(3,\)"),
        ("classifier.1.bias", torch.zeros(3, dtype=torch.float16), r"float16\(3,\)"),
        ("classifier.1.bias", None, r"classifier\.1\.bias is missing"),
        ("extra", torch.zeros(1), "extra is unknown"),
    ],
)
def test_weights_that_do_not_fit_the_card_are_refused_by_name(
    file: Path, name: str, tensor: torch.Tensor | None, complaint: str
) -> None:
    tensors = safetensors.torch.load_file(file)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    with pytest.raises(ModelFileError, match=complaint):
        load_model(rewritten(file, tensors=tensors))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(file: Path, value: float) -> None:
    tensors = safetensors.torch.load_file(file)
    tensors["classifier.1.bias"][1] = value
    with pytest.raises(ModelFileError, match=r"classifier\.1\.bias holds a value that is not finite"):
        load_model(rewritten(file, tensors=tensors))


def test_a_card_for_another_number_of_classes_cannot_be_made() -> None:
    with pytest.raises(ModelFileError, match="names 1 classes"):
        replace(CARD, classes=("cat",))
