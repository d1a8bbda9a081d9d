"""A site's start-up kit: whether it lies here, and what the site's node config takes from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secure_fl.config import RunConfig
from secure_fl.protection import FEWEST_SITES

if TYPE_CHECKING:
    from secure_fl.app.casting import NodeConfig

__all__ = ["kit_is_here", "kit_node_config", "missing_keys", "secagg_node_config"]

_KEYS = ("tls.key", "node.key", "identity.key")


def missing_keys(kit: Path) -> tuple[str, ...]:
    """Names of the private keys that a kit should hold and does not."""
    return tuple(name for name in _KEYS if not (kit / name).exists())


def kit_is_here(kit: Path) -> bool:
    """Whether any private key of the kit lies here: what else is left of one that went to its site does not count."""
    return len(missing_keys(kit)) < len(_KEYS)


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
