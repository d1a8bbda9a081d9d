"""The launcher's hand on the SuperLink: admit the roster's nodes, start a run.

Flower's Control API has no authentication in its open-source edition; ours demands a secret header
(see `gate.InnerGate`) that only the launcher has. The run is started from a Flower App Bundle of a few
lines that names our installed ServerApp and ClientApp: no code travels in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import RegisterNodeRequest, StartRunRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from secure_fl import __version__
from secure_fl.app.identity import Roster
from secure_fl.config import Scalar
from secure_fl.errors import FederationError
from secure_fl.federation.gate import CONTROL_HEADER, node_key_pem

__all__ = ["app_bundle", "control_connection", "register", "start_run"]


class _SecretHeader:
    """Flower's interceptor interface; adds the launcher's secret to each request."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, {CONTROL_HEADER: self._secret})
        return call_next(context)


@contextmanager
def control_connection(port: int, *, ca: Path, secret: str) -> Iterator[ControlHttpClient]:
    """A client of the inner listener, closed on exit (an open one would keep the server from ending).

    Raises:
        FederationError: the SuperLink refused or did not answer.
    """
    client = ControlHttpClient.from_server_address(
        f"127.0.0.1:{port}",
        False,
        ca.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="secure-fl launcher"), _SecretHeader(secret)],
    )
    try:
        with client:
            yield client
    except httpx.HTTPError as error:
        raise FederationError("the coordinator's own SuperLink did not do as told", why=str(error)) from None


def register(client: ControlHttpClient, roster: Roster) -> None:
    """Admit every node key of the roster; nodes that are not registered cannot join."""
    for entry in roster.entries:
        client.RegisterNode(RegisterNodeRequest(public_key=node_key_pem(entry), name=entry.name))


def start_run(client: ControlHttpClient, settings: Mapping[str, Scalar]) -> int:
    """Start a run of our apps with these settings as its run config; returns Flower's run id."""
    bundle = app_bundle(settings)
    fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
    return client.StartRun(StartRunRequest(fab=fab_to_proto(fab), federation="", app_spec="")).run_id


def app_bundle(settings: Mapping[str, Scalar]) -> bytes:
    """The Flower App Bundle: a pyproject that points at the installed package."""
    import tomli_w

    project = {
        "build-system": {"requires": ["hatchling"], "build-backend": "hatchling.build"},
        "project": {
            "name": "secure-fl-app",
            "version": __version__,
            "description": "Names the installed Secure FL apps; holds no code.",
            "license": {"file": "LICENSE"},
            "dependencies": ["flwr>=1.41.0"],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "secure-fl",
                    "fab-format-version": 1,
                    "flwr-version-target": "1.41.0",
                    "components": {
                        "serverapp": "secure_fl.app.server_app:app",
                        "clientapp": "secure_fl.app.client_app:app",
                    },
                    "config": dict(settings),
                }
            }
        },
    }
    files: dict[str, bytes | Path] = {
        "pyproject.toml": tomli_w.dumps(project).encode(),
        "LICENSE": b"Apache-2.0\n",
        "README.md": b"See the installed secure_fl package.\n",
    }
    bundle, _ = build_fab_from_files(files)
    return bundle
