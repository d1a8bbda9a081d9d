"""`secure-fl serve`: become the Command Center.

The program is replaced (exec) and not called, so that nothing here imports upward.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from secure_fl.cli.output import examples, home
from secure_fl.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich")


@app.command(epilog=examples("secure-fl serve --create-admin anna", "secure-fl serve --host fl.example.org --port 443"))
def serve(
    host: Annotated[str, typer.Option("--host", help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="port to listen on")] = 8443,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="PEM", help="certificate chain (default: the federation's)"),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PEM", help="its private key")] = None,
    trusted_host: Annotated[
        list[str] | None,
        typer.Option("--trusted-host", metavar="NAME", help="another name to answer to; repeatable"),
    ] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="no TLS; on the loopback address only")
    ] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="jobs are run by another `webui worker`")] = False,
    create_admin: Annotated[
        str, typer.Option("--create-admin", metavar="NAME", help="first make an admin, and print a one-time password")
    ] = "",
) -> None:
    """Serve the Command Center: watch and start runs, classify images, read audits, in a browser."""
    missing = [each for each in ("flask", "gunicorn", "argon2") if importlib.util.find_spec(each) is None]
    if missing:
        raise ConfigError(
            "the Command Center is not installed", why=f"no {missing[0]}", fix="pip install 'securefl-vision[ui]'"
        )
    command = [sys.executable, "-m", "webui", "serve", "--home", str(home()), f"--host={host}", f"--port={port}"]
    command += [f"--certificate={certificate}"] if certificate else []
    command += [f"--key={key}"] if key else []
    command += [f"--trusted-host={each}" for each in trusted_host or []]
    command += ["--insecure-http"] if insecure_http else []
    command += ["--no-worker"] if no_worker else []
    command += [f"--create-admin={create_admin}"] if create_admin else []
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606
