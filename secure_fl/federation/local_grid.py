"""Flower's `Grid` inside one process: no sockets, no threads, deterministic order.

The same ServerApp and ClientApp run on it as over TLS. A message is handled when it is pulled, one a
call, so that progress shows site by site. Faults are injected by a function that sees each message
before the ClientApp does and may drop it (`None`) or change it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from flwr.app import Context, Message, RecordDict
from flwr.app.message import make_message
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.federation.site import MessageApp, answer

__all__ = ["Fault", "LocalGrid"]

Fault = Callable[[Message], Message | None]

_RUN_ID = 1
_SERVER_NODE = 1
_FIRST_NODE = 1000


class LocalGrid(Grid):
    """`sites` ClientApps in this process, as nodes 1000, 1001, …"""

    def __init__(
        self,
        app: MessageApp,
        sites: int,
        *,
        node_configs: Sequence[dict[str, str | int | float | bool]] | None = None,
        fault: Fault = lambda message: message,
    ) -> None:
        self._app, self._fault = app, fault
        self._numbers = itertools.count(1)
        self._pending: dict[str, Message] = {}
        configs = node_configs or [{} for _ in range(sites)]
        self._contexts = {
            _FIRST_NODE + index: Context(
                run_id=_RUN_ID,
                node_id=_FIRST_NODE + index,
                node_config={"partition-id": index, "num-partitions": sites, **configs[index]},
                state=RecordDict(),
                run_config={},
            )
            for index in range(sites)
        }
        self._run = Run.create_empty(_RUN_ID)
        self._become_server()

    def set_run(self, run: Run) -> None:
        """Accept Flower's description of the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message (Flower's deprecated form of the constructor)."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes; in this process nobody is ever offline."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; a ClientApp runs when its answer is pulled."""
        ids = []
        for message in messages:
            message_id = f"local-{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = message_id
            arriving = self._fault(make_message(metadata=message.metadata, content=_copy(message.content)))
            if arriving is not None:
                self._pending[message_id] = arriving
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the ClientApp for the first of these that is queued, and return its answer."""
        wanted = set(message_ids)
        first = next((each for each in self._pending if each in wanted), None)
        if first is None:
            return []
        message = self._pending.pop(first)
        try:
            return [answer(self._app, message, self._contexts[message.metadata.dst_node_id])]
        finally:
            self._become_server()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then pull every answer."""
        ids = list(self.push_messages(messages))
        return [reply for each in ids for reply in self.pull_messages([each])]

    def _become_server(self) -> None:
        # Flower's Message constructor reads the sender from this process-wide identity.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = _RUN_ID, _SERVER_NODE, 0


def _copy(content: RecordDict) -> RecordDict:
    """A new record of the same records: a site may change its config, but shares the arrays read-only."""
    return RecordDict(dict(content.items()))
