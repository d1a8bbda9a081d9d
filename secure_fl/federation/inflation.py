"""Objects from a site become a message in the coordinator's memory: here, and only if they fit.

Flower sends a message as a tree of content-addressed objects, and an array as a list of chunks. A list may name one
chunk a million times, so a few megabytes on the wire can ask for terabytes in memory; a tree that contradicts itself
raises in the middle of pulling *everybody's* replies and would end the run. Both are looked for after the objects have
arrived (`gate.MAX_REPLY_BYTES` bounds those) and before anything is put together. What fails becomes Flower's error
reply for that one site, whose reason begins with one of our guard's words, and the round goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Array, Message
from flwr.supercore.inflatable.inflatable_object import get_object_body, get_object_head_values_from_object_content
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents

from defenses.guard import Reason
from secure_fl.app.untrusted import unusable
from secure_fl.federation.gate import MAX_REPLY_BYTES

__all__ = ["checked", "inflated_bytes"]

Pull = Callable[..., dict[str, bytes]]


def checked(pull: Pull) -> Pull:
    """Flower's `pull_objects` that raises its own `ObjectPullError` for objects that must not be put together."""

    def pull_and_check(object_ids: list[str], *positional: Any, **named: Any) -> dict[str, bytes]:
        contents = pull(object_ids, *positional, **named)
        root = object_ids[-1]  # Flower lists a tree from its leaves to its root
        problem = _problem(root, contents)
        if problem:
            raise ObjectPullError(root[:16], problem)
        return contents

    return pull_and_check


def inflated_bytes(contents: Mapping[str, bytes]) -> int:
    """What these objects come to when every array has been put together from its chunks.

    Raises:
        ValueError, KeyError, IndexError: an object contradicts itself.
    """
    total = 0
    for content in contents.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        total += len(content)
        if kind == "Array":
            chunks = json.loads(get_object_body(content, Array))["arraychunk_ids"]
            total += sum(len(contents[children[index]]) for index in chunks)
    return total


def _problem(root: str, contents: Mapping[str, bytes]) -> str:
    """Why these objects are not a message that may be read; empty when they are."""
    try:
        size = inflated_bytes(contents)
        if size > MAX_REPLY_BYTES:
            return unusable(Reason.TOO_LARGE, f"it comes to {size} bytes; the limit is {MAX_REPLY_BYTES}")
        made = inflate_object_from_contents(root, dict(contents), keep_object_contents=True)
    except Exception as error:
        return unusable(Reason.MALFORMED, f"its objects do not fit together: {type(error).__name__}")
    return "" if isinstance(made, Message) else unusable(Reason.MALFORMED, f"it is a {type(made).__name__}")
