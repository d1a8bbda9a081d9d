"""The manifest refuses what was not signed, and every published trap; real models pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load_file

from audit.leakage.manifest import ManifestRefused, ModelManifest, SignedManifest, TensorSpec, refusals, sign, verified
from audit.leakage.traps import inspect_weights, row_statistics
from secure_fl.models import ModelSpec, build_model

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
Tensors = dict[str, np.ndarray]


def model(architecture: str = "light_cnn", seed: int = 0) -> Tensors:
    spec = ModelSpec(architecture, 10, 32, "group", 16, "small-images", 1.0, 0.1)
    return {name: each.numpy() for name, each in build_model(spec, seed=seed).state_dict().items()}


def rules(tensors: Tensors) -> set[str]:
    return {each.rule for each in inspect_weights(tensors)}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def imprint(pixels: int, bins: int) -> np.ndarray:
    """Fowl et al. 2022, section 3.1: every row measures the mean brightness; the thresholds are in the bias."""
    return np.full((bins, pixels), 1 / pixels, np.float32)


def trap_weights(rows: int, length: int, scale: float) -> np.ndarray:
    """Boenisch et al. 2023, algorithm 1: half of a row negative, the other half its mirror image, scaled."""
    rng, made = np.random.default_rng(1), np.empty((rows, length), np.float32)
    for row in made:
        order, drawn = rng.permutation(length), np.abs(rng.standard_normal(length // 2))
        row[order[: length // 2]], row[order[length // 2 :]] = -drawn, scale * rng.permutation(drawn)
    return made


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "light_cnn", "tanh_cnn"])
@pytest.mark.parametrize("seed", range(3))
def test_an_initial_model_passes_its_own_manifest(architecture, seed):
    tensors = model(architecture, seed)
    assert refusals(ModelManifest.of(architecture, tensors), tensors) == ()


def test_a_pretrained_model_passes_its_own_manifest(shared_data: Path):
    tensors = load_file(shared_data / "pretrained" / "mobilenet_v2_imagenet.safetensors")
    assert refusals(ModelManifest.of("mobilenet_v2", tensors), tensors) == ()


def test_real_weights_stay_far_from_every_threshold(shared_data: Path):
    tensors = load_file(shared_data / "pretrained" / "mobilenet_v2_imagenet.safetensors")
    for each in (value.astype(np.float64) for value in tensors.values() if value.ndim > 1):
        seen = row_statistics(each)
        assert seen.parallel == seen.identities == 0.0 and seen.mirrored < 1.0 and seen.largest < 100


@pytest.mark.parametrize("bins", [8, 256])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_an_imprint_layer_of_fowl_and_of_loki_is_found_at_any_scale(bins, scale):
    assert rules({"w": imprint(3_072, bins) * scale}) == {"trap/parallel-rows"}
    turned = imprint(3_072, bins) * np.linspace(-1, 2, bins)[:, None] + 1e-9 * normal(bins, 3_072)
    assert rules({"w": turned * scale}) == {"trap/parallel-rows"}


def test_an_imprint_that_is_hidden_among_honest_rows_is_found():
    assert rules({"w": np.concatenate([normal(200, 768), imprint(768, 40)])}) == {"trap/parallel-rows"}


@pytest.mark.parametrize("scale", [0.9, 0.99])
def test_trap_weights_of_boenisch_are_found(scale):
    assert rules({"w": trap_weights(100, 3_072, scale)}) == {"trap/mirrored-rows"}


def test_filters_that_only_pass_pictures_on_are_found():
    filters = normal(32, 3, 3, 3)
    filters[:12] = 0
    filters[np.arange(12), np.arange(12) % 3, 1, 1] = 1
    assert rules({"w": filters}) == {"trap/identity-filters"}


def test_huge_weights_and_numbers_that_are_none_are_found():
    assert rules({"w": normal(4, 4) * 1e5}) == {"trap/huge-values"}
    assert rules({"b": np.array([1.0, np.nan], np.float32)}) == {"trap/not-finite"}


def test_rows_of_zeros_biases_and_few_rows_are_no_traps():
    rows = normal(32, 64)
    rows[::2] = 0
    assert rules({"w": rows, "zero": np.zeros((16, 64)), "bias": np.ones(64), "few": np.ones((4, 64))}) == set()


def test_short_rows_are_left_to_the_manifest():
    assert rules({"depthwise": np.ones((64, 1, 3, 3), np.float32)}) == set()


def test_what_differs_from_the_manifest_is_refused_by_name():
    tensors = model()
    manifest = ModelManifest.of("light_cnn", tensors)
    first, *others = tensors

    def refused(received: Tensors) -> list[tuple[str, str]]:
        return [(each.rule, each.place.path) for each in refusals(manifest, received)]

    assert refused({name: tensors[name] for name in others}) == [("manifest/missing-tensor", first)]
    assert refused({**tensors, "imprint.weight": normal(4, 4)}) == [("manifest/unexpected-tensor", "imprint.weight")]
    assert refused({**tensors, first: tensors[first][:-1]}) == [("manifest/wrong-shape", first)]
    assert refused({**tensors, first: tensors[first].astype(np.float64)}) == [("manifest/wrong-dtype", first)]
    assert refused({name: tensors[name] for name in (*others, first)}) == [("manifest/wrong-order", "")]


def test_a_trap_in_the_right_shape_is_refused_too():
    tensors = model("mobilenet_v2")
    manifest = ModelManifest.of("mobilenet_v2", tensors)
    name = "classifier.1.weight"
    received = {**tensors, name: imprint(tensors[name].shape[1], 10)}
    assert [(each.rule, each.place.path) for each in refusals(manifest, received)] == [("trap/parallel-rows", name)]


def test_a_signed_manifest_comes_back_as_it_was():
    manifest = ModelManifest.of("light_cnn", model())
    assert verified(sign(manifest, KEY), KEY.public_key()) == manifest
    assert (
        manifest.digest == ModelManifest.of("light_cnn", model(seed=5)).digest != ModelManifest.of("x", model()).digest
    )


def test_every_altered_byte_of_document_or_signature_is_refused():
    signed = sign(ModelManifest("a", (TensorSpec("w", (2, 3), "float32"),)), KEY)
    for position in range(len(signed.document)):
        altered = bytearray(signed.document)
        altered[position] ^= 1
        with pytest.raises(ManifestRefused, match="not signed by"):
            verified(SignedManifest(bytes(altered), signed.signature), KEY.public_key())
    for altered in (signed.signature[:-1], bytes(64), signed.signature[:-1] + b"\0"):
        with pytest.raises(ManifestRefused, match="not signed by"):
            verified(SignedManifest(signed.document, altered), KEY.public_key())


def test_another_key_is_refused():
    other = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    with pytest.raises(ManifestRefused, match="not signed by"):
        verified(sign(ModelManifest.of("light_cnn", model()), other), KEY.public_key())


@pytest.mark.parametrize(
    "document",
    [
        b"not json",
        b"[" * 100_000,
        b"[]",
        rfc8785.dumps({"format": 1, "architecture": "a", "tensors": []}),
        rfc8785.dumps({"format": 2, "architecture": "a", "tensors": [{"name": "w", "shape": [1], "dtype": "float32"}]}),
        b'{"tensors":[{"name":"w","shape":[1],"dtype":"float32"}],"architecture":"a","format":1}',
        rfc8785.dumps({"format": 1, "architecture": "a", "tensors": [{"name": "w", "shape": "12", "dtype": "f"}]}),
    ],
)
def test_a_signed_document_that_is_no_manifest_is_refused(document):
    signature = KEY.sign(b"secure-fl model manifest 1\n" + document)
    with pytest.raises(ManifestRefused, match=r"no model manifest|not canonical"):
        verified(SignedManifest(document, signature), KEY.public_key())


def test_a_manifest_without_tensors_or_with_one_twice_cannot_be_made():
    spec = TensorSpec("w", (1,), "float32")
    for tensors in ((), (spec, spec)):
        with pytest.raises(ValueError, match="none twice"):
            ModelManifest("a", tensors)
