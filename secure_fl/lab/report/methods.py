"""What a reader needs to judge the numbers of a comparison: how they came about, and what they cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure_fl.lab.findings import BROKEN, KEEPS, Findings
from secure_fl.lab.report.markup import Markup, element, joined
from secure_fl.lab.report.tables import TRIGGERED, captioned
from secure_fl.lab.report.words import attack_name, p_value, panel_name, percent, points
from secure_fl.lab.results import CellState, Results
from secure_fl.lab.statistics import COVERAGE, least_p, pairs_needed

__all__ = ["fault_list", "limits", "methods", "test_table"]

LEVEL = 0.05


def limits(findings: Findings) -> list[str]:
    """What these numbers of seeds and comparisons cannot show, in sentences; empty where nothing stands in the way."""
    seeds, tests = len(findings.comparison.seeds), findings.tests
    said = []
    if seeds < 3:
        said.append("With fewer than three seeds there are no intervals at all.")
    elif (cover := COVERAGE.get(max(k for k in COVERAGE if k <= seeds), 1.0)) < 0.9:
        said.append(f"With {seeds} seeds an interval called 95 % holds a normal mean in about {100 * cover:.0f} %.")
    if tests and least_p(seeds) * tests > LEVEL:
        said.append(
            f"With {_seeds(seeds)} no two-sided sign-flip test can give a p below {p_value(least_p(seeds))}, so that "
            f"none of the {tests} differences to no defense can be called significant at {LEVEL:g}, however large "
            f"it is. That would take {pairs_needed(tests)} seeds, or fewer comparisons."
        )
    return said


def methods(results: Results, manifest: Mapping[str, Any]) -> Markup:
    """The methods section."""
    rows = {**_design(results), **_rules(results), **_origin(results, manifest)}
    return element(
        "dl",
        None,
        *(joined(element("dt", None, term), element("dd", None, *paragraphs)) for term, paragraphs in rows.items()),
    )


def test_table(findings: Findings) -> Markup:
    """Every defense against no defense under each attack, with p before and after Holm."""
    head = ("setting", "attack", "defense", "difference", "95 % interval", "p", "p (Holm)")
    rows = []
    for entry in findings.entries:
        if entry.versus is None:
            continue
        at, found = entry.setting, entry.versus
        where = panel_name(findings.comparison, at.byzantine, at.alpha)
        low, high = found.difference.low, found.difference.high
        ends = "" if low is None or high is None else f"{points(low)} to {points(high)}"
        cells = (where, attack_name(at.attack), at.defense, points(found.difference.mean), ends)
        rows.append(
            element("tr", None, *(element("td", None, c) for c in (*cells, p_value(found.p), p_value(found.adjusted))))
        )
    header = element("tr", None, *(element("th", {"scope": "col"}, name) for name in head))
    caption = "Accuracy minus that of plain averaging under the same attack, paired by seed, in percentage points"
    return captioned(caption, "list", header, rows)


def fault_list(results: Results) -> Markup:
    """What failed, what was refused, what is not there; nothing where nothing is."""
    items = [
        element("li", None, f"{fault.cell}: ", element("b", None, fault.failure.what), f" {fault.failure.why}".rstrip())
        for fault in results.faults
    ]
    refused = {
        (entry.setting.byzantine, entry.setting.defense, entry.setting.attack, entry.refusal)
        for entry in results.findings.entries
        if entry.refusal
    }
    by_reason: dict[tuple[int, str], list[str]] = {}
    for f, defense, attack, reason in sorted(refused):
        by_reason.setdefault((f, reason), []).append(f"{attack_name(attack)} against {defense}")
    for (f, reason), where in by_reason.items():
        items.append(
            element("li", None, f"refused at f = {f}: ", element("b", None, reason), f" ({len(where)} entries)")
        )
    missing = results.count(CellState.MISSING)
    if missing:
        items.append(element("li", None, f"{missing} cells have not been simulated yet; repeat the command to go on."))
    return element("ul", {"class": "faults"}, *items) if items else Markup()


def _design(results: Results) -> dict[str, list[str]]:
    comparison = results.comparison
    base = comparison.base
    seeds = ", ".join(map(str, comparison.seeds))
    return {
        "Federation": [
            f"{base.clients} clients, data set {base.dataset}, partition {base.partition}, model {base.model}; "
            f"{base.rounds} rounds of {base.local_epochs} local epochs, batches of {base.batch_size}, "
            f"learning rate {base.lr:g}, momentum {base.momentum:g}."
        ],
        "Grid": [
            f"{len(comparison.attacks) - 1} attacks and none, {len(comparison.defenses) - 1} defenses and none, "
            f"f of {', '.join(map(str, comparison.byzantine))}, α of {', '.join(f'{a:g}' for a in comparison.alphas)}, "
            f"seeds {seeds}: {len(results.states)} simulations. Where nobody attacks, a defense still allows for f "
            "attackers, and all clients are honest."
        ],
        "Pairing": [
            "A seed fixes the partition, the first weights, the batches and who attacks. All that is compared under "
            "one seed differs in attack and defense alone. "
            + (
                "Checked: all simulations of one α and seed had the same images in the same hands."
                if results.paired
                else "NOT SO HERE: simulations of one α and seed had different images. Do not compare them."
            )
        ],
    }


def _rules(results: Results) -> dict[str, list[str]]:
    findings = results.findings
    return {
        "Reading": [
            f"An accuracy is judged on a scale from guessing ({percent(findings.chance)} %) to the undefended model "
            f"where nobody attacks. A defense holds (✓) from {100 * KEEPS:.0f} % of that gain, is damaged (~) below, "
            f"and broken (✕) under {100 * BROKEN:.0f} %. Defenses are sorted by their worst case, mean over settings. "
            f"A flag (⚑) says that the trigger of a backdoor works on {100 * TRIGGERED:.0f} % of the images or more: "
            "such a model is lost, however accurate it is."
        ],
        "Final model": ["All measures are of the model after the last round. No round is picked."],
        "Intervals": [
            "Percentile bootstrap of the mean over seeds, 95 %; exact (all resamples enumerated) up to nine seeds. "
            "The interval of a worst case picks the worst attack anew in each resample."
        ],
        "Tests": [
            "Exact two-sided sign-flip permutation test of the paired differences to no defense, Holm's correction "
            f"over all {findings.tests} of this page. The test assumes that a difference is as likely as its "
            "negative if the defense does nothing.",
            *(" " + each for each in limits(findings)),
        ],
        "Selection": [
            "Turning a client away counts as calling it an attacker. Precision: share of those turned away that "
            "attacked. Recall: share of attackers turned away. Weight: the attackers' share of the absolute weights."
        ],
        "Incomplete seeds": [
            "An entry without all of its seeds has no mean; its single values are shown, and it takes part in no worst "
            "case, curve or test. A worst case over fewer attacks is an upper bound and is marked ≤."
        ],
    }


def _origin(results: Results, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    environment = manifest["environment"]
    code = [
        f"{count} cells: secure-fl {made.secure_fl}, commit {made.commit[:12] or 'unknown'}"
        f"{' with uncommitted changes' if made.dirty else ''}, Python {made.python}, torch {made.torch}, "
        f"numpy {made.numpy}. "
        for made, count in results.made.items()
    ]
    mixed = ["The cells are from different code: repeat the comparison in a new folder before you publish it."]
    prints = [
        f"α = {alpha:g}, seed {seed}: {', '.join(found)}" for (alpha, seed), found in sorted(results.data.items())
    ]
    return {
        "Manifest": [element("code", None, manifest["digest"]), " SHA-256 over the grid and the base scenario."],
        "Code": [*code, *(mixed if len(results.made) > 1 else [])],
        "Machine": [
            f"{environment.get('cpu_model', 'unknown')}, {environment.get('cpu_cores_usable', '?')} cores; "
            f"{results.cpu_s / 60:.0f} CPU minutes, one thread a simulation."
        ],
        "Data": [
            element(
                "details",
                None,
                element("summary", None, "fingerprints of the partitions"),
                *(element("code", {"class": "block"}, line) for line in prints),
            )
        ],
        "Repeat": [element("code", {"class": "block"}, " ".join(manifest["command"]))],
    }


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
