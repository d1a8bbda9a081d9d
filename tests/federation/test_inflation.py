"""Objects of a reply, before they are put together: repeated chunks, torn trees, and things that are no message."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.federation.gate import MAX_REPLY_BYTES
from secure_fl.federation.inflation import checked, inflated_bytes

Objects = tuple[list[str], dict[str, bytes]]


@pytest.fixture
def reply() -> Objects:
    """What a message with one array is on the wire: object ids from leaves to root, and their contents."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
    content = RecordDict({"update": ArrayRecord({"u": Array(np.arange(1000, dtype=np.float32))})})
    message = Message(content, dst_node_id=7, message_type="train")
    message.metadata.__dict__["_message_id"] = message.object_id
    ids = [tree.object_id for tree in iterate_object_tree(get_object_tree(message))]
    return ids, {each: found.deflate() for each, found in get_all_nested_objects(message).items()}


def pulled(reply: Objects) -> dict[str, bytes]:
    ids, contents = reply
    return checked(lambda object_ids, **_: dict(contents))(ids, pull_object_fn=None)


def of_kind(reply: Objects, kind: str) -> str:
    return next(each for each, content in reply[1].items() if content.startswith(kind.encode() + b" "))


def test_an_honest_reply_passes_unchanged(reply: Objects) -> None:
    assert pulled(reply) == reply[1]
    assert 2 * 4000 < inflated_bytes(reply[1]) < 10_000


def test_one_chunk_that_is_named_a_million_times_is_refused_before_it_is_repeated(reply: Objects) -> None:
    array = of_kind(reply, "Array")
    head, body = reply[1][array].split(b"\x00", 1)
    metadata = json.loads(body)
    metadata["arraychunk_ids"] = [0] * 1_000_000
    bomb = json.dumps(metadata).encode()
    kind, children, _ = head.decode().split(" ")
    reply[1][array] = f"{kind} {children} {len(bomb)}".encode() + b"\x00" + bomb
    assert inflated_bytes(reply[1]) > 4_000_000_000 > MAX_REPLY_BYTES
    with pytest.raises(ObjectPullError, match=r"\[too-large\] it comes to"):
        pulled(reply)


@pytest.mark.parametrize("kind", ["Array", "ArrayChunk", "RecordDict"])
def test_a_tree_that_contradicts_itself_is_refused_and_raises_nothing_else(reply: Objects, kind: str) -> None:
    reply[1][of_kind(reply, kind)] = b"Array  3\x00{}!"
    with pytest.raises(ObjectPullError, match=r"\[malformed\]"):
        pulled(reply)


def test_an_object_that_is_no_message_is_refused(reply: Objects) -> None:
    record = of_kind(reply, "RecordDict")
    with pytest.raises(ObjectPullError, match=r"\[malformed\] it is a RecordDict"):
        pulled(([*reply[0], record], reply[1]))
