"""The servers that `benchmarks.webui` asks: ours and the peers', each a process, and how each wants to be asked.

All listen on the loopback address, in plain HTTP, and serve the same model file with one torch thread. Ours is asked
as a logged-in viewer, with the session cookie, the token against forged requests and the gate for uploads in force;
only the limit of 60 pictures a minute and user is off.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from webui.services import open_services
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role

__all__ = ["Asker", "FastApi", "Gradio", "Ours", "let_in", "ours", "started", "worker"]

_START_S = 60.0
_OURS = """
import sys
from pathlib import Path
from webui.server import serve_pages
from webui.settings import Settings
serve_pages(Settings(home=Path(sys.argv[1]), port=int(sys.argv[2]), insecure_http=True, limits=False))
"""


class Asker(ABC):
    """One client of one server: a connection that stays open. `predict` asks about one JPEG and checks the answer."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0)

    @abstractmethod
    def predict(self, jpeg: bytes) -> None:
        """Raises when the answer is not one."""


class Ours(Asker):
    """A viewer's browser."""

    def __init__(self, port: int, home: Path, name: str = "measure") -> None:
        super().__init__(port)
        settings = Settings(home=home, port=port, insecure_http=True)
        services = open_services(settings)
        known = services.users.credentials(name)
        user = known.user if known else services.users.add(name, Role.VIEWER, services.passwords.hash("x" * 16))
        id = services.sessions.start(user.id, Stage.FULL, address="127.0.0.1", agent="benchmark")
        self.http.cookies.set(settings.cookie_name, id, domain="127.0.0.1")
        page = self.http.get("/classify").text
        token = page.split('name="csrf-token" content="')[1].split('"')[0]
        self._headers = {"X-CSRF-Token": token, "Content-Type": "image/jpeg"}

    def predict(self, jpeg: bytes) -> None:
        answer = self.http.post("/api/v1/predict", content=jpeg, headers=self._headers)
        _require_five(answer.raise_for_status().json()["guesses"])


class FastApi(Asker):
    """The bytes as they are, and JSON back."""

    def predict(self, jpeg: bytes) -> None:
        _require_five(self.http.post("/predict", content=jpeg).raise_for_status().json())


class Gradio(Asker):
    """Gradio's documented way for programs: upload, call, and read the result from a stream of events."""

    def predict(self, jpeg: bytes) -> None:
        (path,) = self.http.post("/gradio_api/upload", files={"files": ("a.jpg", jpeg)}).raise_for_status().json()
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = self.http.post("/gradio_api/call/predict", json={"data": [picture]}).raise_for_status().json()
        with self.http.stream("GET", f"/gradio_api/call/predict/{call['event_id']}") as events:
            lines = list(events.iter_lines())
        (data,) = [line for before, line in itertools.pairwise(lines) if before == "event: complete"]
        _require_five(json.loads(data.removeprefix("data: "))[0]["confidences"])


@contextmanager
def started(command: Sequence[str], *, log: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run `command` with a free port as its last argument until the block ends; port and process once it listens.

    Raises:
        RuntimeError: it ended, or did not listen within a minute; says what it printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    with log.open("wb") as out:
        process = subprocess.Popen([*command, str(port)], stdout=out, stderr=out, env=environ, start_new_session=True)
    try:
        deadline = time.monotonic() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[-2:]} does not listen: {log.read_text(errors='replace')[-800:]}")
            time.sleep(0.1)
        yield port, _who_listens(process.pid, port)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def worker(home: Path, *, log: Path) -> Iterator[None]:
    """The process that runs the jobs of `home`, until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "webui", "worker", f"--home={home}"], stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def let_in(home: Path, run_id: str) -> None:
    """Put the model of a run in service, as an operator and an auditor do."""
    services = open_services(Settings(home=home))
    operator, auditor = (
        services.users.add(f"the-{role}", role, "no password") for role in (Role.OPERATOR, Role.AUDITOR)
    )
    id = services.serving.propose(run_id, services.models.model_sha256_of(run_id), operator.id)
    services.serving.approve(id, auditor.id, services.serving.list()[0].version)


def ours(home: Path) -> list[str]:
    """The command of our server over `home`."""
    return [sys.executable, "-c", _OURS, str(home)]


def _require_five(guesses: Sized) -> None:
    if len(guesses) != 5:
        raise RuntimeError(f"{len(guesses)} guesses instead of five")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _who_listens(pid: int, port: int) -> psutil.Process:
    """The youngest process of the family that holds the port: gunicorn's worker, not its master."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    holders = [
        each for each in family if any(c.status == "LISTEN" and c.laddr.port == port for c in each.net_connections())
    ]
    return max(holders, key=lambda each: each.create_time())
