"""One sum a round: repeated for the same survivors, never opened for others."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from secure_fl.app.secagg.released import Released, Sum
from secure_fl.errors import IntegrityError
from secure_fl.secagg.errors import SlotReused

OPENED = Sum("r1", 3, 0, "a" * 64, (0, 1, 2, 4))
OTHERS = [
    replace(OPENED, survivors=(0, 1, 2)),
    replace(OPENED, survivors=(0, 1, 2, 3, 4)),
    replace(OPENED, model_sha256="b" * 64),
    replace(OPENED, group=1),
]


@pytest.fixture(params=["file", "memory"])
def released(request, tmp_path: Path) -> Released:
    return Released(tmp_path / "kit" / "opened.jsonl" if request.param == "file" else None)


@pytest.mark.parametrize("other", OTHERS)
def test_a_round_that_was_opened_is_opened_for_nothing_else(released, other):
    released.enter(OPENED)
    with pytest.raises(SlotReused, match="a second sum of round 3"):
        released.check(other)
    with pytest.raises(SlotReused):
        released.enter(other)


def test_the_same_sum_may_be_opened_again_and_other_rounds_and_runs_too(released):
    for opened in (OPENED, OPENED, replace(OTHERS[0], round=4), replace(OTHERS[0], run="r2")):
        released.check(opened)
        released.enter(opened)


def test_what_was_opened_is_remembered_by_the_next_process(tmp_path):
    path = tmp_path / "opened.jsonl"
    Released(path).enter(OPENED)
    Released(path).enter(OPENED)  # again: nothing new to write
    assert len(path.read_bytes().splitlines()) == 1 and stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SlotReused):
        Released(path).enter(OTHERS[0])


def test_an_altered_log_is_refused(tmp_path):
    path = tmp_path / "opened.jsonl"
    Released(path).enter(OPENED)
    path.write_bytes(path.read_bytes().replace(b"[0,1,2,4]", b"[0,1,2,3]"))
    with pytest.raises(IntegrityError):
        Released(path)
