"""What of a comparison cannot be, known before anything runs.

A rule that cannot tolerate f of n is a finding, shown in the table. A text that is refused at every f is a mistake of
whoever typed it, and ends the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from secure_fl.data import open_dataset
from secure_fl.errors import ConfigError
from secure_fl.lab.adversary import adversary_of
from secure_fl.lab.comparison import CLEAN, UNDEFENDED, Comparison, Setting
from secure_fl.lab.data import data_config
from secure_fl.lab.networks import network_named
from secure_fl.lab.rules import coordinator_of

__all__ = ["refusals"]


def refusals(comparison: Comparison) -> dict[Setting, str]:
    """The settings that the simulation would refuse because of their defense or attack, each with the reason.

    Raises:
        ConfigError: a defense or an attack that is refused at every f, an unknown name for instance; an unknown model.
        DataError, NotFoundError: the data set cannot be opened.
    """
    network_named(comparison.base.model)
    open_dataset(data_config(comparison.base))

    def defend(text: str, f: int) -> None:
        coordinator_of(comparison.scenario(Setting(f, comparison.alphas[0], text, CLEAN), comparison.seeds[0]))

    def attack(text: str, f: int) -> None:
        adversary_of(comparison.scenario(Setting(f, comparison.alphas[0], UNDEFENDED, text), comparison.seeds[0]))

    defenses = _refused(comparison.defenses, comparison.byzantine, defend)
    attacks = _refused(comparison.attacks, comparison.byzantine, attack)
    reasons = {
        setting: defenses.get((setting.defense, setting.byzantine)) or attacks.get((setting.attack, setting.byzantine))
        for setting in comparison.settings
    }
    return {setting: reason for setting, reason in reasons.items() if reason}


def _refused(
    texts: Sequence[str], byzantine: Sequence[int], attempt: Callable[[str, int], None]
) -> Mapping[tuple[str, int], str]:
    """Reasons by text and f."""
    found: dict[tuple[str, int], str] = {}
    for text in texts:
        errors = {f: error for f in byzantine if (error := _error(attempt, text, f)) is not None}
        if len(errors) == len(byzantine):
            raise errors[byzantine[0]]
        found |= {(text, f): str(error) for f, error in errors.items()}
    return found


def _error(attempt: Callable[[str, int], None], text: str, f: int) -> ConfigError | None:
    try:
        attempt(text, f)
    except ConfigError as error:
        return error
    return None
