"""The application on a fresh home and database, and browsers of any role in front of it.

The client speaks to `https://localhost`, so cookies are the ones that a real browser gets. Logging in is done for
real once (`tests/webui/auth/test_login.py`); elsewhere a session is started in the store, which takes no time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from audit.bundle import write_bundle
from audit.report.pdf import NO_PDF
from audit.report.transparency import AuditLog
from tests.audit.report import example
from webui.app import create_app
from webui.services import Services
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role, User

ROOT = Path(__file__).resolve().parents[2]
BASE = "https://localhost"
PASSWORD = "correct horse battery staple"
TOTP_SECRET = "JBSWY3DPEHPK3PXP" * 2
_TOKEN = re.compile(r'name="csrf[-_]token" (?:content|value)="([^"]+)"')


@dataclass
class Clock:
    """Time that stands still until a test moves it. Starts at a real date, so that forms and codes are plausible."""

    now: float = field(default=1_795_600_000.0)

    def __call__(self) -> float:
        return self.now


class Browser:
    """A client that fills the CSRF token in, as a page's forms and scripts do."""

    def __init__(self, client: FlaskClient, user: User | None = None) -> None:
        self.client, self.user = client, user

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, base_url=BASE, **more)

    def token(self, path: str = "/login") -> str:
        """The CSRF token of the page at `path`."""
        found = _TOKEN.search(self.client.get(path, base_url=BASE, follow_redirects=True).get_data(as_text=True))
        assert found is not None
        return found[1]

    def post(self, path: str, **more: Any) -> TestResponse:
        """POST; `data` or `json` as in Flask's own client."""
        headers = {"X-CSRF-Token": self.token(), **more.pop("headers", {})}
        return self.client.post(path, base_url=BASE, headers=headers, **more)

    def cookie(self, name: str = "__Host-sid") -> str | None:
        found = self.client.get_cookie(name, domain="localhost")
        return found.value if found else None


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with real records (`tests.webui.recorded`), and two signed audits made of example documents.

    Shared by all tests: whoever writes takes `full_home`, a copy.
    """
    home = tmp_path_factory.mktemp("recorded")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SFL_")}
    command = [sys.executable, "-m", "tests.webui.recorded"]
    done = subprocess.run(
        command, cwd=ROOT, env={**environ, "SFL_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sign_audits(home)
    return home


@pytest.fixture
def full_home(recorded: Path, home: Path) -> Path:
    """The home of this test's application, filled with a copy of `recorded`."""
    shutil.copytree(recorded, home, dirs_exist_ok=True)
    return home


def run_ids(home: Path) -> dict[str, str]:
    """Ids by what they are: plain, attacked, private."""
    names = sorted(each.name for each in (home / "runs").iterdir() if each.is_dir())
    return dict(zip(("plain", "attacked", "private"), names, strict=True))


@pytest.fixture
def run_id(recorded: Path, settings: Settings) -> str:
    """The id of a finished run, a copy of which is all that lies in this test's home."""
    id = run_ids(recorded)["plain"]
    shutil.copytree(recorded / "runs" / id, settings.home / "runs" / id, ignore=shutil.ignore_patterns("audit"))
    return id


def sign_audits(home: Path) -> None:
    """Give the plain run an audit that failed, and the private one that passed; the key lies where ours lies."""
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    folder = home / "federation" / "auditor"
    folder.mkdir(parents=True, exist_ok=True)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "sign.pub").write_bytes(public)
    ids, log = run_ids(home), AuditLog(home / "runs" / "audits.log")
    for which, document in (("plain", example.leaking()), ("private", example.document())):
        write_bundle(
            home / "runs" / ids[which] / "audit", document, {"capture.pcap": b"p"}, key, log, pdf=lambda _: NO_PDF
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, argon2_memory_kib=64, limits=False)


@pytest.fixture
def app(settings: Settings, clock: Clock) -> Flask:
    made = create_app(settings, clock=clock)
    made.testing = False  # errors become pages, as in production
    return made


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions["services"]
    return found


@pytest.fixture
def make_user(services: Services) -> Callable[..., User]:
    """`make_user(Role.ADMIN, "anna")`: an account with PASSWORD that needs no change any more."""

    def make(role: Role, name: str = "") -> User:
        user = services.users.add(name or f"some-{role}", role, services.passwords.hash(PASSWORD))
        services.users.set_password(user.id, services.passwords.hash(PASSWORD))
        if user.needs_totp:
            services.users.set_totp(user.id, TOTP_SECRET, 0)
        return services.users.get(user.id)

    return make


@pytest.fixture
def nobody(app: Flask) -> Browser:
    return Browser(app.test_client())


@pytest.fixture
def browser_of(app: Flask, services: Services) -> Callable[[User], Browser]:
    """A browser in which this user is logged in."""

    def open_browser(user: User) -> Browser:
        id = services.sessions.start(user.id, Stage.FULL, address="127.0.0.1", agent="tests")
        client = app.test_client()
        client.set_cookie("__Host-sid", id, domain="localhost", secure=True)
        return Browser(client, user)

    return open_browser


@pytest.fixture
def client_as(
    nobody: Browser, make_user: Callable[..., User], browser_of: Callable[[User], Browser]
) -> Callable[..., Browser]:
    """`client_as("admin")`: a browser of somebody in that role; `client_as(None)`: of nobody."""

    def open_browser(role: Role | str | None, name: str = "") -> Browser:
        return nobody if role is None else browser_of(make_user(Role(role), name))

    return open_browser
