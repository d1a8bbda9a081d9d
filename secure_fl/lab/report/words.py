"""Numbers and names as the reports write them."""

from __future__ import annotations

from secure_fl.lab.comparison import Comparison
from secure_fl.lab.findings import Entry, Grade, Worst
from secure_fl.lab.statistics import Breakdown, Estimate

__all__ = [
    "MARKS",
    "attack_name",
    "breakdown_words",
    "defense_name",
    "entry_words",
    "gap",
    "interval",
    "p_value",
    "panel_name",
    "percent",
    "points",
    "share",
    "worst_words",
]

MARKS = {Grade.HOLDS: "✓", Grade.DAMAGED: "~", Grade.BROKEN: "✕"}


def attack_name(attack: str | None) -> str:
    """The attack, or what it is when there is none."""
    return "worst case" if attack is None else attack or "no attack"


def defense_name(defense: str) -> str:
    """The defense; plain averaging is none."""
    return "no defense (mean)" if defense == "mean" else defense


def panel_name(comparison: Comparison, byzantine: int, alpha: float) -> str:
    """`f = 2 of 10, α = 0.5`; where α plays no part, the partition in its place."""
    base = comparison.base
    images = f"α = {alpha:g}" if base.partition == "dirichlet" else base.partition
    return f"f = {byzantine} of {base.clients}, {images}"


def entry_words(entry: Entry, seeds: int) -> str:
    """`✓ 94.1`, or why there is no mean."""
    return gap(entry, seeds) if entry.accuracy is None else f"{_mark(entry.grade)}{percent(entry.accuracy.mean)}"


def worst_words(worst: Worst | None) -> str:
    """`✕ 10.2`; with `≤` where attacks are missing."""
    if worst is None:
        return "–"
    bound = "" if worst.counted == worst.attacks else "≤ "
    return f"{_mark(worst.grade)}{bound}{percent(worst.accuracy.mean)}"


def percent(value: float) -> str:
    """0.9412 as `94.1`; the unit stands above the table."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign: `−12.3`."""
    return f"{100 * value:+.1f}".replace("-", "−")


def share(value: float) -> str:
    """A share with two digits: `0.94`."""
    return f"{value:.2f}"


def interval(of: Estimate) -> str:
    """`92.8–95.0`, or nothing where there is no interval."""
    return "" if of.low is None or of.high is None else f"{percent(of.low)}–{percent(of.high)}"


def p_value(p: float) -> str:
    """`0.0625`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3g}"


def gap(entry: Entry, seeds: int) -> str:
    """Why an entry has no mean, in a few words; nothing where it has one."""
    if entry.refusal:
        return "refused"
    if entry.accuracy is not None:
        return ""
    there = f"{len(entry.measured)} of {seeds} seeds"
    return f"{there}, {len(entry.failed)} failed" if entry.failed else there


def breakdown_words(found: Breakdown | None, tried: int) -> str:
    """Where a curve gives way, as far as it was measured; tried: the most attackers of the comparison."""
    match found:
        case None:
            return "no clean baseline to judge by"
        case Breakdown(holds=None, breaks=None):
            return "not measured"
        case Breakdown(holds=None, breaks=at):
            return f"below the line already at f = {at}"
        case Breakdown(holds=held, breaks=None):
            return f"no breakdown up to f = {held}" if held == tried else f"measured to f = {held}, no breakdown"
        case Breakdown(holds=held, breaks=at):
            return f"breaks between f = {held} and {at}"


def _mark(grade: Grade | None) -> str:
    return f"{MARKS[grade]} " if grade else ""
