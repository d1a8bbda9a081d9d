"""Who plays an attacker in a simulated attack, and the mark that the run carries for it.

The parts are handed out by the launcher, through the node config of each site that it starts itself: never through a
message of the coordinator's. The last `attackers` sites get the attack; all sites get the `Board`, but only where the
attack sees the updates of others. The mark stands in the `run-started` event and in the model's card.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attacks.base import Knowledge
from secure_fl.adversity import Space, build_attack, space_of
from secure_fl.app.identity import Roster
from secure_fl.config import RunConfig
from secure_fl.models import SIMULATION_MARK
from secure_fl.runs import RunRecord

__all__ = ["NodeConfig", "board_folder", "card_mark", "parts", "simulation"]

NodeConfig = dict[str, str | int | float | bool]


def parts(config: RunConfig, board: Path, *, wait_s: float) -> list[NodeConfig]:
    """What the node config of each site gets, by index; nothing in a run without an attack.

    wait_s: how long a site waits for what others post, where sites run side by side.
    """
    if not config.attack:
        return [{} for _ in range(config.sites)]
    seat: NodeConfig = {"board": str(board), "board-wait-s": wait_s}
    attacker: NodeConfig = {**seat, "attack": config.attack, "attackers": config.attackers}
    honest = config.sites - config.attackers
    return [dict(seat if _sees_others(config) else {}) for _ in range(honest)] + [
        dict(attacker) for _ in range(config.attackers)
    ]


@contextmanager
def board_folder(record: RunRecord) -> Iterator[Path]:
    """A folder of the run's own that only this user can read; gone once the run has succeeded.

    A run that was cut off keeps it: whoever resumes it finds what the attackers remember.
    """
    folder = record.folder / "board"
    if record.config.attack:
        folder.mkdir(mode=0o700, exist_ok=True)
    yield folder
    if record.status() == "succeeded":
        shutil.rmtree(folder, ignore_errors=True)


def simulation(config: RunConfig, roster: Roster) -> dict[str, Any] | None:
    """What the record says of a simulated attack: its text, and the sites that carry it out; None without one."""
    if not config.attack:
        return None
    first = config.sites - config.attackers
    return {"attack": config.attack, "attackers": [each.name for each in roster.entries if each.index >= first]}


def card_mark(config: RunConfig) -> dict[str, str]:
    """What the model's card says of it: such a model is not for use."""
    return {SIMULATION_MARK: f"{config.attack} by {config.attackers} of {config.sites} sites"} if config.attack else {}


def _sees_others(config: RunConfig) -> bool:
    if space_of(config.attack) is not Space.UPDATE:
        return False
    attack: Any = build_attack(config.attack, sites=config.sites, attackers=config.attackers)
    return bool(attack.knowledge is not Knowledge.NONE)
