"""The report as one HTML file: no scripts, nothing loaded from anywhere, readable on a telephone and in the dark.

A content security policy inside the file forbids what it does not need, so that not even a fault in the escaping
(`markup`) could fetch or run anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from secure_fl.lab.comparison import UNDEFENDED
from secure_fl.lab.findings import Findings, Grade, Panel, Worst
from secure_fl.lab.report.curves import curve_charts
from secure_fl.lab.report.markup import Markup, element, joined
from secure_fl.lab.report.methods import fault_list, limits, methods, test_table
from secure_fl.lab.report.palette import heat_css, level
from secure_fl.lab.report.tables import accuracy_table, damage_table, flag, selection_table, success_table
from secure_fl.lab.report.words import MARKS, attack_name, defense_name, interval, panel_name, percent
from secure_fl.lab.results import CellState, Results
from secure_fl.lab.statistics import Estimate

__all__ = ["page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LEGEND = {
    Grade.HOLDS: "holds: keeps 90 % of what clean training gains over guessing",
    Grade.DAMAGED: "damaged",
    Grade.BROKEN: "broken: keeps less than half of it",
}


def page(results: Results, manifest: Mapping[str, Any]) -> str:
    """The whole document. manifest: as `Results.manifest` makes it."""
    name = results.comparison.base.name or results.comparison.base.dataset
    body = element(
        "body",
        None,
        element("a", {"class": "skip", "href": "#first"}, "To the results"),
        element("header", None, *_header(results, name)),
        element("main", {"id": "first"}, *_sections(results, manifest)),
        element("footer", None, "secure-fl compare · manifest ", element("code", None, manifest["digest"][:16])),
    )
    head = element(
        "head",
        None,
        Markup('<meta charset="utf-8"/>'),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, f"{name}: which defense survives what"),
        element("style", None, _style()),
    )
    return joined(Markup("<!doctype html>\n"), element("html", {"lang": "en"}, head, body), "\n")


def _style() -> Markup:
    sheet = resources.files("secure_fl.lab.report").joinpath("page.css").read_text(encoding="utf-8")
    return Markup(sheet + heat_css())


def _header(results: Results, name: str) -> list[Markup]:
    base, grid = results.comparison.base, results.comparison
    seeds = len(grid.seeds)
    lead = (
        f"{base.clients} clients on {base.dataset}, {base.rounds} rounds of {base.model}; "
        f"{len(grid.attacks) - 1} attacks, {len(grid.defenses) - 1} defenses, {seeds} seed{'s' if seeds > 1 else ''}."
    )
    done, total = results.count(CellState.DONE), len(results.states)
    counts = [f"{done} of {total} simulations done"]
    counts += [f"{results.count(s)} {s.value}" for s in (CellState.FAILED, CellState.REFUSED) if results.count(s)]
    lines = [
        element("p", {"class": "eyebrow"}, name),
        element("h1", None, "Which defense survives what"),
        element("p", {"class": "lead"}, lead, " ", base.teaches),
        element("ul", {"class": "chips"}, *(element("li", None, each) for each in counts)),
    ]
    return [*lines, *_warnings(results)]


def _warnings(results: Results) -> list[Markup]:
    said = []
    if results.findings.incomplete:
        count = len(results.findings.incomplete)
        entries = "1 entry lacks seeds" if count == 1 else f"{count} entries lack seeds"
        said.append(f"{entries}: single values, no mean, and no part in anything else.")
    if len(results.made) > 1:
        said.append("These simulations were made by different versions of the code; see the methods.")
    if not results.paired:
        said.append("Simulations of one seed had different images: do not compare them.")
    boxes = [element("p", {"class": "warning", "role": "note"}, element("b", None, "! "), each) for each in said]
    cannot = limits(results.findings)
    if cannot:
        text = element(
            "p", {"class": "limits", "role": "note"}, element("b", None, "Not shown here. "), " ".join(cannot)
        )
        boxes.append(text)
    return boxes


def _sections(results: Results, manifest: Mapping[str, Any]) -> list[Markup]:
    findings = results.findings
    parts = [(f"panel-{at}", _panel_name(findings, panel), panel) for at, panel in enumerate(findings.panels)]
    links = [(anchor, title) for anchor, title, _ in parts]
    links += [("breakdown", "Breakdown"), ("tests", "Tests"), ("methods", "Methods")]
    items = (element("li", None, element("a", {"href": f"#{anchor}"}, title)) for anchor, title in links)
    sections = [element("nav", {"aria-label": "Contents"}, element("ul", None, *items))]
    sections += [_section(anchor, title, *_panel(findings, panel)) for anchor, title, panel in parts]
    sections.append(_section("breakdown", "How many attackers each defense bears", *_breakdown(findings)))
    table = test_table(findings)
    closed = element("details", None, element("summary", None, f"All {findings.tests} differences, with p"), table)
    sections.append(_section("tests", "Against no defense", closed if findings.tests else element("p", None, "None.")))
    if faults := fault_list(results):
        sections.append(_section("faults", "Refused, failed and missing", faults))
    sections.append(_section("methods", "Methods", methods(results, manifest)))
    return sections


def _panel(findings: Findings, panel: Panel) -> list[Markup]:
    success = success_table(findings, panel)
    return [
        _tiles(findings, panel),
        *([_legend()] if panel is findings.panels[0] else []),
        accuracy_table(findings, panel),
        *([success] if success else []),
        _folded("Damage to single classes", damage_table(findings, panel)),
        _folded("Who was turned away, and who was heard", selection_table(findings, panel)),
    ]


def _tiles(findings: Findings, panel: Panel) -> Markup:
    """Three numbers: what there is to lose, what is lost without a defense, what the best defense saves."""
    tiles = [_tile("nobody attacks, nobody defends", panel.clean.accuracy, "")]
    if bare := panel.worst.get(UNDEFENDED):
        tiles.append(_tile("attacked, no defense", bare.accuracy, f"worst: {attack_name(bare.attack)}", bare))
    if best := _best(panel):
        tiles.append(best)
    return element("div", {"class": "tiles"}, *tiles)


def _best(panel: Panel) -> Markup | None:
    """The defense with the best worst case, of those that no backdoor passes if there are any."""
    complete = {
        defense: worst
        for defense, worst in panel.worst.items()
        if defense != UNDEFENDED and worst.counted == worst.attacks
    }
    if not complete:
        return None
    best = max(complete, key=lambda defense: (not flag(panel, defense), complete[defense].accuracy.mean))
    found, passed = complete[best], flag(panel, best)
    near = sum(_overlap(found.accuracy, other.accuracy) for name, other in complete.items() if name != best)
    words = [f"{defense_name(best)}, worst: {attack_name(found.attack)}"]
    words += [f"intervals of {near} more overlap"] if near else []
    if passed:
        return _tile("best worst case, but a backdoor passes", found.accuracy, "; ".join([*words, passed]))
    kept_out = any(flag(panel, defense) for defense in complete)
    title = "best worst case of those that no backdoor passes" if kept_out else "best worst case of a defense"
    return _tile(title, found.accuracy, "; ".join(words), found)


def _tile(title: str, of: Estimate | None, words: str, worst: Worst | None = None) -> Markup:
    sign = f"{MARKS[worst.grade]} " if worst and worst.grade else ""
    number = "not complete" if of is None else f"{sign}{percent(of.mean)} %"
    ends = interval(of) if of else ""
    color = f" h{level(worst.kept)}" if worst and worst.kept is not None else ""
    return element(
        "div",
        {"class": f"tile{color}"},
        element("span", {"class": "what"}, title),
        element("strong", None, number),
        element("span", None, ends),
        element("span", None, words),
    )


def _legend() -> Markup:
    items = [
        element("li", None, element("span", {"class": f"swatch h{shade}", "aria-hidden": "true"}, MARKS[grade]), words)
        for (grade, words), shade in zip(_LEGEND.items(), (9, 7, 1), strict=True)
    ]
    hatch = element("span", {"class": "swatch partial", "aria-hidden": "true"})
    items.append(element("li", None, element("span", {"aria-hidden": "true"}, "⚑"), "the backdoor's trigger works"))
    items.append(element("li", None, hatch, "seeds missing: single values, no mean"))
    return element("ul", {"class": "legend", "aria-label": "Signs"}, *items)


def _breakdown(findings: Findings) -> list[Markup]:
    said = element(
        "p",
        None,
        "Accuracy in percent by number of attackers. Blue: the worst attack at each point, with its 95 % interval. "
        "Grey: single attacks. Dotted: the worst case of plain averaging. Dashed: below this a defense is broken. At 0 "
        "nobody attacks, and the rule allows for the fewest attackers of this comparison.",
    )
    shown = [said]
    for alpha in findings.comparison.alphas:
        if len(findings.comparison.alphas) > 1:
            shown.append(element("h3", None, f"α = {alpha:g}"))
        shown.append(curve_charts(findings, alpha))
    return shown


def _section(anchor: str, title: str, *children: str) -> Markup:
    heading = element("h2", {"id": f"{anchor}-title"}, title)
    return element("section", {"id": anchor, "aria-labelledby": f"{anchor}-title"}, heading, *children)


def _folded(title: str, content: Markup) -> Markup:
    return element("details", None, element("summary", None, title), content)


def _panel_name(findings: Findings, panel: Panel) -> str:
    return panel_name(findings.comparison, panel.byzantine, panel.alpha)


def _overlap(one: Estimate, other: Estimate) -> bool:
    if one.low is None or other.high is None:
        return False
    return other.high >= one.low
