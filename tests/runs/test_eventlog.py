"""The file edge of the chain: several processes, torn lines, full disks, and readers that follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import IntegrityError, NotFoundError, SecureFLError
from secure_fl.runs.eventlog import EventLog, EventReader

Rewrite = Callable[[Path, Callable[[list[Any]], list[Any]]], None]


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events.jsonl", clock=lambda: 1_700_000_000.0)
    for number in range(3):
        log.append("note", {"number": number, "text": "ä" * 100})
    return log


def run_python(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_what_was_appended_is_read_in_order(log: EventLog) -> None:
    assert [(event.seq, event["number"]) for event in log.read()] == [(0, 0), (1, 1), (2, 2)]


def test_an_append_reads_only_the_end_of_the_file(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append("note", {"text": "x" * 3900})
    for _ in range(30):
        log.append("note", {"text": "y" * 3900})
    read_bytes: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read_bytes.append(args[1]) or real(*args))
    log.append("note", {})
    assert log.path.stat().st_size > 100_000
    assert sum(read_bytes) <= 2 * 8192
    assert len(log.read()) == 35


def test_processes_that_append_in_turn_keep_one_chain(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from secure_fl.runs.eventlog import EventLog
log = EventLog(Path(sys.argv[1]))
for number in range(25):
    log.append("note", {"who": sys.argv[2], "number": number})
"""
    path = tmp_path / "events.jsonl"
    writers = [run_python(script, str(path), who) for who in "abcd"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    events = EventLog(path).read()
    assert len(events) == 100
    for who in "abcd":
        assert [event["number"] for event in events if event["who"] == who] == list(range(25))


@pytest.mark.parametrize("kept_bytes", [1, 40, -1])
def test_a_torn_line_is_ignored_by_readers_and_moved_aside_by_the_next_append(log: EventLog, kept_bytes: int) -> None:
    whole = log.path.read_bytes()
    torn = log.path.read_bytes().splitlines(keepends=True)[-1][:kept_bytes]
    log.path.write_bytes(whole + torn)
    reader = EventReader(log.path)
    assert len(reader.poll()) == 3
    assert reader.torn_bytes == len(torn)

    log.append("note", {"number": 3})
    events = log.read()
    assert [event.kind for event in events] == ["note", "note", "note", "record-repaired", "note"]
    assert (events[3]["file"], events[3]["bytes"]) == ("events.torn-1", len(torn))
    assert log.path.with_name("events.torn-1").read_bytes() == torn


def test_a_second_torn_line_gets_a_name_of_its_own(log: EventLog) -> None:
    for _ in range(2):
        with log.path.open("ab") as file:
            file.write(b'{"half')
        log.append("note", {})
    assert sorted(path.name for path in log.path.parent.glob("events.torn-*")) == ["events.torn-1", "events.torn-2"]
    log.read()


def test_a_log_that_is_nothing_but_a_torn_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"no')
    EventLog(path).append("note", {})
    assert [event.kind for event in EventLog(path).read()] == ["record-repaired", "note"]


def test_nul_bytes_that_a_power_cut_left_at_the_end_count_as_torn(log: EventLog) -> None:
    with log.path.open("ab") as file:
        file.write(b"\0" * 5000)
    log.append("note", {})
    assert log.read()[-2].kind == "record-repaired"


@pytest.mark.parametrize("line", [1, 2, 3])
def test_an_edited_line_is_named(log: EventLog, tampered: Rewrite, line: int) -> None:
    def edit(documents: list[Any]) -> list[Any]:
        documents[line - 1]["number"] = 99
        return documents

    tampered(log.path, edit)
    with pytest.raises(IntegrityError, match=rf"events\.jsonl: line {line} breaks.*does not match its hash"):
        log.read()


def test_a_removed_and_an_inserted_line_are_named(log: EventLog, tampered: Rewrite) -> None:
    whole = log.path.read_text(encoding="utf-8")
    tampered(log.path, lambda documents: [documents[0], documents[2]])
    with pytest.raises(IntegrityError, match="line 2 breaks"):
        log.read()
    log.path.write_text(whole, encoding="utf-8")
    tampered(log.path, lambda documents: [*documents, documents[1]])
    with pytest.raises(IntegrityError, match="line 4 breaks"):
        log.read()


def test_nothing_is_appended_to_a_last_line_that_was_altered(log: EventLog, tampered: Rewrite) -> None:
    def edit(documents: list[Any]) -> list[Any]:
        documents[-1]["number"] = 99
        return documents

    tampered(log.path, edit)
    before = log.path.read_bytes()
    with pytest.raises(IntegrityError, match="the last line breaks"):
        log.append("note", {})
    assert log.path.read_bytes() == before


def test_a_malformed_event_leaves_the_file_as_it_was(log: EventLog) -> None:
    before = log.path.read_bytes()
    with pytest.raises(ValueError, match="reserved"):
        log.append("note", {"seq": 1})
    assert log.path.read_bytes() == before


def test_a_full_disk_is_reported_and_leaves_no_half_of_a_line(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from secure_fl.errors import SecureFLError
from secure_fl.runs.eventlog import EventLog
path = Path(sys.argv[1])
log = EventLog(path)
log.append("note", {"text": "x" * 100})
size = path.stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 150, resource.RLIM_INFINITY))
try:
    log.append("note", {"text": "y" * 100})
except SecureFLError as error:
    print(error.what, "|", error.why)
assert path.stat().st_size == size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append("note", {"text": "z"})
"""
    path = tmp_path / "events.jsonl"
    writer = run_python(script, str(path))
    said, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert said == f"cannot write {path} | File too large\n"
    assert [event["text"][:1] for event in EventLog(path).read()] == ["x", "z"]


def test_a_log_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecureFLError, match="cannot write"):
        EventLog(tmp_path / "missing" / "events.jsonl").append("note", {})


def test_a_reader_follows_what_others_append(log: EventLog) -> None:
    reader = EventReader(log.path)
    assert len(reader.poll()) == 3
    assert reader.poll() == []
    log.append("note", {"number": 3})
    log.append("note", {"number": 4})
    assert [event["number"] for event in reader.poll()] == [3, 4]


def test_a_reader_waits_for_a_line_that_is_half_written(log: EventLog) -> None:
    reader = EventReader(log.path)
    reader.poll()
    log.append("note", {"number": 3})
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-10])
    assert reader.poll() == []
    log.path.write_bytes(whole)
    assert [event["number"] for event in reader.poll()] == [3]


def test_a_reader_notices_when_the_file_is_cut(log: EventLog) -> None:
    reader = EventReader(log.path)
    reader.poll()
    log.path.write_bytes(log.path.read_bytes()[:10])
    with pytest.raises(IntegrityError, match="cut short"):
        reader.poll()


def test_a_missing_log_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"events\.jsonl is missing"):
        EventLog(tmp_path / "events.jsonl").read()


def test_each_line_is_one_standard_json_object(log: EventLog) -> None:
    for line in log.path.read_text(encoding="utf-8").splitlines():
        assert {"seq", "time", "kind", "prev", "hash"} <= json.loads(line).keys()


def test_the_file_may_be_read_but_not_written_by_others(log: EventLog) -> None:
    assert log.path.stat().st_mode & 0o777 & ~0o644 == 0
