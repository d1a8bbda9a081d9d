"""gunicorn around the application: one process, sixteen threads, TLS 1.2 and up, and a worker beside.

One process, because limits and live streams are counted in it; threads, because each live page holds one for minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from ssl import SSLContext, TLSVersion
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from secure_fl.errors import ConfigError
from webui.app import create_app
from webui.settings import Settings

__all__ = ["certificates", "serve"]

THREADS = 16


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._settings, self._options = settings, options
        super().__init__()

    def load_config(self) -> None:
        for key, value in self._options.items():
            self.cfg.set(key, value)

    def load(self) -> Flask:
        return create_app(self._settings)


def serve(settings: Settings, *, workers: int = 1) -> int:
    """Serve until a signal ends it, with `workers` (0 or 1) processes that run jobs; returns the exit code."""
    certificate, key = certificates(settings)
    create_app(settings)  # migrations, and every refusal, before anything listens
    scheme = "http" if settings.insecure_http else "https"
    print(f"Command Center on {scheme}://{settings.host}:{settings.port}/  (Ctrl-C ends it)", flush=True)
    options = {
        "bind": f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}",
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS,
        "timeout": 0,
        "graceful_timeout": 5,
        "keepalive": 5,
        "loglevel": "warning",
        "limit_request_line": 8190,
        "certfile": certificate and str(certificate),
        "keyfile": key and str(key),
        "ssl_context": _tls,
        "control_socket_disable": True,
    }
    jobs = [_start_worker(settings) for _ in range(workers)]
    try:
        _Server(settings, options).run()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        for each in jobs:
            each.terminate()
        for each in jobs:
            each.wait()
    return 0


def certificates(settings: Settings) -> tuple[Path | None, Path | None]:
    """The pair to serve with: the given one, or the federation's, which is made where there is none.

    Raises:
        ConfigError: it cannot be made or read.
    """
    if settings.insecure_http:
        return None, None
    folder = settings.home / "federation"
    certificate = settings.certificate or folder / "server.crt"
    key = settings.certificate_key or folder / "server.key"
    if settings.certificate is None and not certificate.exists():
        _provision(settings)
    for each in (certificate, key):
        if not each.is_file():
            raise ConfigError(f"no file {each}", fix="give --certificate and --key, or --insecure-http on loopback")
    return certificate, key


def _provision(settings: Settings) -> None:
    """In a process of its own: whoever makes keys imports Flower, and we never do."""
    command = [sys.executable, "-m", "secure_fl", "--home", str(settings.home), "federation", "provision"]
    done = subprocess.run(  # noqa: S603
        [*command, "--sites", "1", *(f"--host={each}" for each in settings.hosts if ":" not in each)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError("no certificates could be made", why=done.stderr.strip()[-300:])


def _start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "webui", "worker", "--home", str(settings.home)])  # noqa: S603


def _tls(config: Any, default: Any) -> SSLContext:
    context: SSLContext = default()
    context.minimum_version = TLSVersion.TLSv1_2
    return context
