from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.errors import ConfigError, FederationError, IntegrityError, NotFoundError
from secure_fl.runs import RunRecord, RunStatus

W = np.arange(4, dtype=np.float32)


def test_an_opened_record_is_the_one_that_was_created(record: RunRecord) -> None:
    again = RunRecord.open(record.folder)
    assert (again.id, again.config, again.origins) == (record.id, record.config, record.origins)
    assert again.config.sites == 3
    assert again.config.digest() == record.events()[0]["config_digest"]


def test_a_folder_that_is_no_record_is_not_found(tmp_path: Path, record: RunRecord) -> None:
    with pytest.raises(NotFoundError, match="is not a run record"):
        RunRecord.open(tmp_path)
    (record.folder / "events.jsonl").unlink()
    with pytest.raises(NotFoundError, match=r"is not a run record \(it has no events.jsonl\)"):
        RunRecord.open(record.folder)


def test_a_changed_config_is_refused(record: RunRecord) -> None:
    path = record.folder / "config.json"
    path.write_text(path.read_text().replace('"lr": 0.02', '"lr": 0.03'))
    with pytest.raises(IntegrityError, match=r"config\.json was altered"):
        RunRecord.open(record.folder)


def test_a_changed_origin_is_refused_too(record: RunRecord) -> None:
    path = record.folder / "config.json"
    path.write_text(path.read_text().replace('"lr": "default"', '"lr": "flag"'))
    with pytest.raises(IntegrityError, match=r"config\.json was altered"):
        RunRecord.open(record.folder)


def test_a_config_exchanged_together_with_its_hash_is_refused(record: RunRecord, tampered: Callable[..., None]) -> None:
    import hashlib

    path = record.folder / "config.json"
    path.write_text(path.read_text().replace('"lr": 0.02', '"lr": 0.03'))

    def edit(documents: list[Any]) -> list[Any]:
        documents[0]["config_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return documents

    tampered(record.folder / "events.jsonl", edit)
    with pytest.raises(IntegrityError, match="line 1 breaks"):
        RunRecord.open(record.folder)


def test_events_that_do_not_begin_with_a_creation_are_refused(record: RunRecord) -> None:
    (record.folder / "events.jsonl").unlink()
    record.append("note", text="hello")
    with pytest.raises(IntegrityError, match="does not begin with the creation of a run"):
        RunRecord.open(record.folder)


def test_a_setting_of_a_later_version_is_named(record: RunRecord) -> None:
    record._config_document["settings"]["time-machine"] = True
    with pytest.raises(ConfigError, match="time-machine"):
        _ = record.config


def test_data_is_bound_to_the_chain_and_the_same_data_only_once(record: RunRecord) -> None:
    document = {"fingerprint": "sha256:00", "classes": ["a", "ü"]}
    record.write_data(document)
    record.write_data(dict(document))
    assert record.data == document
    assert [event.kind for event in record.events()] == ["run-created", "data-described"]
    record.write_data({"fingerprint": "sha256:01"})
    assert [event.kind for event in record.events()].count("data-described") == 2
    record.verify()


def test_a_new_record_has_no_data_and_no_checkpoint(record: RunRecord) -> None:
    assert (record.data, record.last_checkpoint(), record.rounds()) == (None, None, [])


def test_the_last_checkpoint_is_of_the_newest_finished_round(record: RunRecord, play: Any) -> None:
    player = play(record)
    player.start()
    for number in range(3):
        player.finish_round(number, vector=W + number)
    last = record.last_checkpoint()
    assert last is not None
    assert last.round == 2
    np.testing.assert_array_equal(record.load_checkpoint(last), W + 2)
    assert record.checkpoint_spec(last) == "5bec"


def test_a_checkpoint_without_its_event_does_not_count(record: RunRecord, play: Any) -> None:
    player = play(record)
    player.start()
    player.finish_round(0, vector=W)
    record.save_checkpoint(1, W + 1, "5bec")  # and then the machine stops
    last = record.last_checkpoint()
    assert last is not None
    assert last.round == 0


@pytest.mark.parametrize("harm", ["altered", "missing", "a folder"])
def test_a_round_whose_checkpoint_is_not_what_its_event_says_does_not_count(
    record: RunRecord, play: Any, harm: str
) -> None:
    player = play(record)
    player.start()
    player.finish_round(0, vector=W)
    player.finish_round(1, vector=W + 1)
    path = record.folder / "checkpoints" / "round-0001.safetensors"
    if harm == "altered":
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    else:
        path.unlink()
    if harm == "a folder":
        path.mkdir()
    last = record.last_checkpoint()
    assert last is not None
    assert last.round == 0


def test_a_round_that_was_finished_without_a_checkpoint_is_no_point_to_resume_from(
    record: RunRecord, play: Any
) -> None:
    player = play(record)
    player.start()
    player.finish_round(0, vector=W)
    player.finish_round(1)
    last = record.last_checkpoint()
    assert last is not None
    assert last.round == 0


def test_a_resumed_run_goes_on_in_the_same_file_and_its_repeated_round_replaces_the_earlier(
    record: RunRecord, play: Any
) -> None:
    player = play(record)
    player.start()
    player.finish_round(0, vector=W)
    player.open_round(1)
    player.finish_round(1, vector=W + 1, accuracy=0.5)
    (record.folder / "checkpoints" / "round-0001.safetensors").unlink()

    again = RunRecord.open(record.folder, clock=player.clock)
    checkpoint = again.last_checkpoint()
    assert checkpoint is not None
    second = play(again)
    second.start(resumed_from_round=checkpoint.round)
    second.open_round(1)
    second.finish_round(1, vector=W + 7, accuracy=0.6)
    second.finish()

    assert [(row.round, row.accuracy, len(row.sites)) for row in again.rounds()] == [(0, 0.1, 0), (1, 0.6, 3)]
    last = again.last_checkpoint()
    assert last is not None
    np.testing.assert_array_equal(again.load_checkpoint(last), W + 7)
    again.verify()


def test_a_stop_can_be_requested_seen_and_taken_back(record: RunRecord) -> None:
    assert not record.stop_requested()
    record.request_stop()
    record.request_stop()
    assert RunRecord.open(record.folder).stop_requested()
    record.clear_stop()
    record.clear_stop()
    assert not record.stop_requested()


def test_status_follows_the_events(record: RunRecord, play: Any) -> None:
    player = play(record)
    assert record.status() is RunStatus.CREATED
    player.start()
    assert record.status() is RunStatus.INTERRUPTED, "no process has the number that the event names"
    player.finish_round(0)
    for status in RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.SUCCEEDED:
        player.start(resumed_from_round=0)
        player.finish(status)
        assert record.status() is status


def test_a_run_whose_process_lives_is_running(make_record: Callable[..., RunRecord], play: Any, clock: Any) -> None:
    import time

    clock.now_s = time.time()
    record = make_record()
    play(record).start(pid=os.getpid())
    assert record.status() is RunStatus.RUNNING


def test_only_one_process_can_drive_a_run(record: RunRecord) -> None:
    with (
        record.driving(),
        pytest.raises(FederationError, match=f"another process drives run {record.id}"),
        RunRecord.open(record.folder).driving(),
    ):
        pass
    with record.driving():
        pass


def test_a_driver_that_is_killed_frees_the_run(record: RunRecord) -> None:
    script = """
import sys
from pathlib import Path
from secure_fl.runs import RunRecord
with RunRecord.open(Path(sys.argv[1])).driving():
    print("driving", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(record.folder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "driving\n"
        with pytest.raises(FederationError), record.driving():
            pass
        driver.kill()
        driver.wait(timeout=60)
    with record.driving():
        pass


def test_following_gives_old_events_first_and_then_the_new(record: RunRecord) -> None:
    reader = record.follow()
    assert [event.kind for event in reader.poll()] == ["run-created"]
    record.append("site-joined", site="site-0", index=0)
    assert [event["site"] for event in reader.poll()] == ["site-0"]


def test_the_documents_can_be_read_by_any_json_reader(record: RunRecord) -> None:
    record.write_data({"a": 1})
    for name in ("config.json", "environment.json", "data.json"):
        text = (record.folder / name).read_text(encoding="utf-8")
        assert json.loads(text, parse_constant=lambda word: pytest.fail(word))
        assert text.endswith("}\n")
