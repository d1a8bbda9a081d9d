"""Grids without a network: our in-process grid, and Flower's Ray engine.

Both run the same ServerApp and ClientApp as the deployment. They have no TLS and no identities, so a
record of theirs is evidence about learning, not about security; the record says which grid it was.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import Context, RecordDict

from secure_fl.app.casting import NodeConfig, board_folder, parts
from secure_fl.app.client_app import app as client_app
from secure_fl.app.server_app import RUN_DIR_VARIABLE
from secure_fl.app.server_app import app as server_app
from secure_fl.app.site_privacy import LEDGERS_VARIABLE, ledger_file
from secure_fl.data import site_sizes
from secure_fl.errors import ConfigError
from secure_fl.federation.kits import secagg_node_config
from secure_fl.federation.local_grid import LocalGrid
from secure_fl.federation.pki import provision
from secure_fl.federation.quiet import quiet_flower
from secure_fl.runs import RunRecord

__all__ = ["run_locally", "run_on_ray"]


def run_locally(record: RunRecord) -> None:
    """Run `record` in this process; its errors propagate after the round loop has recorded them."""
    home = record.folder.parents[1]
    with board_folder(record) as board, _identities(record) as (roster_file, identities):
        node_configs: list[NodeConfig] = [
            {
                "privacy-ledger": str(ledger_file(home, f"site-{index}")),
                "insecure-test-rng": record.config.insecure_test_rng,
                **identity,
                **part,
            }
            # Sites answer one after the other: what is not posted yet never comes.
            for index, (part, identity) in enumerate(
                zip(parts(record.config, board, wait_s=0.0), identities, strict=True)
            )
        ]
        grid = LocalGrid(client_app, record.config.sites, node_configs=node_configs)
        context = Context(
            run_id=grid.run.run_id,
            node_id=0,
            node_config={"run-dir": str(record.folder), **roster_file},
            state=RecordDict(),
            run_config=dict(record.config.to_mapping()),
        )
        server_app(grid=grid, context=context)


@contextmanager
def _identities(record: RunRecord) -> Iterator[tuple[NodeConfig, list[NodeConfig]]]:
    """What the coordinator and each site are told of identities: nothing, or under secure aggregation those of a
    federation that exists for this run only, made and read in the way of a real one."""
    config = record.config
    if config.secagg == "none":
        yield {}, [{} for _ in range(config.sites)]
        return
    with tempfile.TemporaryDirectory(prefix="secure-fl-") as folder:
        keys = provision(Path(folder) / "federation", sites=config.sites, hosts=[])
        roster_file = Path(folder) / "roster.json"
        declared = keys.roster.declaring(dict(enumerate(site_sizes(config))))
        roster_file.write_text(declared.to_json(), encoding="utf-8")
        yield (
            {"roster": str(roster_file)},
            [secagg_node_config(keys.kit(f"site-{i}"), config) for i in range(config.sites)],
        )


def run_on_ray(record: RunRecord) -> None:
    """Run `record` on Flower's simulation engine, one actor a core at most.

    Raises:
        ConfigError: the `sim` extra is not installed.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ConfigError(
            "`grid` is ray but Ray is not installed", fix="install the `sim` extra, or choose --grid local"
        ) from None
    from flwr.simulation import run_simulation

    # `run_simulation` is deprecated in favour of `flwr run`; it is the one entry that takes our objects.
    # Importing Flower has set its own log level again.
    quiet_flower()
    os.environ[RUN_DIR_VARIABLE] = str(record.folder)
    os.environ[LEDGERS_VARIABLE] = str(ledger_file(record.folder.parents[1], "any").parent)
    try:
        run_simulation(
            server_app=server_app,
            client_app=client_app,
            num_supernodes=record.config.sites,
            backend_config={
                "client_resources": {"num_cpus": record.config.threads, "num_gpus": 0.0},
                "init_args": {"log_to_driver": False, "include_dashboard": False},
            },
        )
    finally:
        del os.environ[RUN_DIR_VARIABLE], os.environ[LEDGERS_VARIABLE]
