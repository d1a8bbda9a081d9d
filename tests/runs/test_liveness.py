from __future__ import annotations

import os
import subprocess
import sys
import time

from secure_fl.runs import RunStatus, RunSummary
from secure_fl.runs.liveness import is_alive, live_status


def test_a_process_that_lives_and_is_older_than_the_event_is_alive() -> None:
    assert is_alive(os.getpid(), time.time())


def test_a_younger_process_with_the_same_number_is_another_one() -> None:
    assert not is_alive(os.getpid(), time.time() - 10 * 365 * 86400)


def test_a_process_that_has_ended_is_not_alive_even_while_nobody_has_waited_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print()"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    started_s = time.time() + 1
    process.stdout.read()
    process.stdout.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie now
    assert not is_alive(process.pid, started_s)
    process.wait(timeout=60)
    assert not is_alive(process.pid, started_s)


def test_without_a_process_nothing_is_alive() -> None:
    assert not is_alive(None, time.time())
    assert not is_alive(os.getpid(), None)


def test_only_a_run_that_claims_to_run_is_looked_at() -> None:
    for status in RunStatus:
        expected = RunStatus.INTERRUPTED if status is RunStatus.RUNNING else status
        assert live_status(RunSummary(recorded_status=status)) is expected
