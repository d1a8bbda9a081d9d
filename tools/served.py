"""The Command Center behind a real socket, and a real browser in front of it: for screenshots and for tests.

Plain HTTP on the loopback address, in threads of this process; whoever is signed in never saw the login page.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from webui.app import create_app
from webui.services import Services
from webui.settings import Settings
from webui.store.sessions import Stage
from webui.store.users import Role

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

__all__ = ["CHROMIUM", "Served", "chromium", "served", "signed_in"]

CHROMIUM = shutil.which("chromium")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"


@dataclass(frozen=True)
class Served:
    """Where it listens, and what it is made of."""

    url: str
    services: Services


@contextmanager
def served(home: Path) -> Iterator[Served]:
    """The Command Center over `home`, on a free port of this machine, in threads of this process."""
    app = create_app(Settings(home=home, insecure_http=True, argon2_memory_kib=64, limits=False))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{server.server_port}", app.extensions["services"])
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def signed_in(browser: Browser, site: Served, role: Role, name: str = "") -> BrowserContext:
    """A context of the browser in which somebody of that role is logged in."""
    services, name = site.services, name or f"some-{role}"
    known = {user.name: user for user in services.users.all()}
    user = known.get(name) or services.users.add(name, role, services.passwords.hash("correct horse battery staple"))
    id = services.sessions.start(user.id, Stage.FULL, address="127.0.0.1", agent=_AGENT)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": services.settings.cookie_name, "value": id, "url": site.url}])
    return context
