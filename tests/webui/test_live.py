"""Streams: nothing is lost or told twice, nobody has too many, and who may no longer look is told nothing more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure_fl.runs import RunRecord
from tests.webui.conftest import Browser, run_ids
from webui.live import MOST, MOST_OF_USER, BusyError, Hub
from webui.reading.records import Records
from webui.services import Services
from webui.store.users import Role

_ID = re.compile(r"^id: (\d+)$", re.MULTILINE)


def yes() -> bool:
    return True


def numbers(frames: Iterator[str]) -> list[int]:
    """The numbers of all frames, to the end of the stream."""
    return [int(each) for each in _ID.findall("".join(frames))]


@pytest.fixture
def record(recorded: Path, tmp_path: Path) -> RunRecord:
    """A run that has two events left to write: the last two lines are taken away."""
    folder = tmp_path / "runs" / run_ids(recorded)["plain"]
    shutil.copytree(recorded / "runs" / folder.name, folder)
    log = folder / "events.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))
    return RunRecord.open(folder)


def finish(record: RunRecord) -> None:
    record.append("run-finished", status="interrupted", error=None)


def test_a_reader_sees_every_event_once_and_then_the_end(record: RunRecord) -> None:
    hub, before = Hub(lambda: 0, poll_s=0.01), len(record.events())
    stream = hub.run(hub.lease("anna", "tab"), record, -1, yes)
    seen = next(stream)
    finish(record)
    text = seen + "".join(stream)
    assert [int(each) for each in _ID.findall(text)] == list(range(before + 1))
    assert text.endswith("event: end\ndata: {}\n\n")


def test_a_reader_that_comes_back_goes_on_after_what_it_saw(record: RunRecord) -> None:
    finish(record)
    hub, last = Hub(lambda: 0, poll_s=0.01), len(record.events()) - 1
    assert numbers(hub.run(hub.lease("anna", "tab"), record, 7, yes)) == list(range(8, last + 1))


def test_frames_are_the_events_of_the_record(record: RunRecord) -> None:
    finish(record)
    hub = Hub(lambda: 0, poll_s=0.01)
    text = "".join(hub.run(hub.lease("anna", "tab"), record, -1, yes))
    told = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith('data: {"')]
    assert [(each["seq"], each["kind"]) for each in told] == [(each.seq, each.kind) for each in record.events()]


def test_a_process_that_is_killed_is_told_of_once_though_it_writes_nothing(record: RunRecord) -> None:
    writer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record.append("run-started", grid="local", pid=writer.pid, resumed_from_round=None)
    hub = Hub(lambda: 0, poll_s=0.01)
    stream = hub.run(hub.lease("anna", "tab"), record, -1, yes)
    seen = next(stream) + next(stream)
    assert seen.count("id: ") == len(record.events()) and "event: state" not in seen
    writer.kill()  # nobody has waited for it yet, so it is a zombie: that is gone, too
    assert next(stream) == "event: state\ndata: {}\n\n"
    writer.wait()
    late = hub.run(hub.lease("anna", "another"), record, len(record.events()), yes)
    assert next(late).startswith("retry") and next(late) == "event: state\ndata: {}\n\n"
    finish(record)
    assert "event: state" not in "".join(stream)


def test_the_home_changes_when_a_process_that_nobody_ordered_is_killed(record: RunRecord) -> None:
    writer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record.append("run-started", grid="local", pid=writer.pid, resumed_from_round=None)
    records = Records(record.folder.parent.parent)
    before = records.signature()
    assert records.signature() == before
    writer.kill()
    writer.wait()
    after = records.signature()
    assert after != before and records.signature() == after


def test_the_home_channel_tells_of_a_change_and_counts_on_over_restarts() -> None:
    state, time_s = [0], [1000.0]
    hub = Hub(lambda: state[0], clock=lambda: time_s[0], poll_s=0.01)
    stream = hub.home(hub.lease("anna", "tab"), -1, yes)
    next(stream)
    (first,) = _ID.findall(next(stream))
    state[0] = 1
    (second,) = _ID.findall(next(stream))
    later = Hub(lambda: state[0], clock=lambda: 1001.0, poll_s=0.01)
    stream = later.home(later.lease("anna", "tab"), int(second), yes)
    next(stream)
    (third,) = _ID.findall(next(stream))
    assert int(first) < int(second) < int(third)


def test_one_user_has_two_streams_and_a_tab_replaces_its_own() -> None:
    hub = Hub(lambda: 0)
    leases = [hub.lease("anna", f"tab {number}") for number in range(MOST_OF_USER)]
    with pytest.raises(BusyError):
        hub.lease("anna", "one more")
    again = hub.lease("anna", "tab 0")
    assert leases[0].over and not leases[1].over and not again.over
    assert not hub.lease("olga", "tab 0").over


def test_all_users_together_have_twelve() -> None:
    hub = Hub(lambda: 0)
    for number in range(MOST):
        hub.lease(f"user {number}", "tab")
    with pytest.raises(BusyError):
        hub.lease("late", "tab")


def test_a_stream_that_ended_gives_its_place_back(record: RunRecord) -> None:
    finish(record)
    hub = Hub(lambda: 0, poll_s=0.01)
    for number in range(2 * MOST_OF_USER):
        assert numbers(hub.run(hub.lease("anna", f"tab {number}"), record, -1, yes))


def test_who_may_no_longer_look_is_told_nothing_more(record: RunRecord) -> None:
    finish(record)
    hub = Hub(lambda: 0, poll_s=0.01)
    assert numbers(hub.run(hub.lease("anna", "tab"), record, -1, lambda: False)) == []


def test_a_replaced_stream_ends(record: RunRecord) -> None:
    hub = Hub(lambda: 0, poll_s=0.01)
    stream = hub.run(hub.lease("anna", "tab"), record, -1, yes)
    next(stream)
    next(stream)
    hub.lease("anna", "tab")
    assert list(stream) == []


def test_the_stream_of_a_run_is_served_and_goes_on_after_last_event_id(
    full_home: Path, client_as: Callable[..., Browser]
) -> None:
    id = run_ids(full_home)["plain"]
    browser = client_as(Role.VIEWER)
    answer = browser.get(f"/api/v1/runs/{id}/events", headers={"Last-Event-ID": "17"})
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert [int(each) for each in _ID.findall(answer.get_data(as_text=True))] == [18, 19, 20]
    assert browser.get("/api/v1/runs/20200101-000000-abcd/events").status_code == 404


def test_a_third_live_page_is_told_to_come_back_later(
    services: Services, full_home: Path, client_as: Callable[..., Browser]
) -> None:
    browser = client_as(Role.VIEWER)
    assert browser.user is not None
    for number in range(MOST_OF_USER):
        services.hub.lease(browser.user.id, str(number))
    answer = browser.get(f"/api/v1/runs/{run_ids(full_home)['plain']}/events?tab=third")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "15")
