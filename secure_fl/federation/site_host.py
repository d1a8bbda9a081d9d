"""One preloaded process from which the sites and the ServerApp of a one-machine run are forked.

Importing torch and Flower costs about ten CPU seconds; five sites and a ServerApp would pay it six
times. This process pays it once and forks. Each fork is a process of its own, with its own keys, log
and memory; only the imported code is shared. On several machines, each site is started by itself
(`secure-fl federation site`) and none of this is used.

Protocol (JSON lines on standard input and output): `{"op": "site"|"server", "name", "log", …}` is
answered by `{"started": name, "pid"}`; whenever a fork ends, `{"ended": name, "pid", "status"}` follows.
When standard input closes, all forks are killed.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

from secure_fl.errors import SecureFLError
from secure_fl.federation.processes import claim_stdout, die_with_parent

__all__ = ["main"]

_TASK_POLL_S = 0.1


def main() -> int:
    """Entry point of the process; see the module's docstring."""
    report = claim_stdout()
    _preload()
    report({"ready": True})
    children: dict[int, str] = {}
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.1)
        if readable:
            received = os.read(0, 1 << 16)
            if not received:
                break
            *lines, buffer = (buffer + received).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = _fork(order)
                children[pid] = order["name"]
                report({"started": order["name"], "pid": pid})
        for pid, status in _ended():
            report({"ended": children.pop(pid, "?"), "pid": pid, "status": status})
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return 0


def _preload() -> None:
    """Import what every fork needs, and what torch imports only at its first optimizer."""
    import torch

    import secure_fl.app.client_app
    import secure_fl.app.server_app
    import secure_fl.federation.site  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def _fork(order: dict[str, Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent(parent)
        _own_streams(Path(order["log"]))
        status = _run_site(order) if order["op"] == "site" else _run_server(order)
    except SecureFLError as error:
        logging.getLogger("secure_fl").error("%s", error)
    except BaseException:  # a fork must never fall back into its parent's loop
        logging.getLogger("secure_fl").exception("the process failed")
    finally:
        logging.shutdown()
        os._exit(status)


def _own_streams(log: Path) -> None:
    """A fork has no business on its parent's channel: no input, and its own log for the rest."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _run_site(order: dict[str, Any]) -> int:
    from secure_fl.app.client_app import app
    from secure_fl.federation.hostile import delivery_of
    from secure_fl.federation.site import SiteSettings, run_site

    settings = SiteSettings(**order["settings"])
    run_site(settings, app, deliver=delivery_of(settings))
    return 0


def _run_server(order: dict[str, Any]) -> int:
    """Take the run's task from the SuperLink and execute it with Flower's own ServerApp runner.

    This is what `flower-superexec` does, without a second import of everything. Flower's runner
    loads our ServerApp from the installed package, keeps the task alive and reports its outcome. Its grid is ours.
    """
    from secure_fl.federation.grid import ParcelGrid

    os.environ.update(order["environ"])
    runner = importlib.import_module("flwr.superlink.runtime.run_serverapp")  # the package shows its function only
    setattr(runner, "HttpGrid", functools.partial(ParcelGrid, upload_timeout_s=order["upload_timeout_s"]))  # noqa: B010
    certificates = Path(order["ca"]).read_bytes()
    token = _acquire(order["address"], certificates, order["superexec_secret"].encode())
    try:
        runner.run_serverapp(
            runtime_api_address=order["address"],
            log_queue=Queue(),
            token=token,
            insecure=False,
            certificates=certificates,
            parent_pid=os.getppid(),
            runtime_dependency_install=False,
        )
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def _acquire(address: str, certificates: bytes, secret: bytes, sleep: Callable[[float], None] = time.sleep) -> str:
    """The token of the one ServerApp task that the launcher has started."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.constant import TaskType
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

    client = RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=False,
        root_certificates=certificates,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}),
        ],
    )
    with client:
        while True:
            response = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
            if response.HasField("task") and response.token:
                return str(response.token)
            sleep(_TASK_POLL_S)


def _ended() -> list[tuple[int, int]]:
    """Forks that ended since the last look, with their exit status (negative: the signal)."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    sys.exit(main())
