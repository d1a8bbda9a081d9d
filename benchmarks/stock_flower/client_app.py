"""The stock side's ClientApp, written as Flower's tutorials write theirs.

A stock SuperNode starts a new Python process for each message, so everything is imported and built anew
each round. `compute-s` starts after the imports of this module and covers everything from there to the reply.
"""

from __future__ import annotations

import json
import time

import torch  # noqa: F401 - `to_torch_state_dict` refuses where torch was not imported before
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.stock_flower.job import WEIGHT_KEY, train_at_site
from secure_fl.config import RunConfig

__all__ = ["app"]

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round at one site."""
    began = time.perf_counter()
    config = RunConfig.from_mapping(json.loads(str(context.run_config["job"])))
    content = message.content
    server_round = int(content.config_records["config"]["server-round"])  # type: ignore[arg-type]
    received = content.array_records["arrays"].to_torch_state_dict()
    state, loss, samples = train_at_site(config, int(context.node_config["partition-id"]), server_round, received)
    arrays = ArrayRecord(state)
    metrics = MetricRecord({"train-loss": loss, WEIGHT_KEY: samples, "compute-s": time.perf_counter() - began})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
