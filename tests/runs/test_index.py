from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import NotFoundError, SecureFLError
from secure_fl.runs import RunRecord
from secure_fl.runs.index import DAMAGED, RunIndex

Make = Callable[..., RunRecord]


@pytest.fixture
def index(tmp_path: Path) -> RunIndex:
    return RunIndex(tmp_path)


def test_a_home_without_runs_has_an_empty_list_and_stays_untouched(tmp_path: Path, index: RunIndex) -> None:
    assert index.list() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_row_says_how_a_run_stands(make_record: Make, index: RunIndex, play: Any) -> None:
    record = make_record(sites=3, rounds=6, seed=11)
    play(record).whole_run(rounds=2)
    (row,) = index.list()
    assert (row.id, row.status, row.dataset, row.model) == (record.id, "succeeded", "digits", "mobilenet_v2")
    assert (row.grid, row.partition, row.sites, row.seed) == ("local", "dirichlet", 3, 11)
    assert (row.round, row.rounds, row.accuracy, row.loss) == (2, 6, 0.617, 1.182)
    assert row.started is not None
    assert row.finished is not None
    assert row.created <= row.started <= row.finished
    assert row.seconds == pytest.approx(27.0)
    assert row.note == ""


def test_the_newest_run_comes_first(make_record: Make, index: RunIndex, clock: Any) -> None:
    ids = []
    for _ in range(3):
        ids.append(make_record().id)
        clock.pass_(0.5)
    assert [row.id for row in index.list()] == ids[::-1]


def test_the_list_follows_the_folders(make_record: Make, index: RunIndex, play: Any) -> None:
    first, second = make_record(), make_record()
    assert [row.round for row in index.list()] == [0, 0]
    player = play(second)
    player.start()
    player.finish_round(0)
    player.open_round(1)
    player.finish_round(1)
    assert [row.round for row in index.list() if row.id == second.id] == [1]
    shutil.rmtree(first.folder)
    assert [row.id for row in index.list()] == [second.id]


def test_an_unchanged_run_is_not_read_again(
    make_record: Make, index: RunIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record()
    rows = index.list()
    monkeypatch.setattr(RunRecord, "open", lambda folder: pytest.fail("read again"))
    assert index.list() == rows


def drop(path: Path) -> None:
    path.unlink()


def fill_with_noise(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def harm_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def put_another_version(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.executescript("CREATE TABLE runs (id TEXT, colour TEXT); PRAGMA user_version = 99;")
    database.close()


def put_another_table(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript("DROP TABLE runs;")
    database.close()


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "harm", [drop, fill_with_noise, cut, harm_inside, put_another_version, put_another_table, put_a_folder]
)
def test_an_index_that_cannot_be_used_is_made_anew(
    make_record: Make, index: RunIndex, harm: Callable[[Path], None]
) -> None:
    make_record()
    make_record()
    rows = index.list()
    harm(index.path)
    assert index.list() == rows
    assert index.list() == rows


def test_where_nothing_may_be_written_the_list_is_made_in_memory(make_record: Make, index: RunIndex) -> None:
    record = make_record()
    (index.folder / "index.lock").mkdir()
    assert [row.id for row in index.list()] == [record.id]
    assert not index.path.exists()


def test_processes_that_refresh_at_once_agree(make_record: Make, index: RunIndex) -> None:
    for _ in range(20):
        make_record()
    script = """
import sys
from pathlib import Path
from secure_fl.runs.index import RunIndex
index = RunIndex(Path(sys.argv[1]))
for turn in range(10):
    if turn % 3 == 0:
        index.path.unlink(missing_ok=True)
    print(len(index.list()))
"""
    command = [sys.executable, "-c", script, str(index.folder.parent)]
    root = Path(__file__).parents[2]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)]
    for reader in readers:
        said, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0
        assert said.split() == ["20"] * 10


def test_folders_that_are_no_runs_are_left_alone_and_named(make_record: Make, index: RunIndex) -> None:
    record = make_record()
    (index.folder / "notes").mkdir()
    (index.folder / "20261123-164401-beef").mkdir()
    (index.folder / "20261123-164401-cafe").symlink_to(record.folder)
    (index.folder / ".creating-20261123-164401-aaaa").mkdir()
    (index.folder / "todo.txt").write_text("")
    assert [row.id for row in index.list()] == [record.id]
    assert [note.split()[0] for note in index.notes] == ["20261123-164401-beef", "20261123-164401-cafe", "notes"]


def test_a_damaged_record_is_listed_as_such_with_the_reason(
    make_record: Make, index: RunIndex, tampered: Callable[..., None]
) -> None:
    record = make_record()
    tampered(record.folder / "events.jsonl", lambda documents: [{**documents[0], "seed": 1}])
    (row,) = index.list()
    assert (row.id, row.status, row.created) == (record.id, DAMAGED, "2026-11-23T16:44:01.000Z")
    assert "line 1 breaks" in row.note


def test_a_record_in_a_folder_with_another_name_is_damaged(make_record: Make, index: RunIndex) -> None:
    record = make_record()
    record.folder.rename(index.folder / "20261123-164401-beef")
    (row,) = index.list()
    assert (row.status, row.note.split()[-1]) == (DAMAGED, record.id)


def test_a_record_whose_events_make_no_sense_does_not_hide_the_others(make_record: Make, index: RunIndex) -> None:
    odd, fine = make_record(), make_record()
    for number in (1, "two"):
        odd.append("round-finished", round=number, loss=1.0, accuracy=0.5)
    assert {row.id: row.status for row in index.list()} == {odd.id: DAMAGED, fine.id: "created"}


def test_a_run_that_is_deleted_while_the_list_is_made_is_not_in_it(
    make_record: Make, index: RunIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, fine = make_record(), make_record()
    real = RunRecord.open

    def open_late(folder: Path) -> RunRecord:
        if folder == gone.folder:
            shutil.rmtree(folder)
        return real(folder)

    monkeypatch.setattr(RunRecord, "open", open_late)
    assert [row.id for row in index.list()] == [fine.id]


def test_a_run_whose_process_died_is_interrupted_although_its_events_did_not_change(
    make_record: Make, index: RunIndex, play: Any, clock: Any
) -> None:
    clock.now_s = time.time() + 1
    record = make_record()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        play(record).start(pid=process.pid)
        assert [row.status for row in index.list()] == ["running"]
        process.kill()
        process.wait(timeout=60)
    assert [row.status for row in index.list()] == ["interrupted"]


def test_a_run_is_found_by_id_by_its_beginning_and_as_the_latest(
    make_record: Make, index: RunIndex, clock: Any
) -> None:
    first = make_record()
    clock.pass_(60)
    second = make_record()
    assert index.find(first.id) == first.folder
    assert index.find(first.id[:13]) == first.folder
    assert index.find("latest") == second.folder
    assert index.row("latest").id == second.id


@pytest.mark.parametrize("prefix", ["", "nope", "../", "2026112?", "%"])
def test_a_run_that_does_not_exist_is_not_found_and_the_latest_is_named(
    make_record: Make, index: RunIndex, prefix: str
) -> None:
    record = make_record()
    with pytest.raises(NotFoundError, match=f"the latest is {record.id}"):
        index.find(prefix)


def test_a_beginning_that_several_runs_share_is_refused_with_their_names(make_record: Make, index: RunIndex) -> None:
    first, second = make_record(), make_record()
    with pytest.raises(NotFoundError, match=f"2 runs begin with `2026` .{second.id}, {first.id}"):
        index.find("2026")


def test_without_runs_there_is_no_latest(index: RunIndex) -> None:
    with pytest.raises(NotFoundError, match="there are no runs yet"):
        index.find("latest")


def test_a_deleted_run_is_gone_with_all_its_files(make_record: Make, index: RunIndex) -> None:
    first, second = make_record(), make_record()
    index.delete(first.id)
    assert not first.folder.exists()
    assert [row.id for row in index.list()] == [second.id]
    assert not list(index.folder.glob(".deleted-*"))


def test_a_running_run_is_not_deleted(make_record: Make, index: RunIndex, play: Any, clock: Any) -> None:
    clock.now_s = time.time()
    record = make_record()
    play(record).start(pid=os.getpid())
    with pytest.raises(SecureFLError, match=f"run {record.id} is running"):
        index.delete(record.id)
    assert record.folder.exists()


def test_a_run_that_somebody_is_about_to_drive_is_not_deleted(make_record: Make, index: RunIndex) -> None:
    record = make_record()
    with record.driving(), pytest.raises(SecureFLError, match="another process drives run"):
        index.delete(record.id)
    assert record.folder.exists()


def test_a_damaged_run_can_be_deleted(make_record: Make, index: RunIndex) -> None:
    record = make_record()
    (record.folder / "config.json").write_text("{}")
    index.delete(record.id)
    assert not record.folder.exists()
