"""What a site's node config takes from its start-up kit."""

from __future__ import annotations

from pathlib import Path

from secure_fl.app.casting import NodeConfig
from secure_fl.config import RunConfig
from secure_fl.protection import FEWEST_SITES

__all__ = ["kit_node_config", "secagg_node_config"]


def kit_node_config(kit: Path) -> NodeConfig:
    """Whose kit it is, and the roster by which it knows its peers; the log of opened sums is kept in it."""
    return {
        "site": kit.name,
        "identity-key": str(kit / "identity.key"),
        "roster": str(kit / "roster.json"),
        "secagg-log": str(kit / "opened-sums.jsonl"),
    }


def secagg_node_config(kit: Path, config: RunConfig) -> NodeConfig:
    """The same for a site of a run under secure aggregation that our launcher starts: it takes part in nothing less."""
    fewest = config.secagg_group_size if config.secagg == "grouped" else FEWEST_SITES
    return {**kit_node_config(kit), "secagg-fewest": fewest}
