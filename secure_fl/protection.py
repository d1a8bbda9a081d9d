"""What a run hides from its coordinator (`secagg` and its kin), and which combinations could not keep the promise.

Three modes, exclusive and named in the record. `none`: the coordinator sees each site's update. `full`: it sees the
sum over all sites, so no rule that judges single sites can work. `grouped`: it sees the sum of each of G groups, over
which a robust rule decides; b hostile sites spoil at most b groups, so b < G / 2, that is b < n / (2 g) for groups of
g (facts and bounds: docs/explanation/secure-aggregation.md). The price is the privacy set: g sites instead of n.
"""

from __future__ import annotations

from typing import Protocol

from secure_fl.compositions import FEDAVG
from secure_fl.errors import ConfigError

__all__ = [
    "FEWEST_GROUPS",
    "FEWEST_SITES",
    "privacy_set",
    "privacy_summary",
    "refuse_group_size",
    "refuse_protection",
    "threshold_of",
]

# A sum over fewer sites says too much of each, and three groups are the least of which one can be outvoted.
FEWEST_SITES, FEWEST_GROUPS = 5, 3


class Protection(Protocol):
    """The settings that this module judges; a `RunConfig` has them."""

    @property
    def secagg(self) -> str: ...
    @property
    def secagg_groups(self) -> int: ...
    @property
    def secagg_group_size(self) -> int: ...
    @property
    def secagg_colluders(self) -> int: ...
    @property
    def sites(self) -> int: ...
    @property
    def grid(self) -> str: ...
    @property
    def allow_stock_supernodes(self) -> bool: ...
    @property
    def norm(self) -> str: ...
    @property
    def defense(self) -> str: ...
    @property
    def byzantine(self) -> int: ...
    @property
    def attack(self) -> str: ...
    @property
    def root_samples(self) -> int: ...
    @property
    def validation_gate(self) -> float: ...
    @property
    def dp_at_sites(self) -> bool: ...
    @property
    def dp_of_sites(self) -> bool: ...
    @property
    def dp_sgd(self) -> str: ...
    @property
    def dp_distributed(self) -> bool: ...
    @property
    def secagg_bits(self) -> str: ...


def threshold_of(members: int) -> int:
    """How many of so many sites must hold out to the end of a round, and must agree on who did: ⌊2n/3⌋ + 1.

    Two sets of t out of n share an honest site whenever 2t > n + colluders, so that no coordinator can have two
    different sets of survivors signed (Bonawitz et al., CCS 2017, section 6.2).
    """
    return 2 * members // 3 + 1


def privacy_set(config: Protection) -> int:
    """Among how many honest sites each is hidden, at the least: the survivors of a sum that are not colluders."""
    members = config.secagg_group_size if config.secagg == "grouped" else config.sites
    return threshold_of(members) - config.secagg_colluders


def privacy_summary(config: Protection) -> str:
    """What is hidden among how many, and how many hostile sites are outvoted, in one line; empty without secagg."""
    if config.secagg == "none":
        return ""
    seen = "the sum over all sites" if config.secagg == "full" else f"{config.secagg_groups} sums over groups of sites"
    held = "no hostile site is tolerated"
    if config.secagg == "grouped":
        held = f"{config.byzantine} hostile {'site is' if config.byzantine == 1 else 'sites are'} tolerated"
    told = f", {config.secagg_colluders} colluders assumed" if config.secagg_colluders else ""
    return f"{seen}, each site hidden among at least {privacy_set(config)}{told}; {held}"


def refuse_group_size(size: int, *, sites: int) -> None:
    """Refuse groups that hide nothing, or too few to vote; raises ConfigError."""
    if size < 2:
        raise ConfigError(
            f"`secagg-group-size` is {size} but `secagg` is grouped",
            why="a group of one hides nothing",
            fix="give --secagg-group-size 2 or more",
        )
    groups = sites // size
    if groups < FEWEST_GROUPS:
        raise ConfigError(
            f"`secagg-group-size` is {size} of {sites} sites",
            why=f"that makes {groups} groups, and no rule can tell which of two is wrong",
            fix=f"take at least {FEWEST_GROUPS * size} sites, or smaller groups, or --secagg full",
        )


def refuse_protection(config: Protection) -> None:
    """Refuse what cannot keep its promise.

    Raises:
        ConfigError: names the setting, the reason, and what would do.
    """
    if config.validation_gate and not config.root_samples:
        raise ConfigError(
            f"`validation-gate` is {config.validation_gate:g} but `root-samples` is 0",
            why="test images that decided about rounds would no longer grade the model",
            fix="give -c root-samples=100",
        )
    if config.dp_sgd == "distributed" and not (config.dp_at_sites and config.secagg == "full"):
        raise ConfigError(
            "`dp-sgd` is distributed but the run is not DP-SGD under secagg=full",
            why="a site's share of the noise protects nobody unless only the sum of all shares is seen",
            fix="give --secagg full and --dp-epsilon, with dp-unit=sample",
        )
    if config.secagg == "none":
        for key, value in (("group-size", config.secagg_group_size), ("colluders", config.secagg_colluders)):
            if value:
                raise ConfigError(f"`secagg-{key}` is {value} but `secagg` is none", fix="choose --secagg grouped")
        return
    _refuse_surroundings(config)
    if config.secagg == "full":
        _refuse_full(config)
    else:
        _refuse_grouped(config)


def _refuse_surroundings(config: Protection) -> None:
    """What no mode of secure aggregation can work with."""
    mode = f"`secagg` is {config.secagg}"
    if config.sites < FEWEST_SITES:
        raise ConfigError(
            f"{mode} but `sites` is {config.sites}",
            why=f"a sum over fewer than {FEWEST_SITES} sites says too much of each of them",
            fix=f"take at least {FEWEST_SITES} sites",
        )
    if config.grid == "ray":
        raise ConfigError(
            f"{mode} but `grid` is ray",
            why="its actors keep no secrets between the messages of a round",
            fix="choose --grid deployment or local",
        )
    if config.allow_stock_supernodes:
        raise ConfigError(
            f"{mode} but `allow-stock-supernodes` is set",
            why="a stock SuperNode starts a process for each message and would have to write secrets to disk",
            fix="choose one of them",
        )
    if config.norm == "batch":
        raise ConfigError(
            f"{mode} but `norm` is batch",
            why="counters and variances of BatchNorm would use up the norm to which an update is clipped",
            fix="choose norm=group or norm=frozen-batch",
        )


def _refuse_full(config: Protection) -> None:
    if config.secagg_colluders >= threshold_of(config.sites):
        raise ConfigError(
            f"`secagg-colluders` is {config.secagg_colluders} of {config.sites} sites",
            why=f"{threshold_of(config.sites)} sites together can open anybody's masks",
            fix="assume fewer, or take more sites",
        )
    if config.secagg_group_size:
        raise ConfigError("`secagg-group-size` is set but `secagg` is full", fix="choose --secagg grouped")
    if config.defense != FEDAVG:
        raise ConfigError(
            f"`defense` is {config.defense} but `secagg` is full",
            why="it judges single updates, and only their sum is seen",
            fix="choose --secagg grouped --secagg-group-size 2, or leave the defense out",
        )
    if config.dp_sgd == "distributed" and config.dp_of_sites:
        raise ConfigError(
            "`dp-sgd` is distributed but `dp-unit` is both",
            why="sites then send sums of gradients, each image's clipped: there is no update of a site to clip",
            fix="choose dp-unit=sample, or dp-sgd=local",
        )
    if config.dp_distributed and config.secagg_bits == "16":
        raise ConfigError(
            "`secagg-bits` is 16 but sites add shares of noise to a sum",
            why="noise and steps fine enough for it do not fit",
            fix="choose secagg-bits=32",
        )


def _refuse_grouped(config: Protection) -> None:
    size, groups = config.secagg_group_size, config.secagg_groups
    refuse_group_size(size, sites=config.sites)
    if config.secagg_colluders and privacy_set(config) < 2:
        raise ConfigError(
            f"`secagg-colluders` is {config.secagg_colluders} but `secagg-group-size` is {size}",
            why=f"a sum of {threshold_of(size)} sites, without what {config.secagg_colluders} of them tell, "
            "is one site's update",
            fix="take larger groups, or --secagg full",
        )
    if config.defense == FEDAVG:
        raise ConfigError(
            f"`secagg` is grouped but `defense` is {FEDAVG}",
            why="a mean over groups gives up privacy for nothing: --secagg full opens the same mean of all",
            fix="choose --secagg full, or a robust rule, e.g. --defense median --byzantine 1",
        )
    if 2 * config.byzantine >= groups:
        raise ConfigError(
            f"`byzantine` is {config.byzantine} but `secagg` has {groups} groups",
            why=f"{config.byzantine} hostile sites can spoil {min(config.byzantine, groups)} of them; "
            f"a robust rule needs more than half of them clean: b < n / (2 g)",
            fix=f"assume at most {(groups - 1) // 2}, or take smaller groups or more sites",
        )
    if config.dp_of_sites:
        raise ConfigError(
            "`secagg` is grouped but `dp-unit` gives each site differential privacy",
            why="each group's sum is seen, so each would need all of the noise",
            fix="choose --secagg full, or dp-unit=sample",
        )
