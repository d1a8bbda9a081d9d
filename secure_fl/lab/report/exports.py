r"""The same findings for spreadsheets, programs and papers.

    cells.csv     one row a simulation, done or not: what was measured, seed by seed
    report.json   every entry, worst case, curve and test
    tables.tex    one `tabular` a setting, for \usepackage{booktabs}

Text is protected for each reader: a cell that a spreadsheet would take for a formula gets an apostrophe (OWASP), and
LaTeX's own characters are spelled out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from secure_fl.lab.findings import Curve, Entry, Findings, Panel
from secure_fl.lab.report.words import attack_name, defense_name, gap, panel_name, percent
from secure_fl.lab.results import Results, named
from secure_fl.lab.statistics import Estimate

__all__ = ["cells_csv", "document", "tables_tex"]

SCHEMA = 1
_MEASURES = ("accuracy", "attack_success", "precision", "recall", "weight")
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "≤": r"$\le$", "α": r"$\alpha$", "–": "--", "−": "$-$",
}  # fmt: skip


def cells_csv(results: Results) -> str:
    """One row a cell; shares in 0 … 1; empty where there is nothing to measure. `class_k`: accuracy on class k."""
    classes = max((len(each.per_class) for each in results.measures.values()), default=0)
    faults = {fault.cell: fault.failure.what for fault in results.faults}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    grid = ("attack", "defense", "byzantine", "alpha", "seed")
    writer.writerow([*grid, "state", *_MEASURES, *(f"class_{k}" for k in range(classes)), "reason", "digest"])
    for cell, state in results.states.items():
        found = results.measures.get(cell)
        values = [getattr(found, name) if found else None for name in _MEASURES]
        per_class = found.per_class if found else (None,) * classes
        place = named(cell)
        reason = faults.get(cell, "")
        row = [*(place[key] for key in grid), state.value, *values, *per_class, reason, cell.digest]
        writer.writerow([_protected(each) for each in row])
    return text.getvalue()


def document(results: Results, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, JSON-able. Shares in 0 … 1; an entry that lacks seeds has its values and no estimates."""
    findings = results.findings
    return {
        "schema": SCHEMA,
        "manifest": dict(manifest),
        "chance": findings.chance,
        "tests": findings.tests,
        "paired": results.paired,
        "cpu_s": results.cpu_s,
        "defenses": list(findings.defenses),
        "entries": [_entry(each) for each in findings.entries],
        "worst": [row for panel in findings.panels for row in _worst(panel)],
        "curves": [_curve(each) for each in findings.curves],
        "failures": [{**named(fault.cell), **asdict(fault.failure)} for fault in results.faults],
    }


def tables_tex(findings: Findings) -> str:
    """Accuracy in percent, one table a setting; entries that lack seeds say so."""
    return "\n".join(_table(findings, panel) for panel in findings.panels)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        **asdict(entry.setting),
        "seeds": {str(seed): asdict(each) for seed, each in entry.measured.items()},
        "failed": {str(seed): why for seed, why in entry.failed.items()},
        "missing": list(entry.missing),
        "refusal": entry.refusal,
        "accuracy": _estimate(entry.accuracy),
        "attack_success": _estimate(entry.success),
        "kept": entry.kept,
        "grade": entry.grade,
        "precision": entry.mean(lambda each: each.precision),
        "recall": entry.mean(lambda each: each.recall),
        "weight": entry.mean(lambda each: each.weight),
        "damage": asdict(entry.damage) if entry.damage else None,
        "versus_undefended": asdict(entry.versus) if entry.versus else None,
    }


def _worst(panel: Panel) -> list[dict[str, Any]]:
    where = {"byzantine": panel.byzantine, "alpha": panel.alpha}
    return [{**where, "defense": defense, **worst.to_mapping()} for defense, worst in panel.worst.items()]


def _curve(curve: Curve) -> dict[str, Any]:
    return {**asdict(curve), "points": [asdict(point) for point in curve.points]}


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return asdict(found) if found else None


def _table(findings: Findings, panel: Panel) -> str:
    attacks, seeds = findings.comparison.attacks, len(findings.comparison.seeds)
    head = " & ".join(_tex(each) for each in ("defense", *map(attack_name, attacks), "worst case"))
    rows = [
        " & ".join(
            [
                _tex(defense_name(defense)),
                *(_cell(panel.entries[defense, a], seeds) for a in attacks),
                _last(panel, defense),
            ]
        )
        for defense in findings.defenses
    ]
    title = panel_name(findings.comparison, panel.byzantine, panel.alpha)
    return "\n".join(
        [
            f"% {title}; accuracy in percent, mean over {seeds} seeds [95 % percentile bootstrap interval]",
            rf"\begin{{tabular}}{{l{'r' * (len(attacks) + 1)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _cell(entry: Entry, seeds: int) -> str:
    return _tex(gap(entry, seeds)) if entry.accuracy is None else _number(entry.accuracy)


def _last(panel: Panel, defense: str) -> str:
    worst = panel.worst.get(defense)
    if worst is None:
        return "--"
    return ("" if worst.counted == worst.attacks else r"$\le$ ") + _number(worst.accuracy)


def _number(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return percent(found.mean)
    return f"{percent(found.mean)} [{percent(found.low)}, {percent(found.high)}]"


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)


def _protected(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
