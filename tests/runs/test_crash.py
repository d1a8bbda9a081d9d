"""A record survives SIGKILL at any moment: what was acknowledged is there, the chain holds, the run goes on."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.runs import RunRecord

SCRIPT = Path(__file__).with_name("crash_scenario.py")
ROOT = Path(__file__).parents[2]


def load_scenario() -> Any:
    spec = importlib.util.spec_from_file_location("crash_scenario", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scenario = load_scenario()


def run_scenario(*arguments: str) -> subprocess.Popen[str]:
    # The folder of a script comes first on its path, so the tree is named besides.
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def events_acknowledged(lines: list[str]) -> int:
    return sum(line.split()[0] in ("started", "opened", "finished") for line in lines)


@pytest.mark.parametrize("begins_torn", [False, True])
def test_killed_at_any_point_a_record_keeps_what_it_acknowledged_and_goes_on(
    make_record: Callable[..., RunRecord], tmp_path: Path, begins_torn: bool
) -> None:
    template = make_record(rounds=scenario.ROUNDS)
    if begins_torn:  # then the points are also those within the repair
        with template.log.path.open("ab") as file:
            file.write(b'{"torn')
    born = len(template.events())
    (tmp_path / "points").mkdir()
    with run_scenario("points", str(template.folder), str(tmp_path / "points")) as process:
        reports = [json.loads(line) for line in process.stdout or ()]
    assert process.returncode == 0
    assert [report["killed"] for report in reports] == [True] * (len(reports) - 1) + [False], reports[-1]
    assert len(reports) > 30

    for report in reports:
        record, acknowledged = RunRecord.open(Path(report["folder"])), report["acknowledged"]
        record.verify()
        assert len(record.events()) - born >= events_acknowledged(acknowledged), report
        last = record.last_checkpoint()
        finished = [int(line.split()[1]) for line in acknowledged if line.startswith("finished")]
        assert (last.round if last else -1) >= max(finished, default=-1), report
        if last:
            np.testing.assert_array_equal(record.load_checkpoint(last), scenario.vector(last.round))

        scenario.resume(record, scenario.ROUNDS)
        record.verify()
        last = record.last_checkpoint()
        assert last is not None
        assert [row.round for row in record.rounds()] == [0, 1, 2]
        np.testing.assert_array_equal(record.load_checkpoint(last), scenario.vector(2))
        assert not list((record.folder / "checkpoints").glob(".*")), "what the crash left was swept"


def test_killed_again_and_again_while_it_works_a_run_still_moves_on(record: RunRecord) -> None:
    reached = -1
    for kill_after in (1, 4, 2, 9, 23):
        with run_scenario("drive", str(record.folder)) as process:
            assert process.stdout is not None
            seen = [process.stdout.readline() for _ in range(kill_after)]
            process.kill()  # it works on meanwhile, so this may strike anywhere
            seen += process.stdout.readlines()
        assert process.returncode == -9
        record.verify()
        last = record.last_checkpoint()
        finished = [int(line.split()[1]) for line in seen if line.startswith("finished") and line.endswith("\n")]
        assert (last.round if last else -1) >= max(finished, default=reached)
        reached = last.round if last else -1
        if last:
            np.testing.assert_array_equal(record.load_checkpoint(last), scenario.vector(last.round))
    assert reached >= 6
    assert record.summary().attempts == 5
    assert [row.round for row in record.rounds()] == list(range(reached + 1))
