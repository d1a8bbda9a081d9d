"""The coordinator's side: Flower's ServerApp.

Our launcher tells it where the run record and the roster are: through the context's node config on the
local grid, through the environment where Flower starts it (a run config would send the coordinator's
paths to every site). Without either, under a plain `flwr run`, it makes a record of its own in the
current directory and admits the sites of the config without identity keys, and says so in the record.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from secure_fl.app.coordinator import coordinate
from secure_fl.app.identity import Roster, open_roster
from secure_fl.app.robust import aggregator_of
from secure_fl.config import RunConfig, key_of, setting_fields
from secure_fl.config_sources import ResolvedConfig
from secure_fl.data import site_sizes
from secure_fl.errors import ConfigError
from secure_fl.runs import RunRecord

__all__ = ["ROSTER_VARIABLE", "RUN_DIR_VARIABLE", "app"]

RUN_DIR_VARIABLE = "SECURE_FL_RUN_DIR"
ROSTER_VARIABLE = "SECURE_FL_ROSTER"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Flower's entry point: find the record and the roster, then run the round loop."""
    record = _record(context)
    roster_file = context.node_config.get("roster") or os.environ.get(ROSTER_VARIABLE)
    roster = Roster.read(Path(str(roster_file))) if roster_file else open_roster(site_sizes(record.config))
    facts: dict[str, Any] = {
        "pid": os.getpid(),
        "grid": record.config.grid,
        "grid_class": type(grid).__name__,
        # Those of a simulation exist for one run and prove nothing.
        "site_identities": bool(roster_file) and record.config.grid == "deployment",
    }
    coordinate(grid, record, roster, aggregator_of(record.config), facts=facts)


def _record(context: Context) -> RunRecord:
    told = context.node_config.get("run-dir") or os.environ.get(RUN_DIR_VARIABLE)
    if told:
        return RunRecord.open(Path(str(told)))
    settings = {key_of(each.name) for each in setting_fields()}
    given = {key: value for key, value in context.run_config.items() if key in settings}
    config = RunConfig.from_mapping(given)
    if config.attack:
        raise ConfigError(
            f"`attack` is {config.attack}, which `flwr run` cannot simulate",
            why="no message makes a site malicious: only the launcher that starts the sites can",
            fix="secure-fl run --attack …",
        )
    resolved = ResolvedConfig(config, {key: "flwr run" for key in settings})
    return RunRecord.create(Path.cwd(), resolved, command=("flwr", "run"))
