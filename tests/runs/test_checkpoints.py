from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from secure_fl.errors import IntegrityError, ModelFileError
from secure_fl.runs.checkpoints import (
    Checkpoint,
    checkpoint_path,
    decode_checkpoint,
    encode_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

VECTOR = np.linspace(-1.0, 1.0, 1001, dtype=np.float32)
META = {"run_id": "r", "round": 3, "spec_digest": "5bec"}


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    return save_checkpoint(checkpoint_path(tmp_path, 3), VECTOR, **META)


def test_a_checkpoint_reads_back_bit_for_bit(saved: Checkpoint) -> None:
    vector, spec = read_checkpoint(saved, run_id="r")
    assert vector.tobytes() == VECTOR.tobytes()
    assert (spec, saved.name) == ("5bec", "checkpoints/round-0003.safetensors")


def test_the_reference_reader_agrees(saved: Checkpoint) -> None:
    with safe_open(saved.path, framework="numpy") as file:
        assert file.metadata() == {"run": "r", "round": "3", "spec": "5bec"}
        assert list(file.keys()) == ["w"]
        np.testing.assert_array_equal(file.get_tensor("w"), VECTOR)


@given(st.integers(1, 40), st.text(max_size=20))
def test_equal_content_is_equal_bytes_and_any_content_is_readable(size: int, spec: str) -> None:
    vector = np.arange(size, dtype=np.float32)
    data = encode_checkpoint(vector, run_id="r", round=1, spec_digest=spec)
    assert data == encode_checkpoint(vector.copy(), run_id="r", round=1, spec_digest=spec)
    found, metadata = decode_checkpoint(data, name="x")
    np.testing.assert_array_equal(found, vector)
    assert metadata["spec"] == spec


def test_values_that_are_not_finite_survive(tmp_path: Path) -> None:
    vector = np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32)
    checkpoint = save_checkpoint(checkpoint_path(tmp_path, 1), vector, run_id="r", round=1, spec_digest="")
    assert read_checkpoint(checkpoint, run_id="r")[0].tobytes() == vector.tobytes()


@pytest.mark.parametrize(
    "vector", [VECTOR.astype(np.float64), VECTOR.reshape(7, 143), VECTOR[:0], np.float32(1.0) * np.ones(())]
)
def test_only_one_flat_float32_vector_can_be_saved(tmp_path: Path, vector: np.ndarray) -> None:
    with pytest.raises(ModelFileError, match="one flat float32 vector"):
        save_checkpoint(checkpoint_path(tmp_path, 1), vector, **META)


def test_one_flipped_bit_is_noticed(saved: Checkpoint) -> None:
    data = bytearray(saved.path.read_bytes())
    data[-1] ^= 1
    saved.path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"round-0003\.safetensors does not match its hash"):
        read_checkpoint(saved, run_id="r")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read .*round-0009"):
        read_checkpoint(Checkpoint(checkpoint_path(tmp_path, 9), 9, "0" * 64), run_id="r")


def test_a_checkpoint_of_another_run_or_round_is_refused(saved: Checkpoint) -> None:
    with pytest.raises(ModelFileError, match=r"not the checkpoint of round 3 of other \(it says round 3 of r\)"):
        read_checkpoint(saved, run_id="other")
    with pytest.raises(ModelFileError, match="not the checkpoint of round 4"):
        read_checkpoint(Checkpoint(saved.path, 4, saved.sha256), run_id="r")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04pickle", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (save({"w": VECTOR}), "not a checkpoint"),
        (save({"v": VECTOR}, {"run": "r", "round": "3", "spec": ""}), "not a checkpoint"),
        (save({"w": VECTOR, "v": VECTOR}, {"run": "r", "round": "3", "spec": ""}), "not a checkpoint"),
        (save({"w": VECTOR.astype(np.float64)}, {"run": "r", "round": "3", "spec": ""}), "not a checkpoint"),
        (save({"w": VECTOR.reshape(7, 143)}, {"run": "r", "round": "3", "spec": ""}), "not a checkpoint"),
        (encode_checkpoint(VECTOR, **META)[:-4], "not a safetensors file"),
        (encode_checkpoint(VECTOR, **META) + b"more", "not a safetensors file"),
    ],
)
def test_anything_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelFileError, match=f"model.bin is {words}"):
        decode_checkpoint(data, name="model.bin")
