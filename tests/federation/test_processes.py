import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from secure_fl.errors import FederationError
from secure_fl.federation.processes import Child

ECHO = """
import json, os, sys
from secure_fl.federation.processes import claim_stdout
report = claim_stdout()
print("this is not for the launcher")
report({"pid": os.getpid()})
for line in sys.stdin:
    told = json.loads(line)
    if told == {"die": True}:
        sys.exit("something broke")
    report(told)
"""
STUBBORN = """
import signal, sys, time
from secure_fl.federation.processes import claim_stdout
signal.signal(signal.SIGTERM, signal.SIG_IGN)
claim_stdout()({"ready": True})
while True:
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`start(source)`: a child that runs this program."""
    children = []

    def begin(source: str) -> Child:
        (tmp_path / "program.py").write_text(source)
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        children.append(Child("program", log=tmp_path / "program.log", environ=environ))
        return children[-1]

    yield begin
    for child in children:
        child.stop(0.1)


def test_lines_go_both_ways_and_prints_go_to_the_log(start, tmp_path):
    child = start(ECHO)
    assert child.receive(30) == {"pid": child.pid}
    child.send({"a": [1, "ä"]})
    assert child.receive(30) == {"a": [1, "ä"]}
    assert "not for the launcher" in (tmp_path / "program.log").read_text()


def test_no_line_in_time_is_none_and_not_an_error(start):
    child = start(ECHO)
    assert child.receive(30) is not None
    assert child.receive(0.01) is None


def test_a_child_that_dies_is_an_error_with_its_last_words(start):
    child = start(ECHO)
    child.receive(30)
    child.send({"die": True})
    with pytest.raises(FederationError, match="ended unexpectedly") as caught:
        child.receive(30)
    assert caught.value.why == "something broke" and "program.log" in caught.value.fix
    with pytest.raises(FederationError):
        child.send({"a": 1})


def test_an_error_that_the_child_reports_is_raised(start):
    child = start(ECHO)
    child.receive(30)
    child.send({"error": "port 80 is taken"})
    with pytest.raises(FederationError, match="port 80 is taken"):
        child.receive(30)


def test_stopping_ends_a_child_and_even_one_that_ignores_us(start):
    polite, stubborn = start(ECHO), start(STUBBORN)
    for child in (polite, stubborn):
        assert child.receive(30)
        child.stop(0.2)
        assert not child.alive() and not psutil.pid_exists(child.pid)


LAUNCHER = """
import os, sys, time
from pathlib import Path
from secure_fl.federation.processes import Child
host = Child("secure_fl.federation.site_host", log=Path(sys.argv[1]) / "host.log", environ=os.environ)
while host.receive(1) != {"ready": True}:
    pass
host.send({"op": "site", "name": "site-0", "log": str(Path(sys.argv[1]) / "site.log"),
           "settings": {"address": "127.0.0.1:9", "kit": sys.argv[1], "name": "site-0", "node_config": {}}})
print(host.pid, flush=True)
time.sleep(600)
"""


def test_when_the_launcher_is_killed_its_children_end_by_themselves(tmp_path):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE)
    host = psutil.Process(int(launcher.stdout.readline()))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    gone, alive = psutil.wait_procs([host], timeout=30)
    assert gone and not alive


def test_a_fork_that_cannot_start_says_why_in_its_own_log_and_the_host_lives_on(tmp_path):
    host = Child("secure_fl.federation.site_host", log=tmp_path / "host.log", environ=os.environ)
    try:
        deadline = time.monotonic() + 60
        while host.receive(1) != {"ready": True}:
            assert time.monotonic() < deadline
        for _ in range(2):
            host.send(
                {
                    "op": "site",
                    "name": "site-0",
                    "log": str(tmp_path / "site.log"),
                    "settings": {"address": "127.0.0.1:9", "kit": str(tmp_path), "name": "site-0", "node_config": {}},
                }
            )
            started, ended = host.receive(30), host.receive(30)
            assert started["started"] == "site-0" and (ended["ended"], ended["status"]) == ("site-0", 1)
        assert "cannot read the node key" in (tmp_path / "site.log").read_text()
        assert "Traceback" not in (tmp_path / "site.log").read_text()
    finally:
        host.stop()
