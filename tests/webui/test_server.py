"""The Command Center as it is started: over TLS, as real processes, some of which are killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from secure_fl.errors import ConfigError
from tests.webui.conftest import PASSWORD, ROOT
from webui.auth.totp import matching_step
from webui.server import await_port

_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')


class Served:
    """One `serve`, and a browser in front of it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.output = home.parent / "serve.log"
        self.start()

    def start(self, *more: str) -> None:
        """Start (again)."""
        command = [sys.executable, "-m", "webui", "serve", f"--home={self.home}", f"--port={self.port}", *more]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.output.open("ab"), stderr=subprocess.STDOUT)

    def client(self) -> httpx.Client:
        """Trusts the federation's authority, and nothing else."""
        trust = ssl.create_default_context(cafile=str(self.home / "federation" / "ca.crt"))
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=trust, timeout=10)

    def ready(self, *, worker: str = "ok", limit_s: float = 60.0) -> float:
        """Seconds until the pages answer and the worker is as expected."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            with suppress(httpx.HTTPError, OSError), self.client() as client:
                if client.get("/readyz").json().get("worker") == worker:
                    return time.monotonic() - began
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)
        raise AssertionError(self.output.read_text())

    def process_named(self, word: str, *, other_than: int = 0) -> psutil.Process:
        """The child that serves (`http`) or works (`worker`); waits until there is one with another number."""
        began = time.monotonic()
        while time.monotonic() - began < 10:
            for each in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if word in each.cmdline() and each.pid != other_than:
                        return each
            time.sleep(0.1)
        raise AssertionError(f"no process {word}: {self.output.read_text()}")

    def reborn(self, word: str) -> None:
        """Kill the child that serves or works, and wait for the next one."""
        old = self.process_named(word)
        old.kill()
        self.process_named(word, other_than=old.pid)


@pytest.fixture
def served(home: Path, free_port: int) -> Iterator[Served]:
    serving = Served(home, free_port)
    yield serving
    serving.process.terminate()
    serving.process.wait(30)


def token(client: httpx.Client, path: str) -> dict[str, str]:
    found = _TOKEN.search(client.get(path, follow_redirects=True).text)
    assert found is not None
    return {"csrf_token": found[1]}


def test_the_first_admin_gets_in_over_tls_and_stays_in_whoever_is_killed(served: Served) -> None:
    import pyotp

    served.ready()
    command = [sys.executable, "-m", "webui", "create-admin", "anna", f"--home={served.home}"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    one_time = made.split("password")[1].split()[0]
    with served.client() as client:
        client.post("/login", data=token(client, "/login") | {"name": "anna", "password": one_time})
        choice = {"password": PASSWORD, "again": PASSWORD}
        assert client.post("/login/password", data=token(client, "/login/password") | choice).status_code == 302
        secret = re.search(r'class="secret">([A-Z2-7]+)<', client.get("/login/enrol").text)
        assert secret is not None
        code = pyotp.TOTP(secret[1]).now()
        assert matching_step(secret[1], code, time.time()) is not None
        entered = client.post("/login/enrol", data=token(client, "/login/enrol") | {"code": code})
        assert (entered.status_code, entered.headers["Location"]) == (302, "/")
        assert client.get("/admin/users").status_code == 200

        served.reborn("http")
        served.reborn("worker")
        assert served.ready() < 10
        assert answer(client, "/admin/users").status_code == 200
        for each in served.process_named("http").children():
            each.kill()  # the process in it that answers
        assert served.ready() < 10
        assert answer(client, "/admin/users").status_code == 200

        served.process.send_signal(signal.SIGKILL)  # and the one that watches over both
        served.process.wait()
        served.start()
        assert served.ready() < 30
        assert "Nothing was altered" in answer(client, "/admin/log").text


def answer(client: httpx.Client, path: str, *, limit_s: float = 10.0) -> httpx.Response:
    """The first answer, of whoever serves by then; one that was killed may take a connection with it."""
    began = time.monotonic()
    while True:
        try:
            return client.get(path)
        except httpx.TransportError:
            assert time.monotonic() - began < limit_s
            time.sleep(0.1)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_only_tls_is_spoken_and_no_old_one(served: Served) -> None:
    served.ready()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{served.port}/healthz", timeout=5)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"https://127.0.0.1:{served.port}/healthz", verify=old, timeout=5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host=0.0.0.0", "--insecure-http"), "--insecure-http on 0.0.0.0"),
        (("--certificate=nowhere.crt", "--key=nowhere.key"), "no file nowhere.crt"),
        (("--certificate=nowhere.crt",), "belong together"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_listens(
    home: Path, arguments: tuple[str, ...], words: str
) -> None:
    command = [sys.executable, "-m", "webui", "serve", f"--home={home}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr and "fix:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "in use"), ("192.0.2.1", "assign")])
def test_a_port_that_cannot_be_had_is_told_at_once(free_port: int, host: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(ConfigError) as refused:
        await_port(host, free_port, limit_s=0.0)
    assert words in refused.value.why
    await_port("127.0.0.1", free_port)


def test_secure_fl_serve_is_the_same_program(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_fl.cli.main import app

    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: seen.append(command))
    with pytest.raises(SystemExit):
        app(["serve", "--port", "9000", "--insecure-http", "--create-admin", "anna"])
    (command,) = seen
    assert command[1:4] == ["-m", "webui", "serve"]
    assert {f"{home}", "--port=9000", "--insecure-http", "--create-admin=anna"} <= set(command)


def test_without_the_extra_one_error_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    from secure_fl.cli.main import app

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flask" else find(name))
    with pytest.raises(SystemExit) as ended:
        app(["serve"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "not installed" in told and "securefl-vision[ui]" in told
