"""What a job takes from the pages: a third of their share, in every session that it opens."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from webui.worker.children import Child

# A session of its own, and another one below it, until a line comes.
_NESTED = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], start_new_session=True)"


def weights(child: Child) -> list[str]:
    return [Path(f"/proc/{each.pid}/autogroup").read_text().split()[-1] for each in child.family()]


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions are not weighed on this system")
def test_each_session_of_a_job_weighs_less_than_the_pages_do() -> None:
    process = subprocess.Popen([sys.executable, "-c", _NESTED], stdin=subprocess.PIPE, start_new_session=True)
    child = Child("job", process.pid, psutil.Process(process.pid).create_time(), process)
    began = time.monotonic()
    try:
        while weights(child) != ["5", "5"]:
            assert time.monotonic() - began < 30, "it did not come to that in time"
            child.stay_low(child.family())
            time.sleep(0.05)
    finally:
        process.communicate(b"\n", timeout=30)
    assert child.family() == []
