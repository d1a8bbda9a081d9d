"""The ServerApp's grid: Flower's `HttpGrid`, with parcels where it makes a request for each object.

`pull_messages` says what has come; `await_messages` does too, and takes its time (`parcels.WAIT_S`) while nothing has.
A reply is announced before its large objects have arrived: these are waited for, up to `upload_timeout_s`, since a
site that dies or stops in its upload must not hold up all others. What arrives becomes a message only if its objects
fit together (`inflation`); otherwise Flower's error reply stands for it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, cast

from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents, pull_objects
from flwr.superlink.grid import HttpGrid

from secure_fl.federation.inflation import checked
from secure_fl.federation.parcels import AWAIT, Sender

__all__ = ["ParcelGrid"]


class ParcelGrid(HttpGrid):
    """`upload_timeout_s`: how long to wait for the objects of a reply that has been announced."""

    def __init__(self, *positional: Any, upload_timeout_s: float, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._patient = functools.partial(
            pull_objects,
            initial_backoff=0.05,
            backoff_cap=0.25,
            max_tries_per_object=None,
            max_time=upload_timeout_s,
        )
        self._taken: list[ConfirmMessageReceivedRequest] = []

    @property
    def _parcels(self) -> Sender:
        return Sender(self._runtime_client, "runtime")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages, as far as they are there."""
        return self._fetch("pull-messages", message_ids)

    def await_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages; if there is none yet, those that come next, or none after a while."""
        return self._fetch(AWAIT, message_ids)

    def _try_push_messages(self, run_id: int, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        contents: dict[str, bytes] = {}
        for message in sent:
            nested = get_all_nested_objects(message)
            contents |= {each: nested[each].deflate() for each in nested if each not in contents}
        announcement = PushAppMessagesRequest(
            messages_list=[message_to_proto(remove_content_from_message(message)) for message in sent],
            message_object_trees=[get_object_tree(message) for message in sent],
        )
        said = self._parcels.push(announcement, PushAppMessagesResponse, contents, node=self.node, run_id=run_id)
        return list(said.message_ids)

    def _fetch(self, call: str, message_ids: Iterable[str]) -> list[Message]:
        confirmations, self._taken = [("confirm-message-received", each) for each in self._taken], []
        asked = PullAppMessagesRequest(message_ids=message_ids)
        announced = PullAppMessagesResponse.FromString(self._parcels.send([*confirmations, (call, asked)])[-1])
        ids = [[tree.object_id for tree in iterate_object_tree(each)] for each in announced.message_object_trees]
        wanted = dict.fromkeys(each for message in ids for each in message)
        run_id = self.run.run_id
        small = self._parcels.objects(wanted, node=self.node, run_id=run_id) if wanted else {}
        return [self._message(*each, small) for each in zip(announced.messages_list, ids, strict=True)]

    def _message(self, announced: MessageProto, ids: Sequence[str], small: dict[str, bytes]) -> Message:
        """The message of these objects, or Flower's error reply in its place."""
        run_id, message_id = self.run.run_id, announced.metadata.message_id

        def complete(ids: list[str]) -> dict[str, bytes]:
            one_by_one = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, run_id)
            rest = [each for each in ids if each not in small]
            return {each: small[each] for each in ids if each in small} | (
                self._patient(rest, one_by_one) if rest else {}
            )

        try:
            contents = checked(complete)(list(ids))
        except ObjectPullError as error:
            return self._missing(announced.metadata.reply_to_message_id, str(error))
        self._taken.append(ConfirmMessageReceivedRequest(node=self.node, run_id=run_id, message_object_id=message_id))
        message = cast(Message, inflate_object_from_contents(message_id, contents))
        message.metadata.__dict__["_message_id"] = message_id
        return message

    def _missing(self, reply_to: str, why: str) -> Message:
        metadata = Metadata(
            run_id=self.run.run_id,
            message_id="",
            src_node_id=self.node.node_id,
            dst_node_id=self.node.node_id,
            message_type=SYSTEM_MESSAGE_TYPE,
            group_id="",
            ttl=0,
            reply_to_message_id=reply_to,
            created_at=now().timestamp(),
        )
        return make_message(metadata=metadata, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason=why))
