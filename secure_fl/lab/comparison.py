"""What is compared: attack × defense × f × α × seed over one base scenario, and nothing else differs.

Each combination is a *cell*: one scenario, known by its digest. The seeds of one attack, defense, f and α are
paired, because a scenario's honest clients depend on its seed and not on its defense. Two things are always among
the cells, asked for or not: nobody attacks, and nobody defends. Without them no other number can be judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from secure_fl.compositions import parse, spell
from secure_fl.errors import ConfigError
from secure_fl.lab.scenario import Scenario

__all__ = ["CLEAN", "UNDEFENDED", "Cell", "Comparison", "Setting"]

CLEAN = ""  # the attack of those who do not attack
UNDEFENDED = "mean"  # the defense of those who do not defend


@dataclass(frozen=True, order=True)
class Setting:
    """What the seeds of one entry have in common. byzantine: f; alpha: of the Dirichlet partition."""

    byzantine: int
    alpha: float
    defense: str
    attack: str


@dataclass(frozen=True)
class Cell:
    """One scenario to simulate."""

    setting: Setting
    seed: int
    scenario: Scenario

    @cached_property
    def digest(self) -> str:
        """The scenario's own."""
        return self.scenario.digest()

    def __str__(self) -> str:
        at = self.setting
        return (
            f"{at.attack or 'no attack'} against {at.defense}, f = {at.byzantine}, α = {at.alpha:g}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Comparison:
    """The grid; texts are brought into canonical form, and the two baselines put first.

    Raises:
        ConfigError: an axis is empty or names something twice, or a value is not one a scenario can have.
    """

    base: Scenario
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    byzantine: tuple[int, ...]
    alphas: tuple[float, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        attacks = _canonical("attack", [each for each in self.attacks if each.strip()])
        defenses = _canonical("defense", self.defenses)
        object.__setattr__(self, "attacks", (CLEAN, *attacks))
        object.__setattr__(self, "defenses", (UNDEFENDED, *(each for each in defenses if each != UNDEFENDED)))
        for axis in ("byzantine", "alphas", "seeds"):
            object.__setattr__(self, axis, tuple(sorted(getattr(self, axis))))
            _refuse_repeats(axis, getattr(self, axis))
            if not getattr(self, axis):
                raise ConfigError(f"{axis}: nothing is given", fix="give at least one value")
        if not attacks:
            raise ConfigError("no attack to compare", fix="give --attack at least once")
        if self.byzantine[0] < 1:
            raise ConfigError(f"{self.byzantine[0]} Byzantine clients cannot attack", fix="give --byzantine 1 or more")
        for _ in self.cells():
            pass  # a value that no scenario can have is refused here, before anything runs

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All entries, by α, then f, then attack, then defense."""
        return tuple(
            Setting(f, alpha, defense, attack)
            for alpha in self.alphas
            for f in self.byzantine
            for attack in self.attacks
            for defense in self.defenses
        )

    def cells(self) -> Iterator[Cell]:
        """All cells, a whole seed before the next, so that a comparison that is cut short has whole seeds."""
        for seed in self.seeds:
            for setting in self.settings:
                yield Cell(setting, seed, self.scenario(setting, seed))

    def scenario(self, setting: Setting, seed: int) -> Scenario:
        """The base with the values of a cell. Where nobody attacks, the rule still has to allow for f who might."""
        return self.base.changed(
            attack=setting.attack,
            defense=setting.defense,
            byzantine=setting.byzantine,
            attackers=setting.byzantine if setting.attack else 0,
            alpha=setting.alpha,
            seed=seed,
        )

    def manifest(self) -> dict[str, Any]:
        """The grid and the base scenario, JSON-able; what `digest` hashes."""
        varied = ("attack", "defense", "byzantine", "attackers", "alpha", "seed")
        base = {key: value for key, value in self.base.manifest().items() if key not in varied}
        axes = ("attacks", "defenses", "byzantine", "alphas", "seeds")
        return {"base": base, **{axis: list(getattr(self, axis)) for axis in axes}}

    def digest(self) -> str:
        """SHA-256 (hex) over the manifest as canonical JSON: equal digests, equal tables."""
        text = json.dumps(self.manifest(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _canonical(axis: str, texts: Sequence[str]) -> tuple[str, ...]:
    found = tuple(spell(parse(text)) for text in texts)
    _refuse_repeats(axis, found)
    return found


def _refuse_repeats(axis: str, values: Sequence[object]) -> None:
    twice = [value for at, value in enumerate(values) if value in values[:at]]
    if twice:
        raise ConfigError(f"{axis} {twice[0]} is there twice", fix="name each once")
