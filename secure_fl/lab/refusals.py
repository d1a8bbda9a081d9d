"""What of a comparison cannot be, known before anything runs.

A rule that cannot tolerate f of n is a finding, shown in the table. A text that is refused at every f is a mistake of
whoever typed it, and ends the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attacks.base import AttackError
from attacks.registry import build as build_attack
from defenses.base import DefenseError
from defenses.registry import build as build_defense
from secure_fl.compositions import parse
from secure_fl.errors import ConfigError
from secure_fl.lab.comparison import Comparison, Setting

__all__ = ["refusals"]

Refused = Mapping[tuple[str, int], str]  # by text and f


def refusals(comparison: Comparison) -> dict[Setting, str]:
    """The settings that a defense or an attack refuses, each with its reason.

    Raises:
        ConfigError: a defense or an attack that is refused at every f: an unknown name or parameter, for instance.
    """
    n = comparison.base.clients
    defenses = _refused(comparison.defenses, comparison.byzantine, lambda text, f: _try_defense(text, n, f))
    attacks = _refused(comparison.attacks, comparison.byzantine, lambda text, f: _try_attack(text, n, f))
    return {
        setting: reason
        for setting in comparison.settings
        if (
            reason := defenses.get((setting.defense, setting.byzantine))
            or attacks.get((setting.attack, setting.byzantine))
        )
    }


def _refused(texts: Sequence[str], byzantine: Sequence[int], attempt: Callable[[str, int], None]) -> Refused:
    found: dict[tuple[str, int], str] = {}
    for text in texts:
        for f in byzantine:
            try:
                attempt(text, f)
            except (AttackError, DefenseError) as error:
                found[text, f] = f"{error.what}: {error.why}" if error.why else error.what
                last = error
        if all((text, f) in found for f in byzantine):
            raise ConfigError(last.what, why=last.why, fix=last.fix)
    return found


def _try_defense(text: str, n: int, f: int) -> None:
    build_defense(parse(text), n=n, f=f)


def _try_attack(text: str, n: int, f: int) -> None:
    for name, parameters in parse(text) if text else ():
        build_attack(name, parameters, n=n, f=f)
