"""Every file that the chain names is checked; each way to harm a record is named, or admitted in the docstring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.errors import IntegrityError
from secure_fl.runs import RunRecord
from secure_fl.runs.atomic import file_sha256

W = np.arange(4, dtype=np.float32)


@pytest.fixture
def whole(record: RunRecord, play: Any) -> RunRecord:
    record.write_data({"fingerprint": "sha256:00"})
    player = play(record)
    player.start()
    for number in range(3):
        player.finish_round(number, vector=W + number)
    (record.folder / "model.safetensors").write_bytes(b"weights")
    player.finish(model_file_sha256=file_sha256(record.folder / "model.safetensors"))
    return record


def test_a_whole_record_is_verified_file_by_file(whole: RunRecord) -> None:
    found = whole.verify()
    assert found.events == len(whole.events())
    assert found.head == whole.events()[-1].hash
    assert found.files == (
        "config.json",
        "environment.json",
        "data.json",
        "checkpoints/round-0000.safetensors",
        "checkpoints/round-0001.safetensors",
        "checkpoints/round-0002.safetensors",
        "model.safetensors",
    )
    assert found.notes == ()


@pytest.mark.parametrize(
    "name",
    ["config.json", "environment.json", "data.json", "checkpoints/round-0001.safetensors", "model.safetensors"],
)
@pytest.mark.parametrize("harm", ["altered", "missing"])
def test_a_file_that_was_altered_or_lost_is_named(whole: RunRecord, name: str, harm: str) -> None:
    path = whole.folder / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=rf"{name} (was|is) {harm}"):
        whole.verify()


def test_an_altered_event_is_named_by_its_line(whole: RunRecord, tampered: Callable[..., None]) -> None:
    def better(documents: list[Any]) -> list[Any]:
        documents[-2]["accuracy"] = 0.999
        return documents

    line = len(whole.events()) - 1
    tampered(whole.folder / "events.jsonl", better)
    with pytest.raises(IntegrityError, match=f"line {line} breaks"):
        whole.verify()


def test_a_torn_last_line_is_told_and_its_repair_too(whole: RunRecord) -> None:
    with (whole.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"half')
    assert whole.verify().notes == ("the last line (6 bytes) is torn; the next append moves it aside",)
    whole.append("note")
    found = whole.verify()
    assert found.notes == ("6 bytes of a torn line lie in events.torn-1",)
    assert "events.torn-1" in found.files


def test_a_cut_at_the_end_shows_only_by_what_it_left_behind(whole: RunRecord) -> None:
    path: Path = whole.folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    before = whole.verify().head
    path.write_bytes(b"".join(lines[:-2]))
    found = whole.verify()
    assert found.notes == ("no event names checkpoints/round-0002.safetensors; it does not count",)
    assert found.head != before


def test_only_the_checkpoints_of_rounds_that_still_count_are_expected(whole: RunRecord, play: Any) -> None:
    play(whole).start(resumed_from_round=1)
    (whole.folder / "checkpoints" / "round-0002.safetensors").write_bytes(b"half of the repeated round")
    found = whole.verify()
    assert "checkpoints/round-0001.safetensors" in found.files
    assert found.notes == ("no event names checkpoints/round-0002.safetensors; it does not count",)
