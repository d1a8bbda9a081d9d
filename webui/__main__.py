"""`python -m webui serve | http | worker | create-admin | verify-log | rotate-key`: what `secure-fl serve` starts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from secure_fl.errors import IntegrityError, SecureFLError
from webui.auth.passwords import one_time_password
from webui.services import open_services
from webui.settings import Settings
from webui.store.users import Role

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except SecureFLError as error:
        print(f"error: {error.what}", *filter(None, (f"  why: {error.why}" if error.why else "",)), file=sys.stderr)
        if error.fix:
            print(f"  fix: {error.fix}", file=sys.stderr)
        return error.exit_code
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m webui", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("create-admin", help="make the first account, and print its one-time password")
    add.add_argument("name")
    add.add_argument("--home", type=Path, default=Path())
    add.set_defaults(run=_create_admin)
    check = commands.add_parser("verify-log", help="say whether the action log was altered")
    check.add_argument("--home", type=Path, default=Path())
    check.set_defaults(run=_verify_log)
    rotate = commands.add_parser("rotate-key", help="sign forms with a new key; the present one stays valid until then")
    rotate.add_argument("--home", type=Path, default=Path())
    rotate.set_defaults(run=_rotate_key)
    for name, words, run in (
        ("serve", "serve the pages, with a worker beside", _serve),
        ("http", "only the pages", _pages),
    ):
        serve = commands.add_parser(name, help=words)
        serve.add_argument("--home", type=Path, default=Path())
        serve.add_argument("--host", default="127.0.0.1")
        serve.add_argument("--port", type=int, default=8443)
        serve.add_argument("--certificate", type=Path)
        serve.add_argument("--key", type=Path)
        serve.add_argument("--insecure-http", action="store_true")
        serve.add_argument("--trusted-host", action="append", default=[])
        serve.set_defaults(run=run)
        if name == "serve":
            serve.add_argument("--no-worker", action="store_true")
            serve.add_argument("--create-admin", metavar="NAME")
    worker = commands.add_parser("worker", help="take jobs and run them")
    worker.add_argument("--home", type=Path, default=Path())
    worker.add_argument("--parent", type=int, help="end when this process does")
    worker.set_defaults(run=_work)
    return parser


def _create_admin(arguments: argparse.Namespace) -> int:
    create_admin(Settings(home=arguments.home.absolute()), arguments.name)
    return 0


def create_admin(settings: Settings, name: str) -> None:
    """Make an admin and print the one-time password; it is stored nowhere but as its hash."""
    services, password = open_services(settings), one_time_password()
    services.users.add(name, Role.ADMIN, services.passwords.hash(password))
    services.actions.add("user created", "ok", object=f"{name} (admin)", user_name="command line")
    print(f"admin     {name}\npassword  {password}\nThe password is for one login; you choose your own then.")


def _verify_log(arguments: argparse.Namespace) -> int:
    chain = open_services(Settings(home=arguments.home.absolute())).actions.verify()
    if not chain.ok:
        raise IntegrityError("the action log was altered", why=chain.fault, fix="keep the database as it is, and look")
    print(f"{chain.rows} rows, nothing was altered\nlast hash {chain.head}")
    return 0


def _rotate_key(arguments: argparse.Namespace) -> int:
    Settings(home=arguments.home.absolute()).rotate_secret_key()
    print("a new key is in place; start the Command Center again")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from webui.server import await_port, certificates, keep_alive

    settings = _settings(arguments)
    if arguments.create_admin:
        create_admin(settings, arguments.create_admin)
    if not settings.insecure_http:
        certificates(settings)  # made, or refused, before anything listens
    await_port(settings.host, settings.port)
    scheme, us = "http" if settings.insecure_http else "https", [sys.executable, "-m", "webui"]
    print(f"Command Center on {scheme}://{settings.host}:{settings.port}/  (Ctrl-C ends it; jobs go on)", flush=True)
    pages = [*us, "http", f"--home={settings.home}", f"--host={settings.host}", f"--port={settings.port}"]
    pages += ["--insecure-http"] if settings.insecure_http else []
    pages += [f"--certificate={settings.certificate}", f"--key={settings.certificate_key}"] * bool(settings.certificate)
    pages += [f"--trusted-host={each}" for each in settings.trusted_hosts]
    worker = [*us, "worker", f"--home={settings.home}", f"--parent={os.getpid()}"]
    return keep_alive([pages] if arguments.no_worker else [pages, worker])


def _pages(arguments: argparse.Namespace) -> int:
    from webui.server import serve_pages

    serve_pages(_settings(arguments))
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        home=arguments.home.absolute(),
        host=arguments.host,
        port=arguments.port,
        certificate=arguments.certificate,
        certificate_key=arguments.key,
        insecure_http=arguments.insecure_http,
        trusted_hosts=tuple(arguments.trusted_host),
    )


def _work(arguments: argparse.Namespace) -> int:
    from webui.worker.loop import work

    return work(Settings(home=arguments.home.absolute()), parent=arguments.parent)


if __name__ == "__main__":
    sys.exit(main())
