"""One round of Flower's SecAgg+, by Flower's own workflow and client mod, with the CPU seconds of either side.

`SecAggPlusWorkflow` runs its four stages on a grid whose sites answer in this process through `secaggplus_mod`; the
coordinator's time is that of the stages without the sites' answers. The graph is complete. The strategy below neither
samples nor aggregates, so that only the secure sum is measured; a site's training is a vector that lies ready.

To keep 50 sites of 2.24 million parameters within minutes, only `masking` of the sites mask a vector of their own. The
others, which do all the rest themselves, send a copy of it: the coordinator adds, unmasks and decodes it at the same
cost, and gets a meaningless mean. With masking = sites the mean is the true one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.app.message import make_message
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat
from flwr.server import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import WorkflowState
from flwr.supercore.task_identity import TaskIdentity

from secure_fl.secagg.ring import Vector

__all__ = ["FlowerCost", "FlowerRound"]

_MAX_WEIGHT = 1000.0  # Flower's default, like all that is not set here


@dataclass(frozen=True)
class FlowerCost:
    """CPU seconds of the coordinator and of one site, the bytes of its masked vector, and the mean that came out."""

    server_s: float
    client_s: float
    uplink: int
    mean: Vector


class FlowerRound:
    """A round up to where sites mask: keys are made and shares are dealt. From there it can be ended more than once.

    updates and weights: one a site. threshold: shares that open a secret. masking: how many sites really mask.
    """

    def __init__(self, updates: Sequence[Vector], weights: Sequence[int], *, threshold: int, masking: int = 1) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
        nodes = range(1, len(updates) + 1)
        self._workflow = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=threshold, max_weight=_MAX_WEIGHT)
        self._sites = _Sites(dict(zip(nodes, zip(updates, weights, strict=True), strict=True)), masking)
        self._strategy = _Nothing(nodes)
        self._context = LegacyContext(Context(1, 1, {}, RecordDict(), {}), strategy=self._strategy)
        self._context.state.config_records["config"] = ConfigRecord({"current_round": 1})
        self._context.state.array_records["parameters"] = ArrayRecord()
        self._state = WorkflowState()
        self._server_s = self._stages(self._workflow.setup_stage, self._workflow.share_keys_stage)

    def end(self, dropped: int) -> FlowerCost:
        """Mask and unmask; the last `dropped` sites fall silent after they have dealt their shares."""
        state, contexts = copy.deepcopy((self._state, self._sites.contexts))
        spent = dict(self._sites.client_s)
        self._sites.fall_silent(dropped)
        server_s = self._stages(self._workflow.collect_masked_vectors_stage, self._workflow.unmask_stage)
        per_site = [self._sites.client_s[node] for node in self._sites.masked]
        cost = FlowerCost(
            self._server_s + server_s, sum(per_site) / len(per_site), self._sites.uplink, self._strategy.mean
        )
        self._state, self._sites.contexts, self._sites.client_s = state, contexts, spent
        return cost

    def _stages(self, *stages: Any) -> float:
        """CPU seconds of stages, without the sites'."""
        before, sites_before = time.process_time(), self._sites.all_s
        for stage in stages:
            if not stage(self._sites, self._context, self._state):
                raise RuntimeError("Flower's secure aggregation halted")
        return time.process_time() - before - (self._sites.all_s - sites_before)


class _Nothing(FedAvg):
    """A strategy that chooses all sites and only looks at the mean."""

    def __init__(self, nodes: Iterable[int]) -> None:
        super().__init__()
        self._nodes = nodes
        self.mean = np.zeros(0, np.float32)

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> Any:
        """Every site, and no model: sending it costs the same without secure aggregation."""
        return [(SimpleNamespace(node_id=node), FitIns(Parameters([], ""), {})) for node in self._nodes]

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """Every result holds the decoded mean."""
        (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


class _Sites:
    """What the workflow takes for a grid: sites that answer at once, or never again."""

    def __init__(self, work: dict[int, tuple[Vector, int]], masking: int) -> None:
        self._work, self._masking = work, masking
        self._silent: set[int] = set()
        self.contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in work}
        self.client_s = dict.fromkeys(work, 0.0)
        self.all_s = 0.0
        self.masked: list[int] = []
        self.uplink = 0
        self._copy = ConfigRecord()

    def fall_silent(self, count: int) -> None:
        """From now on the last `count` sites do not answer; nobody has masked yet."""
        self._silent, self.masked = set(list(self._work)[len(self._work) - count :]), []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """One answer for each message, from sites that still answer."""
        started = time.process_time()
        replies = [self._answer(each) for each in messages if each.metadata.dst_node_id not in self._silent]
        self.all_s += time.process_time() - started
        return replies

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        # Stages hand one record to all sites, and the mod takes from it: over a wire each has its own.
        order = ConfigRecord(dict(message.content.config_records[RECORD_KEY_CONFIGS].items()))
        metadata = message.metadata
        metadata.__dict__["_message_id"] = str(node)
        asks_to_mask = order[Key.STAGE] == Stage.COLLECT_MASKED_VECTORS
        copies = asks_to_mask and len(self.masked) >= self._masking
        update, weight = self._work[node]
        # Whoever sends a copy masks a single zero, and so takes its neighbours' shares like the others.
        trained = _trained(np.zeros(1, np.float32) if copies else update, weight) if asks_to_mask else RecordDict()
        started = time.process_time()
        reply = secaggplus_mod(
            make_message(metadata=metadata, content=RecordDict({RECORD_KEY_CONFIGS: order})),
            self.contexts[node],
            lambda asked, _: Message(trained, reply_to=asked),
        )
        self.client_s[node] += time.process_time() - started
        if copies:
            reply.content.config_records[RECORD_KEY_CONFIGS] = self._copy
        elif asks_to_mask:
            self.masked.append(node)
            self._copy = reply.content.config_records[RECORD_KEY_CONFIGS]
            self.uplink = sum(map(len, cast(list[bytes], self._copy[Key.MASKED_PARAMETERS])))
        return reply


def _trained(vector: Vector, weight: int) -> RecordDict:
    """What a ClientApp returns."""
    result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([vector]), weight, {})
    return recorddict_compat.fitres_to_recorddict(result, keep_input=True)
