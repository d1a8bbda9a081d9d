"""What we use of Flower's internal modules, and of asyncio's: a new version that moves any of it fails here first."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from importlib.metadata import version

import pytest
from flwr.app import ConfigRecord
from flwr.proto import control_pb2, fleet_pb2, heartbeat_pb2, message_pb2, runtime_pb2
from flwr.supercore import constant
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.inflatable import inflatable_protobuf_utils, inflatable_utils
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.grid import HttpGrid
from flwr.superlink.main import create_app
from flwr.superlink.runtime.run_serverapp import run_serverapp
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from starlette.middleware.base import BaseHTTPMiddleware

from secure_fl.federation import gate
from secure_fl.federation.layers import IDLE_MIDDLEWARE, LAYERS_OF_A_ROUTE
from secure_fl.federation.superlink import _ReportingLoop


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_flower_is_the_version_that_was_studied():
    assert version("flwr").startswith("1.41.")


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (fleet_pb2.ActivateNodeRequest, {"public_key", "heartbeat_interval"}),
        (fleet_pb2.DeactivateNodeRequest, {"node_id"}),
        (fleet_pb2.PullMessagesRequest, {"node"}),
        (fleet_pb2.PullMessagesResponse, {"messages_list", "message_object_trees"}),
        (fleet_pb2.PushMessagesRequest, {"node", "messages_list", "message_object_trees", "clientapp_runtime_list"}),
        (fleet_pb2.PushMessagesResponse, {"objects_to_push", "session_id"}),
        (heartbeat_pb2.SendNodeHeartbeatRequest, {"node", "heartbeat_interval"}),
        (message_pb2.ConfirmMessageReceivedRequest, {"node", "run_id", "message_object_id"}),
        (control_pb2.RegisterNodeRequest, {"public_key", "name"}),
        (control_pb2.StartRunRequest, {"fab", "federation", "app_spec"}),
        (runtime_pb2.AcquireTaskRequest, {"supported_task_types"}),
        (runtime_pb2.AcquireTaskResponse, {"task", "token"}),
    ],
)
def test_messages_have_the_fields_that_we_fill_and_read(message, fields):
    assert fields <= set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ProtobufClient.__init__, ["self", "base_url", "interceptors", "verify", "timeout", "retry_invoker"]),
        (NodeAuthHttpInterceptor.__init__, ["self", "private_key", "public_key"]),
        (inflatable_protobuf_utils.make_pull_object_fn_protobuf, ["pull_object_protobuf", "node", "run_id"]),
        (
            inflatable_protobuf_utils.make_push_object_fn_protobuf,
            ["push_object_protobuf", "node", "run_id", "session_id"],
        ),
        (
            inflatable_utils.inflate_object_from_contents,
            ["object_id", "object_contents", "keep_object_contents", "objects"],
        ),
        (create_app, ["config", "superlink_lifespan_class"]),
    ],
)
def test_functions_take_the_arguments_that_we_give(function, expected):
    assert parameters(function)[: len(expected)] == expected


def test_the_clients_have_the_calls_that_we_make():
    for name in (
        "ActivateNode",
        "DeactivateNode",
        "SendNodeHeartbeat",
        "PullMessages",
        "PushMessages",
        "PullObject",
        "PushObject",
        "ConfirmMessageReceived",
    ):
        assert callable(getattr(FleetHttpClient, name))
    for name in ("RegisterNode", "StartRun"):
        assert callable(getattr(ControlHttpClient, name))


def test_the_superlinks_config_has_the_fields_that_we_set_and_no_others():
    assert [each.name for each in dataclasses.fields(SuperLinkLifespanConfig)] == [
        *("control_address", "health_server_address", "host", "port", "insecure", "certificates"),
        *("superexec_auth_secret", "authn_plugin", "event_log_plugin", "fleet_event_log_plugin", "enable_event_log"),
        *("artifact_provider", "enable_supernode_auth", "fleet_api_type", "fleet_api_address", "simulation"),
        *("ssl_ca_certfile", "ssl_certfile", "ssl_keyfile", "database", "isolation", "runtime_dependency_install"),
    ]


def test_the_serverapp_runner_and_its_grid_are_as_we_call_them():
    assert parameters(run_serverapp) == [
        *("runtime_api_address", "log_queue", "token", "insecure", "certificates", "parent_pid"),
        "runtime_dependency_install",
    ]
    assert callable(HttpGrid.get_nodes) and TaskType.SERVER_APP == "flwr-serverapp"


def test_the_layers_of_the_superlinks_application_are_those_that_we_know():
    from flwr.superlink.main import _get_middleware

    names = [each.cls.__name__ for each in _get_middleware()]
    kept = [name for name in names if name not in IDLE_MIDDLEWARE]
    assert kept == [
        "ControlSensitiveResponseMiddleware",
        "BaseHTTPMiddleware",
        "ControlAuthenticationMiddleware",
        "ProtobufTranslationMiddleware",
        "NodeAuthMiddleware",
    ]
    assert set(names) >= IDLE_MIDDLEWARE
    assert set(kept) >= set(LAYERS_OF_A_ROUTE)
    assert all(issubclass(each.cls, BaseHTTPMiddleware) and not each.args for each in _get_middleware())


def test_the_grid_pulls_objects_through_the_name_that_we_replace():
    from flwr.superlink.grid import http_grid

    assert http_grid.pull_objects is inflatable_utils.pull_objects
    assert {"initial_backoff", "backoff_cap", "max_time", "max_tries_per_object"} <= set(
        parameters(inflatable_utils.pull_objects)
    )


def test_the_gate_reads_the_header_in_which_flower_names_the_node_key():
    assert constant.FLEET_HTTP_PUBLIC_KEY_HEADER.encode() == gate._NODE_KEY_HEADER


def test_every_route_that_flower_serves_is_one_that_our_gates_have_an_opinion_on():
    from fastapi.routing import APIRoute
    from flwr.superlink.routers.control import router as control
    from flwr.superlink.routers.fleet.router import router as fleet

    paths = {route.path for router in (control, fleet) for route in router.routes if isinstance(route, APIRoute)}
    assert paths and all(path.startswith(("/v1/control/", "/v1/fleet/")) for path in paths)
    assert {*gate._SELF_SERVICE, gate._TAKE, gate._ANSWER, gate._SEND} <= paths


def test_asyncio_hands_the_waiter_and_the_peers_address_to_the_method_that_we_extend():
    base = parameters(asyncio.SelectorEventLoop._make_ssl_transport)
    assert base[:5] == ["self", "rawsock", "protocol", "sslcontext", "waiter"]
    assert {"server_side", "extra", "server"} <= set(base)
    assert issubclass(_ReportingLoop, asyncio.SelectorEventLoop)


def test_flowers_own_byte_count_still_fails_on_empty_text_which_is_why_we_count_ourselves():
    with pytest.raises(ValueError, match="Config values must be"):
        ConfigRecord({"data-dir": ""}).count_bytes()
