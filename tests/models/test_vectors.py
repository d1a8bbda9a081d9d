"""A model and its vector say the same, in a fixed order, and nothing that does not fit gets in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secure_fl.errors import ModelFileError
from secure_fl.models import (
    FixedBatchNorm2d,
    ModelSpec,
    VectorSpec,
    build_model,
    fingerprint,
    flatten,
    flatten_gradient,
    unflatten,
    unflatten_gradient,
)

SPEC = ModelSpec(
    architecture="mobilenet_v2",
    classes=10,
    image_size_px=16,
    norm="group",
    group_size=16,
    stem="small-images",
    width=0.1,
    dropout=0.0,
)
LIGHT = replace(SPEC, architecture="light_cnn", width=1.0)


class Tensors(nn.Module):
    """Parameters of any shapes, with a float buffer, a counter and a tensor that is not saved."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        for index, shape in enumerate(shapes):
            self.register_parameter(f"p{index}", nn.Parameter(torch.randn(shape)))
        self.register_buffer("mean", torch.randn(2))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("scratch", torch.randn(5), persistent=False)


def naive(model: nn.Module) -> np.ndarray:
    parts = [t.numpy().ravel() for t in model.state_dict().values() if t.dtype == torch.float32]
    return np.concatenate(parts)


@given(st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), max_size=5), st.integers(0, 2**32))
def test_a_vector_goes_in_and_comes_out_unchanged(shapes: list[tuple[int, ...]], seed: int) -> None:
    model = Tensors(shapes)
    assert np.array_equal(flatten(model), naive(model))
    spec = VectorSpec.of(model)
    vector = np.random.default_rng(seed).standard_normal(spec.size, dtype=np.float32)
    unflatten(vector, model)
    assert flatten(model).tobytes() == vector.tobytes()
    assert [shape for _, shape in spec.entries] == [*shapes, (2,)]
    assert (model.count.item(), model.scratch.numel()) == (3, 5)


@pytest.mark.parametrize("spec", [SPEC, LIGHT, replace(SPEC, norm="batch")])
def test_every_bit_survives_the_round_trip_through_another_model(spec: ModelSpec) -> None:
    source, target = build_model(spec, seed=1), build_model(spec, seed=2)
    vector = flatten(source)
    assert vector.dtype == np.float32
    assert vector.flags.c_contiguous
    unflatten(vector, target)
    assert flatten(target).tobytes() == vector.tobytes()
    assert fingerprint(source) == fingerprint(target)


def test_the_vector_is_a_copy_in_both_directions() -> None:
    model = build_model(LIGHT, seed=1)
    vector = flatten(model)
    kept = vector.copy()
    unflatten(vector, model)
    vector[:] = 0
    assert np.array_equal(flatten(model), kept)


def test_memory_layout_does_not_change_the_vector() -> None:
    model = build_model(SPEC, seed=1)
    before = flatten(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert np.array_equal(flatten(model), before)
    unflatten(before[::-1].copy(), model)
    assert np.array_equal(flatten(model), before[::-1])


def test_special_values_pass_unchanged() -> None:
    model = Tensors([(4,)])
    vector = np.array([np.nan, np.inf, -0.0, 1e-45, 1, 2], dtype=np.float32)
    unflatten(vector, model)
    assert flatten(model).tobytes() == vector.tobytes()


def test_read_only_arrays_from_the_wire_are_taken_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    model = Tensors([(3,)])
    vector = np.frombuffer(np.arange(5, dtype=np.float32).tobytes(), dtype=np.float32)
    unflatten(vector, model)
    assert np.array_equal(flatten(model), vector)
    assert not recwarn.list


def test_batchnorm_sends_its_statistics_but_not_its_counters() -> None:
    spec = VectorSpec.of(build_model(replace(SPEC, norm="batch"), seed=0))
    names = [name for name, _ in spec.entries]
    assert any(name.endswith("running_var") for name in names)
    assert not any(name.endswith("num_batches_tracked") for name in names)


def test_fixed_statistics_are_not_sent_and_cannot_be_changed_by_a_vector() -> None:
    model = build_model(replace(SPEC, norm="frozen-batch"), seed=0)
    spec = VectorSpec.of(model)
    assert not any("running" in name for name, _ in spec.entries)
    assert spec.size == sum(each.numel() for each in model.parameters())
    unflatten(np.full(spec.size, 7, dtype=np.float32), model)
    norms = [each for each in model.modules() if isinstance(each, FixedBatchNorm2d)]
    assert all(torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean)) for norm in norms)
    assert all(torch.equal(norm.weight, torch.full_like(norm.weight, 7)) for norm in norms)


def test_a_lone_fixed_norm_layer_has_no_prefix_to_trip_over() -> None:
    assert [name for name, _ in VectorSpec.of(FixedBatchNorm2d(2)).entries] == ["weight", "bias"]


def test_other_fixed_statistics_give_another_digest() -> None:
    model = build_model(replace(SPEC, norm="frozen-batch"), seed=0)
    before = VectorSpec.of(model)
    norm = next(each for each in model.modules() if isinstance(each, FixedBatchNorm2d))
    norm.running_var[0] += 1e-3
    after = VectorSpec.of(model)
    assert after.entries == before.entries
    assert after.digest != before.digest


def test_the_digest_depends_on_names_shapes_and_order_not_on_values() -> None:
    digest = VectorSpec.of(build_model(LIGHT, seed=1)).digest
    assert digest == VectorSpec.of(build_model(LIGHT, seed=2)).digest
    others = [replace(LIGHT, classes=11), SPEC, replace(SPEC, norm="batch")]
    assert len({digest, *(VectorSpec.of(build_model(each, seed=1)).digest for each in others)}) == 4
    swapped = [
        VectorSpec.of(nn.Sequential(nn.Linear(*a), nn.Linear(*b))) for a, b in [((2, 2), (2, 1)), ((2, 1), (1, 2))]
    ]
    assert swapped[0].digest != swapped[1].digest


def test_the_digest_is_the_documented_hash() -> None:
    text = json.dumps(
        {"constants": "", "dtype": "float32", "entries": [["weight", [1, 2]], ["bias", [1]]]}, separators=(",", ":")
    )
    assert VectorSpec.of(nn.Linear(2, 1)).digest == hashlib.sha256(text.encode()).hexdigest()


def test_fingerprints_differ_when_one_bit_of_one_weight_differs() -> None:
    model = build_model(LIGHT, seed=1)
    before = fingerprint(model)
    vector = flatten(model)
    vector.view(np.uint32)[17] ^= 1
    unflatten(vector, model)
    assert before.startswith("sha256:")
    assert fingerprint(model) != before


@pytest.mark.parametrize(
    ("vector", "complaint"),
    [
        (np.zeros(7, dtype=np.float32), r"\(7,\).*\(8,\)"),
        (np.zeros(9, dtype=np.float32), r"\(9,\).*\(8,\)"),
        (np.zeros(0, dtype=np.float32), r"\(0,\)"),
        (np.zeros((8, 1), dtype=np.float32), r"\(8, 1\)"),
        (np.float32(1) * np.ones(()), r"dtype float64"),
        (np.zeros((), dtype=np.float32), r"\(\)"),
        (np.zeros(8), "float64"),
        (np.zeros(8, dtype=np.float16), "float16"),
        (np.zeros(8, dtype=">f4"), ">f4"),
        (np.zeros(8, dtype=object), "object"),
        (np.zeros(16, dtype=np.float32)[::2], "not contiguous"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(vector: np.ndarray, complaint: str) -> None:
    model = Tensors([(2, 3)])
    before = flatten(model)
    with pytest.raises(ModelFileError, match=complaint):
        unflatten(vector, model)
    assert np.array_equal(flatten(model), before)


def test_a_model_of_another_precision_is_refused_by_the_tensors_name() -> None:
    with pytest.raises(ModelFileError, match=r"weight is torch\.float64"):
        flatten(nn.Linear(2, 1).double())


def test_gradients_have_the_layout_of_the_model_with_nothing_at_buffers() -> None:
    model = Tensors([(2, 3), (4,)])
    model.p0.grad = torch.arange(6.0).reshape(2, 3)
    assert flatten_gradient(model).tolist() == [0, 1, 2, 3, 4, 5, *[0.0] * (len(flatten(model)) - 6)]
    unflatten_gradient(np.full(len(flatten(model)), 7, np.float32), model)
    assert torch.equal(model.p0.grad, torch.full((2, 3), 7.0)) and model.p1.grad is None
