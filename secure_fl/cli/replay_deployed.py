"""A scenario on the deployment grid: an ordinary run under HOME/runs, whose attackers are real processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from secure_fl.cli.output import current, home, shown_path
from secure_fl.cli.replay_view import Row, row_of_run
from secure_fl.config import RunConfig, key_of, setting_fields
from secure_fl.config_sources import ResolvedConfig

if TYPE_CHECKING:
    from secure_fl.lab.scenario import Scenario

__all__ = ["deploy", "resolved"]


def deploy(scenario: Scenario) -> Row:
    """Carry the scenario out and record it as a run; the run says that it is a simulation of attackers.

    Raises:
        ConfigError: the scenario has settings that only the lab knows.
        SecureFLError: the run failed.
    """
    from secure_fl.federation.launch import execute
    from secure_fl.lab.deployment import run_config
    from secure_fl.runs import RunRecord

    record = RunRecord.create(home(), resolved(run_config(scenario), scenario), command=["secure-fl", *sys.argv[1:]])
    current().note(f"{scenario.defense}: run {record.id} in {shown_path(record.folder)}/")
    execute(record, home())
    row = row_of_run(scenario, record.id, record.rounds())
    current().note(f"{scenario.defense}: accuracy {row.accuracy or 0.0:.1%}")
    return row


def resolved(config: RunConfig, scenario: Scenario) -> ResolvedConfig:
    """The settings with the scenario as their origin, where they are not the default."""
    default = RunConfig()
    return ResolvedConfig(
        config,
        {
            key_of(each.name): "default"
            if getattr(config, each.name) == getattr(default, each.name)
            else f"scenario {scenario.name}"
            for each in setting_fields()
        },
    )
