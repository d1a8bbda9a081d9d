"""Records kept open: they follow what grows, start anew where that fails, and open nothing that is no run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.errors import IntegrityError, NotFoundError
from tests.webui.conftest import run_ids
from webui.reading.records import Records, Run


@pytest.fixture
def own(recorded: Path, tmp_path: Path) -> Path:
    """A home with a copy of the plain run."""
    shutil.copytree(recorded / "runs", tmp_path / "runs")
    return tmp_path


def test_a_record_that_grew_is_read_on_from_where_it_was(own: Path) -> None:
    records, id = Records(own), run_ids(own)["plain"]
    before = records.run(id)
    before.record.append("site-refused", who="mallory", reason="no certificate")
    after = records.run(id)
    assert after.events[: len(before.events)] == before.events
    assert (after.seq, after.summary.refused[0].who) == (before.seq + 1, "mallory")


def test_a_record_that_was_replaced_is_read_from_its_start(own: Path) -> None:
    records, id = Records(own), run_ids(own)["plain"]
    path = records.run(id).record.log.path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert len(records.run(id).events) == len(lines) - 2


def test_an_altered_record_is_refused_and_names_the_line(own: Path) -> None:
    records, id = Records(own), run_ids(own)["plain"]
    path = own / "runs" / id / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":7', 1))
    with pytest.raises(IntegrityError, match="line"):
        records.run(id)


@given(st.text())
def test_no_text_but_the_id_of_a_run_opens_anything(text: str) -> None:
    with pytest.raises(NotFoundError):
        Records(Path("nowhere")).run(text)


def test_the_signature_changes_with_every_event_and_every_record(own: Path) -> None:
    records, ids = Records(own), run_ids(own)
    first = records.signature()
    records.run(ids["plain"]).record.append("site-refused", who="m", reason="r")
    second = records.signature()
    shutil.rmtree(own / "runs" / ids["private"])
    assert len({repr(each) for each in (first, second, records.signature())}) == 3
    assert Records(own / "nowhere").signature() is None


def test_several_runs_come_in_the_order_asked_for_and_each_once(records: Records, plain: Run, private: Run) -> None:
    assert [run.id for run in records.some([private.id, plain.id, private.id])] == [private.id, plain.id]
