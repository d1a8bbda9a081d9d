"""From cells to statements: means with intervals, the worst case, tests against no defense, breakdown.

Two rules keep the tables honest. An entry has a mean only if every one of its seeds is there; otherwise its single
values are shown and it takes part in nothing else. And what an accuracy is worth is read on one scale, `kept`: 0 is
guessing, 1 is what the undefended model reaches where nobody attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from statistics import fmean
from typing import Any

from secure_fl.lab.comparison import CLEAN, UNDEFENDED, Comparison, Setting
from secure_fl.lab.measures import Damage, Measures, damage
from secure_fl.lab.statistics import Breakdown, Estimate, WorstCase, breakdown, estimate, holm, sign_flip_p, worst_case

__all__ = ["BROKEN", "KEEPS", "Curve", "Entry", "Findings", "Grade", "Panel", "Point", "Versus", "Worst", "conclude"]

KEEPS = 0.9  # of what clean training gains over guessing: from here on a defense is said to hold
BROKEN = 0.5  # below this it is said to be broken; between the two, damaged


class Grade(StrEnum):
    """What has become of the accuracy."""

    HOLDS = "holds"
    DAMAGED = "damaged"
    BROKEN = "broken"


@dataclass(frozen=True)
class Versus:
    """An entry minus the undefended one, paired by seed. adjusted: p after Holm over the whole comparison."""

    difference: Estimate
    p: float
    adjusted: float


@dataclass(frozen=True)
class Entry:
    """All seeds of one setting. The last five are there only if all seeds are; `refusal` if it cannot be at all."""

    setting: Setting
    measured: Mapping[int, Measures]
    failed: Mapping[int, str]
    missing: tuple[int, ...]
    refusal: str = ""
    accuracy: Estimate | None = None
    success: Estimate | None = None
    kept: float | None = None
    damage: Damage | None = None
    versus: Versus | None = None

    @property
    def grade(self) -> Grade | None:
        """None where there is no mean, or no clean baseline to hold it against."""
        return _grade(self.kept)

    def mean(self, of: Callable[[Measures], float | None]) -> float | None:
        """Mean of a measure over the seeds; None unless all seeds are there and each has it."""
        values = [of(each) for each in self.measured.values()]
        present = [value for value in values if value is not None]
        return fmean(present) if self.accuracy and len(present) == len(values) else None


@dataclass(frozen=True)
class Worst:
    """The attack that a defense withstands least. Where `counted` < `attacks`, the true worst may be lower."""

    attack: str
    accuracy: Estimate
    kept: float | None
    counted: int
    attacks: int

    @property
    def grade(self) -> Grade | None:
        """As that of an entry."""
        return _grade(self.kept)

    def to_mapping(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "grade": self.grade}


@dataclass(frozen=True)
class Panel:
    """One f and α: entries by (defense, attack), the worst case by defense."""

    byzantine: int
    alpha: float
    entries: Mapping[tuple[str, str], Entry]
    worst: Mapping[str, Worst]

    @property
    def clean(self) -> Entry:
        """Nobody attacks and nobody defends."""
        return self.entries[UNDEFENDED, CLEAN]


@dataclass(frozen=True)
class Point:
    """byzantine attackers, and the accuracy then; at 0 the rule allows for the fewest attackers of the comparison."""

    byzantine: int
    accuracy: Estimate


@dataclass(frozen=True)
class Curve:
    """Accuracy by number of attackers at one α, for one attack, or for the worst at each point (attack None)."""

    alpha: float
    defense: str
    attack: str | None
    points: tuple[Point, ...]
    breakdown: Breakdown | None


@dataclass(frozen=True)
class Findings:
    """All that a comparison says. defenses: from the best worst case to the worst, the undefended first.

    tests: how many p values were corrected for one another; chance: the accuracy of guessing.
    """

    comparison: Comparison
    chance: float
    panels: tuple[Panel, ...]
    curves: tuple[Curve, ...]
    defenses: tuple[str, ...]
    tests: int

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Of all panels."""
        return tuple(entry for panel in self.panels for entry in panel.entries.values())

    @property
    def incomplete(self) -> tuple[Entry, ...]:
        """Entries with some of their seeds failed or not there."""
        return tuple(each for each in self.entries if not each.refusal and each.accuracy is None)


def conclude(
    comparison: Comparison,
    measured: Mapping[Setting, Mapping[int, Measures]],
    failed: Mapping[Setting, Mapping[int, str]],
    refused: Mapping[Setting, str],
) -> Findings:
    """All statements, from what was measured, what failed (by seed) and what cannot be."""
    classes = [len(each.per_class) for seeds in measured.values() for each in seeds.values()]
    chance = 1 / max(classes) if any(classes) else 0.0
    plain = {
        setting: _entry(setting, comparison.seeds, measured.get(setting, {}), failed.get(setting, {}), refused)
        for setting in comparison.settings
    }
    tested = _tested(plain)
    entries = {setting: _judged(entry, plain, tested, chance) for setting, entry in plain.items()}
    panels = tuple(
        _panel(comparison, entries, f, alpha, chance) for alpha in comparison.alphas for f in comparison.byzantine
    )
    curves = tuple(_curves(comparison, panels, chance))
    return Findings(comparison, chance, panels, curves, _ranked(comparison.defenses, panels), len(tested))


def _entry(
    setting: Setting,
    seeds: Sequence[int],
    measured: Mapping[int, Measures],
    failed: Mapping[int, str],
    refused: Mapping[Setting, str],
) -> Entry:
    missing = tuple(seed for seed in seeds if seed not in measured and seed not in failed)
    values = {seed: measured[seed] for seed in seeds if seed in measured}
    entry = Entry(setting, values, failed, missing, refused.get(setting, ""))
    if entry.refusal or len(values) < len(seeds):
        return entry
    successes = [each.attack_success for each in values.values() if each.attack_success is not None]
    return replace(
        entry,
        accuracy=estimate([each.accuracy for each in values.values()]),
        success=estimate(successes) if len(successes) == len(seeds) else None,
    )


def _tested(entries: Mapping[Setting, Entry]) -> dict[Setting, Versus]:
    """Every defense against no defense, under each attack: one family, as the page shows them all together."""
    differences: dict[Setting, list[float]] = {}
    for setting, entry in entries.items():
        undefended = entries[replace(setting, defense=UNDEFENDED)]
        if setting.attack and entry is not undefended and entry.accuracy and undefended.accuracy:
            pairs = zip(entry.measured.values(), undefended.measured.values(), strict=True)
            differences[setting] = [ours.accuracy - theirs.accuracy for ours, theirs in pairs]
    ps = [sign_flip_p(values) for values in differences.values()]
    return {
        setting: Versus(estimate(values), p, adjusted)
        for (setting, values), p, adjusted in zip(differences.items(), ps, holm(ps), strict=True)
    }


def _judged(entry: Entry, entries: Mapping[Setting, Entry], tested: Mapping[Setting, Versus], chance: float) -> Entry:
    """The entry with what can be said only beside the baselines."""
    clean = entries[replace(entry.setting, defense=UNDEFENDED, attack=CLEAN)]
    if entry.accuracy is None:
        return entry
    lost = damage(list(clean.measured.values()), list(entry.measured.values())) if clean.accuracy else None
    return replace(entry, kept=_kept(entry.accuracy, clean, chance), damage=lost, versus=tested.get(entry.setting))


def _panel(comparison: Comparison, entries: Mapping[Setting, Entry], f: int, alpha: float, chance: float) -> Panel:
    here = {
        (defense, attack): entries[Setting(f, alpha, defense, attack)]
        for defense in comparison.defenses
        for attack in comparison.attacks
    }
    clean = here[UNDEFENDED, CLEAN]
    worst = {}
    for defense in comparison.defenses:
        hostile = [here[defense, attack] for attack in comparison.attacks if attack]
        complete = [each for each in hostile if each.accuracy]
        if complete:
            found: WorstCase = worst_case([[m.accuracy for m in each.measured.values()] for each in complete])
            attack, kept = complete[found.row].setting.attack, _kept(found.estimate, clean, chance)
            worst[defense] = Worst(attack, found.estimate, kept, len(complete), len(hostile))
    return Panel(f, alpha, here, worst)


def _curves(comparison: Comparison, panels: Sequence[Panel], chance: float) -> list[Curve]:
    curves = []
    for alpha in comparison.alphas:
        here = [panel for panel in panels if panel.alpha == alpha]
        clean = here[0].clean.accuracy
        threshold = chance + BROKEN * (clean.mean - chance) if clean else None
        for defense in comparison.defenses:
            start = here[0].entries[defense, CLEAN].accuracy
            for attack in (*(each for each in comparison.attacks if each), None):
                found = [(0, start), *((panel.byzantine, _accuracy(panel, defense, attack)) for panel in here)]
                points = tuple(Point(f, value) for f, value in found if value)
                where = [(each.byzantine, each.accuracy.mean) for each in points]
                fell = breakdown(where, threshold) if threshold is not None else None
                curves.append(Curve(alpha, defense, attack, points, fell))
    return curves


def _accuracy(panel: Panel, defense: str, attack: str | None) -> Estimate | None:
    if attack is not None:
        return panel.entries[defense, attack].accuracy
    worst = panel.worst.get(defense)
    return worst.accuracy if worst and worst.counted == worst.attacks else None


def _ranked(defenses: Sequence[str], panels: Sequence[Panel]) -> tuple[str, ...]:
    """By mean worst case over the panels; those without one in every panel come last, in their order."""

    def rank(defense: str) -> tuple[bool, bool, float]:
        worst = [panel.worst[defense].accuracy.mean for panel in panels if defense in panel.worst]
        return defense != UNDEFENDED, len(worst) < len(panels), -fmean(worst) if worst else 0.0

    return tuple(sorted(defenses, key=rank))


def _kept(accuracy: Estimate, clean: Entry, chance: float) -> float | None:
    if clean.accuracy is None or clean.accuracy.mean <= chance:
        return None
    return (accuracy.mean - chance) / (clean.accuracy.mean - chance)


def _grade(kept: float | None) -> Grade | None:
    if kept is None:
        return None
    return Grade.HOLDS if kept >= KEEPS else Grade.BROKEN if kept < BROKEN else Grade.DAMAGED
