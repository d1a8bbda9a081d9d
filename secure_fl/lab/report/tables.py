"""The heat tables of the page: defenses down, attacks across, and what no defense and no attack would give.

Nothing is said by colour alone: a sign and hidden words repeat it. A table that is wider than the screen scrolls
inside itself, by keyboard too, and its first column stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secure_fl.lab.comparison import CLEAN, UNDEFENDED
from secure_fl.lab.findings import Entry, Findings, Grade, Panel, Worst
from secure_fl.lab.report.markup import Markup, element, joined
from secure_fl.lab.report.palette import level
from secure_fl.lab.report.words import MARKS, attack_name, defense_name, gap, interval, percent, points, share

__all__ = ["accuracy_table", "damage_table", "heat_table", "selection_table", "success_table"]

Draw = Callable[[Entry], Markup]


def accuracy_table(findings: Findings, panel: Panel) -> Markup:
    """Accuracy in percent with its interval, and the worst case over the attacks."""
    seeds = len(findings.comparison.seeds)

    def cell(entry: Entry) -> Markup:
        if entry.accuracy is None:
            return _gap(entry, seeds, [percent(each.accuracy) for each in entry.measured.values()])
        return _value(entry.kept, entry.grade, percent(entry.accuracy.mean), interval(entry.accuracy))

    def last(defense: str) -> Markup:
        worst = panel.worst.get(defense)
        return _empty("–", "not measured", "worst") if worst is None else _worst(worst)

    caption = "Accuracy on the test images, in percent; mean over the seeds, with its 95 % interval below"
    return heat_table(findings, panel, findings.comparison.attacks, caption, cell, last)


def success_table(findings: Findings, panel: Panel) -> Markup | None:
    """Attack success in percent, for the attacks that have a trigger; None if none has."""
    seeds = len(findings.comparison.seeds)
    attacks = [attack for attack in findings.comparison.attacks if attack and _has_trigger(panel, attack)]

    def cell(entry: Entry) -> Markup:
        if entry.success is None:
            return _gap(entry, seeds, [percent(each.attack_success or 0.0) for each in entry.measured.values()])
        return _value(1 - entry.success.mean, None, percent(entry.success.mean), interval(entry.success))

    caption = "Attack success: images with the trigger that are taken for the attacker's class, in percent; low is good"
    return heat_table(findings, panel, attacks, caption, cell) if attacks else None


def damage_table(findings: Findings, panel: Panel) -> Markup:
    """The class that lost most against the clean baseline, in percentage points."""
    seeds = len(findings.comparison.seeds)

    def cell(entry: Entry) -> Markup:
        if entry.accuracy is None:
            return _gap(entry, seeds, [])
        if entry.damage is None:
            return _empty("–", "no clean baseline")
        if entry.damage.drop <= 0:
            return _value(1.0, None, "none")
        return _value(1 - entry.damage.drop, None, points(-entry.damage.drop), f"class {entry.damage.label}")

    caption = (
        "Damage to single classes: the class that lost most accuracy against no attack and no defense, in "
        "percentage points, mean over the seeds"
    )
    return heat_table(findings, panel, findings.comparison.attacks, caption, cell)


def selection_table(findings: Findings, panel: Panel) -> Markup:
    """Whom the rule turned away, and whom it listened to."""
    seeds = len(findings.comparison.seeds)

    def cell(entry: Entry) -> Markup:
        if entry.accuracy is None:
            return _gap(entry, seeds, [])
        recall, weight = entry.mean(lambda each: each.recall), entry.mean(lambda each: each.weight)
        if recall is None:
            return _empty("–", "nobody attacks")
        precision = entry.mean(lambda each: each.precision)
        found = f"{share(precision)} / {share(recall)}" if precision is not None else "turns nobody away"
        heard = "by coordinate" if weight is None else f"weight {share(weight)}"
        return _value(1 - min(1.0, (weight or 0.0) * 2) if weight is not None else None, None, found, heard)

    n = findings.comparison.base.clients
    caption = (
        "Precision / recall of turning attackers away, over all clients and rounds; below, the attackers' share of the "
        f"weight, which is {share(panel.byzantine / n)} for plain averaging. Colour: the weight"
    )
    return heat_table(findings, panel, [each for each in findings.comparison.attacks if each], caption, cell)


def heat_table(
    findings: Findings,
    panel: Panel,
    attacks: Sequence[str],
    caption: str,
    cell: Draw,
    last: Callable[[str], Markup] | None = None,
) -> Markup:
    """Defenses in the findings' order, one column an attack, and perhaps one more."""
    heads = [element("th", {"scope": "col", "class": _column(attack)}, attack_name(attack)) for attack in attacks]
    more = [element("th", {"scope": "col", "class": "worst"}, "worst case")] if last else []
    rows = [
        element(
            "tr",
            {"class": "none"} if defense == UNDEFENDED else None,
            element("th", {"scope": "row"}, defense_name(defense)),
            *(cell(panel.entries[defense, attack]) for attack in attacks),
            *([last(defense)] if last else []),
        )
        for defense in findings.defenses
    ]
    corner = element("th", {"scope": "col", "class": "corner"}, "defense")
    table = element(
        "table",
        {"class": "heat"},
        element("caption", None, caption),
        element("thead", None, element("tr", None, corner, *heads, *more)),
        element("tbody", None, *rows),
    )
    return element("div", {"class": "scroll", "role": "region", "tabindex": 0, "aria-label": caption}, table)


def _column(attack: str) -> str:
    return "clean" if attack == CLEAN else "attack"


def _value(kept: float | None, grade: Grade | None, text: str, *below: str, kind: str = "") -> Markup:
    """A cell coloured by what is kept, with its sign, and smaller lines below."""
    color = "plain" if kept is None else f"h{level(kept)}"
    sign = element("span", {"class": "mark", "aria-hidden": "true"}, MARKS[grade]) if grade else ""
    spoken = element("span", {"class": "spoken"}, f" {grade.value}") if grade else ""
    small = [element("small", None, line) for line in below if line]
    return element("td", {"class": f"{color} {kind}".strip()}, sign, text, spoken, *small)


def _worst(worst: Worst) -> Markup:
    lines = [interval(worst.accuracy), attack_name(worst.attack)]
    if worst.counted == worst.attacks:
        return _value(worst.kept, worst.grade, percent(worst.accuracy.mean), *lines, kind="worst")
    lines.append(f"only {worst.counted} of {worst.attacks} attacks")
    return _value(worst.kept, worst.grade, f"≤ {percent(worst.accuracy.mean)}", *lines, kind="worst bounded")


def _gap(entry: Entry, seeds: int, values: Sequence[str]) -> Markup:
    """An entry without a mean: what is there, value by value, and why that is not all."""
    if entry.refusal:
        return element("td", {"class": "refused", "title": entry.refusal}, "refused")
    kind = "partial" if entry.measured or entry.failed else "missing"
    shown = element("span", {"class": "single"}, " · ".join(values)) if values else Markup()
    return element("td", {"class": kind}, shown, element("small", None, gap(entry, seeds)))


def _empty(text: str, spoken: str, kind: str = "plain") -> Markup:
    shown = element("span", {"aria-hidden": "true"}, text)
    return element("td", {"class": kind}, joined(shown, element("span", {"class": "spoken"}, spoken)))


def _has_trigger(panel: Panel, attack: str) -> bool:
    found = (entry for (_, of), entry in panel.entries.items() if of == attack)
    return any(each.attack_success is not None for entry in found for each in entry.measured.values())
