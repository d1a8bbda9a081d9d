"""The heat tables of the page: defenses down, attacks across, and what no defense and no attack would give.

Nothing is said by colour alone: a sign and hidden words repeat it. A table that is wider than the screen scrolls
inside itself, by keyboard too, and its first column stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secure_fl.lab.comparison import CLEAN, UNDEFENDED
from secure_fl.lab.findings import Entry, Findings, Grade, Panel, Worst
from secure_fl.lab.report.markup import Markup, breakable, element, joined
from secure_fl.lab.report.palette import level
from secure_fl.lab.report.words import MARKS, attack_name, defense_name, gap, interval, percent, points, share

__all__ = [
    "TRIGGERED",
    "accuracy_table",
    "captioned",
    "damage_table",
    "flag",
    "heat_table",
    "selection_table",
    "success_table",
]

Draw = Callable[[Entry], Markup]
TRIGGERED = 0.5  # attack success from which on an accuracy is flagged


def accuracy_table(findings: Findings, panel: Panel) -> Markup:
    """Accuracy in percent with its interval, and the worst case over the attacks; flags where a trigger works."""
    seeds = len(findings.comparison.seeds)

    def cell(entry: Entry) -> Markup:
        if entry.accuracy is None:
            return _gap(entry, seeds, [percent(each.accuracy) for each in entry.measured.values()])
        lines = [interval(entry.accuracy), _flag(entry)]
        return _value(entry.kept, entry.grade, percent(entry.accuracy.mean), *lines)

    def worst(defense: str) -> Markup:
        if (found := panel.worst.get(defense)) is None:
            return _empty("–", "not measured", "worst")
        return _worst(found, flag(panel, defense))

    caption = "Accuracy on the test images, in percent; mean over the seeds, with its 95 % interval below"
    return heat_table(findings, panel, findings.comparison.attacks, caption, cell, worst)


def flag(panel: Panel, defense: str) -> str:
    """The backdoors whose trigger works against a defense: `⚑ backdoor_patch 84.6 %`, `⚑ 2 backdoors`, or nothing."""
    found = [_flag(entry, attack) for (of, attack), entry in panel.entries.items() if of == defense]
    working = [each for each in found if each]
    return f"⚑ {len(working)} backdoors" if len(working) > 1 else "".join(working)


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
        found = f"{share(precision)} / {share(recall)}" if precision is not None else "keeps all"
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
    worst: Callable[[str], Markup] | None = None,
) -> Markup:
    """Defenses in the findings' order, one column an attack; the worst case, if there is one, before the attacks."""
    clean = [attack for attack in attacks if attack == CLEAN]
    hostile = [attack for attack in attacks if attack != CLEAN]
    heads = [_head(attack_name(attack), "clean") for attack in clean]
    heads += [_head("worst case", "worst")] if worst else []
    heads += [_head(attack, "attack") for attack in hostile]
    rows = [
        element(
            "tr",
            {"class": "none"} if defense == UNDEFENDED else None,
            element("th", {"scope": "row"}, breakable(defense_name(defense))),
            *(cell(panel.entries[defense, attack]) for attack in clean),
            *([worst(defense)] if worst else []),
            *(cell(panel.entries[defense, attack]) for attack in hostile),
        )
        for defense in findings.defenses
    ]
    head = element("tr", None, _head("defense", "corner"), *heads)
    return captioned(caption, "heat", head, rows)


def captioned(caption: str, kind: str, head: Markup, rows: Sequence[Markup]) -> Markup:
    """A table that scrolls inside itself, under a caption that does not."""
    table = element(
        "table",
        {"class": kind, "aria-label": caption},
        element("thead", None, head),
        element("tbody", None, *rows),
    )
    scrolling = element("div", {"class": "scroll", "role": "region", "tabindex": 0, "aria-label": caption}, table)
    return element("div", {"class": "table"}, element("p", {"class": "caption"}, caption), scrolling)


def _head(name: str, kind: str) -> Markup:
    return element("th", {"scope": "col", "class": kind}, breakable(name))


def _flag(entry: Entry, attack: str = "") -> str:
    """`⚑ 84.6` where the trigger works more often than not, whatever the accuracy says."""
    if entry.success is None or entry.success.mean < TRIGGERED:
        return ""
    return f"⚑ {attack or 'trigger'} {percent(entry.success.mean)}\N{NO-BREAK SPACE}%"


def _value(kept: float | None, grade: Grade | None, text: str, *below: str, kind: str = "") -> Markup:
    """A cell coloured by what is kept, with its sign, and smaller lines below."""
    color = "plain" if kept is None else f"h{level(kept)}"
    sign = element("span", {"class": "mark", "aria-hidden": "true"}, MARKS[grade]) if grade else ""
    spoken = element("span", {"class": "spoken"}, f" {grade.value}") if grade else ""
    small = [element("small", None, breakable(line)) for line in below if line]
    return element("td", {"class": f"{color} {kind}".strip()}, sign, text, spoken, *small)


def _worst(worst: Worst, flagged: str) -> Markup:
    lines = [interval(worst.accuracy), attack_name(worst.attack), flagged]
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
