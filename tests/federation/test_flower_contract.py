"""What we use of Flower's internal modules, and of asyncio's: a new version that moves any of it fails here first."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import importlib
import inspect
from importlib.metadata import version

import pytest
from flwr.app import ConfigRecord
from flwr.common.constant import SUPERLINK_NODE_ID, SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto import control_pb2, fleet_pb2, heartbeat_pb2, message_pb2, recorddict_pb2, runtime_pb2
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore import constant
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.inflatable import inflatable_protobuf_utils, inflatable_utils
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.config_loader import (
    SuperLinkLifespanConfig,
    get_federation_manager,
    get_objectstore_linkstate_factories,
)
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.grid import HttpGrid
from flwr.superlink.main import create_app
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.runtime.run_serverapp import run_serverapp
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from starlette.middleware.base import BaseHTTPMiddleware

from secure_fl.federation import desk, gate
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
        (runtime_pb2.PullAppMessagesRequest, {"message_ids"}),
        (runtime_pb2.PullAppMessagesResponse, {"messages_list", "message_object_trees"}),
        (runtime_pb2.PushAppMessagesRequest, {"messages_list", "message_object_trees"}),
        (runtime_pb2.PushAppMessagesResponse, {"message_ids", "objects_to_push", "session_id"}),
        (message_pb2.PullObjectRequest, {"node", "run_id", "object_id"}),
        (message_pb2.PullObjectResponse, {"object_found", "object_available", "object_content"}),
        (message_pb2.PushObjectRequest, {"node", "run_id", "object_id", "object_content", "session_id"}),
        (message_pb2.PushObjectResponse, {"stored"}),
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
            inflatable_utils.inflate_object_from_contents,
            ["object_id", "object_contents", "keep_object_contents", "objects"],
        ),
        (ProtobufClient._unary_unary, ["self", "path", "rpc_method", "request", "response_type", "timeout"]),
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
        "PushMessages",
        "PullObject",
        "PushObject",
    ):
        assert callable(getattr(FleetHttpClient, name))
    for name in ("PullObject", "PushObject"):
        assert callable(getattr(RuntimeHttpClient, name))
    assert PROTOBUF_MEDIA_TYPE == "application/protobuf"
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


def test_the_runner_makes_its_grid_by_the_name_that_we_replace():
    runner = importlib.import_module("flwr.superlink.runtime.run_serverapp")
    assert runner.HttpGrid is HttpGrid and runner.run_serverapp is run_serverapp
    assert "HttpGrid" in run_serverapp.__code__.co_names


def test_the_grid_has_the_parts_that_ours_replaces_and_leans_on():
    assert parameters(HttpGrid.__init__)[:4] == ["self", "runtime_api_address", "insecure", "root_certificates"]
    assert parameters(HttpGrid._try_push_messages) == ["self", "run_id", "messages"]
    assert parameters(HttpGrid.pull_messages) == ["self", "message_ids"]
    assert isinstance(HttpGrid._runtime_client, property) and isinstance(HttpGrid.run, property)
    assert HttpGrid("here:1", token="t").node.node_id == SUPERLINK_NODE_ID
    assert {"pull_object_fn", "initial_backoff", "backoff_cap", "max_time", "max_tries_per_object"} <= set(
        parameters(inflatable_utils.pull_objects)
    )


def test_a_record_of_a_parcel_is_the_protobuf_that_we_know():
    assert recorddict_pb2.ConfigRecord.DESCRIPTOR.fields_by_name["items"].number == 1
    item = recorddict_pb2.ConfigRecord.Item.DESCRIPTOR.fields_by_name
    assert {name: field.number for name, field in item.items()} == {"key": 1, "value": 2}
    value = recorddict_pb2.ConfigRecordValue.DESCRIPTOR
    assert value.fields_by_name["bytes"].number == 6
    assert {each.name for each in value.fields} == {each.name for each in value.oneofs_by_name["value"].fields}


@pytest.mark.parametrize("name", desk._FLEET)
def test_fleet_handlers_take_what_the_desk_gives_them(name):
    store = ["store"] if name in ("pull-messages", "confirm-message-received") else []
    assert parameters(getattr(fleet_handlers, name.replace("-", "_"))) == ["request", "state", *store]


@pytest.mark.parametrize("name", desk._RUNTIME)
def test_runtime_handlers_take_what_the_desk_gives_them(name):
    handler = desk._RUNTIME[name]
    assert handler is getattr(runtime_handlers, name.replace("-", "_"))
    assert parameters(handler) == ["request", "state", "task"]


@pytest.mark.parametrize(
    ("service", "kinds"), [("fleet", desk._FLEET_KINDS), ("runtime", desk._RUNTIME_KINDS)], ids=["fleet", "runtime"]
)
def test_the_desk_reads_each_call_as_flowers_own_route_does(service, kinds):
    for name, kind in kinds.items():
        assert PROTOBUF_REQUEST_TYPES["POST", f"/v1/{service}/{name}"] is kind
    assert ("POST", f"/v1/{service}/parcel") not in PROTOBUF_REQUEST_TYPES


def test_every_call_of_a_site_names_its_node():
    assert all("node" in kind.DESCRIPTOR.fields_by_name for kind in desk._FLEET_KINDS.values())


def test_nodes_and_tasks_are_authenticated_as_the_desk_asks_for_it():
    assert parameters(authenticate_node) == ["request"]
    assert "protobuf_request" in authenticate_node.__code__.co_names
    assert parameters(get_linkstate) == ["request"]
    assert isinstance(LinkState.object_store, property)


def test_an_object_without_a_session_is_stored_in_the_one_that_waits_for_it():
    _, factory = get_objectstore_linkstate_factories(constant.FLWR_IN_MEMORY_DB_NAME, get_federation_manager())
    state = factory.state()
    content = b"ConfigRecord  0\0"
    object_id = hashlib.sha256(content).hexdigest()
    assert not state.store_object(5, "", object_id, content)
    session = state.start_session(5)
    assert state.preregister_object_tree(message_pb2.ObjectTree(object_id=object_id), session) == [object_id]
    assert state.store_object(5, "", object_id, content)
    assert state.get_object(5, object_id) == content


def test_the_gate_knows_how_old_a_signature_may_be():
    assert TIMESTAMP_HEADER.encode() == gate._SIGNED_AT_HEADER
    assert gate._OLDEST_S == TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    assert -SYSTEM_TIME_TOLERANCE == gate._NEWEST_S


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
