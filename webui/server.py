"""`serve`: two processes side by side, the pages and the worker; whichever dies is started again within a second.

The pages are gunicorn around the application: one process, because limits and live streams are counted in it, with
sixteen threads, because each live page holds one for minutes. TLS 1.2 and up, or plain HTTP on the loopback address.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from ssl import SSLContext, TLSVersion
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from secure_fl.errors import ConfigError
from webui.app import create_app
from webui.settings import Settings

__all__ = ["THREADS", "await_port", "certificates", "keep_alive", "serve_pages"]

THREADS = 16
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_S = 0.25
_AGAIN_S = 1.0
_END_S = 10.0


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._settings, self._options = settings, options
        super().__init__()

    def load_config(self) -> None:
        for key, value in self._options.items():
            self.cfg.set(key, value)

    def load(self) -> Flask:
        return create_app(self._settings)


def serve_pages(settings: Settings) -> None:
    """Serve until a signal ends it, or the process that started it is gone."""
    _end_with_parent()
    tls = {}
    if not settings.insecure_http:
        certificate, key = certificates(settings)
        tls = {"certfile": str(certificate), "keyfile": str(key), "ssl_context": _tls}
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    options = {
        "bind": f"{host}:{settings.port}",
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS,
        "timeout": 0,
        "graceful_timeout": 3,
        "keepalive": 5,
        "loglevel": "warning",
        "control_socket_disable": True,
        **tls,
    }
    _Server(settings, options).run()


def await_port(host: str, port: int, *, limit_s: float = 10.0) -> None:
    """Return once `port` can be listened on; whoever was killed a moment ago may hold it for some seconds.

    Raises:
        ConfigError: somebody else has it, or we may not.
    """
    until = time.monotonic() + limit_s
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                why = error.strerror or str(error)
                raise ConfigError(f"cannot listen on {host}:{port}", why=why, fix="give another --port") from None
        time.sleep(_LOOK_S)


def _end_with_parent() -> None:
    """A supervisor that was killed must not leave pages behind that keep the port from the next one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def certificates(settings: Settings) -> tuple[Path, Path]:
    """The pair to serve with: the given one, or the federation's, which is made where there is none.

    Raises:
        ConfigError: it cannot be made, or is not there.
    """
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


def _tls(config: Any, default: Callable[[], SSLContext]) -> SSLContext:
    context = default()
    context.minimum_version = TLSVersion.TLSv1_2
    return context


def keep_alive(commands: Sequence[Sequence[str]], *, environ: dict[str, str] | None = None) -> int:
    """Run all `commands` until SIGINT or SIGTERM comes, starting again what ends by itself; returns 0."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: stopping.append(got))

    def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
        # A group of its own: Ctrl-C reaches it through us, once.
        return subprocess.Popen(command, env=environ or dict(os.environ), process_group=0)  # noqa: S603

    running = [(time.monotonic(), start(command)) for command in commands]
    while not stopping:
        for at, (since, process) in enumerate(running):
            if process.poll() is not None and time.monotonic() - since > _AGAIN_S:
                running[at] = (time.monotonic(), start(commands[at]))
        time.sleep(_LOOK_S)
    for _, process in running:
        process.terminate()
    for _, process in running:
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return 0
