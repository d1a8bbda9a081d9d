"""The page says what was found, marks what is missing, needs nothing from outside, and lets nothing in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from secure_fl.lab.cells import CellStore, Failure
from secure_fl.lab.comparison import Comparison, Setting
from secure_fl.lab.report.page import page
from secure_fl.lab.results import Results, gather

ALL = {
    ("mean", ""): 0.90, ("mean", "sign_flip"): 0.50, ("mean", "backdoor_patch"): 0.85,
    ("median", ""): 0.89, ("median", "sign_flip"): 0.87, ("median", "backdoor_patch"): 0.80,
}  # fmt: skip
NASTY = '<script src="https://example.org/x.js">alert(1)</script>'


class Document(HTMLParser):
    """The tags of a page, its ids and links, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += " " + data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute))]


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    return CellStore(tmp_path / "cells")


def drawn(store: CellStore, grid: Comparison, refused: Mapping[Setting, str] | None = None, **how: Any) -> str:
    results: Results = gather(grid, store, refused or {})
    environment = {"cpu_model": how.get("cpu", "a processor"), "cpu_cores_usable": 2}
    return page(results, results.manifest(environment, ["secure-fl", "compare", how.get("flag", "")]))


def cell_of(text: str, table: int, row: int, column: int) -> str:
    """The cell of a heat table, tags and all."""
    rows = re.findall(r'<table class="heat".*?</table>', text, re.S)[table].split("<tr")[2:]
    cells: list[str] = re.findall(r"<td.*?</td>", rows[row], re.S)
    return cells[column]


def test_a_page_shows_defenses_by_attacks_with_baselines_and_the_worst_case(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    text = drawn(store, lab.comparison())
    heads = re.findall(r'<th scope="col" class="\w+">(.*?)</th>', text)[:5]
    assert [head.replace("<wbr/>", "") for head in heads] == [
        "defense", "no attack", "worst case", "sign_flip", "backdoor_patch",
    ]  # fmt: skip
    assert "✓</span>88.0" in cell_of(text, 0, 1, 2)
    assert "87.0–89.0" in cell_of(text, 0, 1, 2)
    assert "✕</span>51.0" in cell_of(text, 0, 0, 1)
    assert "sign_" in cell_of(text, 0, 0, 1)


def test_no_colour_stands_alone(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    text = drawn(store, lab.comparison())
    accuracy = re.findall(r'<table class="heat".*?</table>', text, re.S)[0]
    for cell in re.findall(r'<td class="h\d.*?</td>', accuracy, re.S):
        assert re.search(r'aria-hidden="true">[✓~✕]<', cell)
        assert re.search(r'class="spoken"> (holds|damaged|broken)<', cell)


def test_a_backdoor_that_works_is_flagged_beside_a_good_accuracy(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    text = drawn(store, lab.comparison())
    assert "⚑ trigger 80.0" in cell_of(text, 0, 0, 3)
    assert "⚑ backdoor_" in cell_of(text, 0, 1, 1)


def test_the_best_defense_is_one_that_no_backdoor_passes_if_there_is_one(store: CellStore, lab: Any) -> None:
    grid = lab.comparison(defenses=("median", "krum"))
    krum = {("krum", attack): 0.75 for attack in ("", "sign_flip", "backdoor_patch")}
    lab.fill(store, grid, {**ALL, **krum})
    assert "best worst case, but a backdoor passes" in drawn(store, grid)
    for cell in grid.cells():
        if (cell.setting.defense, cell.setting.attack) == ("krum", "backdoor_patch"):
            last = lab.round_outcome(accuracy=0.75, attack_success=0.1)
            store.write_outcome(lab.outcome(cell.scenario, last, attackers=(3,)), lab.MADE)
    said = Document(drawn(store, grid)).text
    assert re.search(r"of those that no backdoor passes\s+~ 75.0 %", said)


def test_an_entry_that_lacks_a_seed_shows_values_and_no_mean(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, ALL)
    gone = next(c for c in grid.cells() if (c.setting.defense, c.setting.attack, c.seed) == ("median", "sign_flip", 2))
    store.path(gone.digest).unlink()
    text = drawn(store, grid)
    cell = cell_of(text, 0, 1, 2)
    assert 'class="partial"' in cell
    assert "87.0 · 88.0" in cell
    assert "2 of 3 seeds" in cell
    assert "≤ 81.0" in cell_of(text, 0, 1, 1)
    assert "only 1 of 2 attacks" in cell_of(text, 0, 1, 1)
    assert "1 entry lacks seeds" in text


def test_what_was_refused_and_what_failed_is_said_with_its_reason(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, {at: value for at, value in ALL.items() if at != ("mean", "sign_flip")})
    broken = next(c for c in grid.cells() if (c.setting.defense, c.setting.attack) == ("mean", "sign_flip"))
    store.write_failure(broken.scenario, Failure("out of memory"), lab.MADE)
    refused = {Setting(1, 0.5, "median", attack): "it needs 9 clients" for attack in grid.attacks}
    text = drawn(store, grid, refused)
    assert "refused" in cell_of(text, 0, 1, 0)
    assert "it needs 9 clients" in text
    assert "out of memory" in text
    assert "1 failed" in cell_of(text, 0, 0, 2)


def test_it_says_what_three_seeds_cannot_show(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    said = Document(drawn(store, lab.comparison())).text
    assert "no two-sided sign-flip test can give a p below 0.25" in said
    assert "none of the 2 differences" in said
    assert "That would take 7 seeds" in said
    assert "holds a normal mean in about 75 %" in said


def test_enough_seeds_are_not_excused(store: CellStore, lab: Any) -> None:
    grid = lab.comparison(seeds=tuple(range(10)))
    lab.fill(store, grid, {at: value / 1.2 for at, value in ALL.items()})
    text = drawn(store, grid)
    assert "Not shown here." not in text
    assert "0.00391" in text  # p after Holm: 2 / 2^9


def test_different_code_and_unpaired_data_are_said_aloud(store: CellStore, lab: Any) -> None:
    grid = lab.comparison()
    lab.fill(store, grid, ALL)
    assert "different versions" not in drawn(store, grid)
    cell = next(iter(grid.cells()))
    made = type(lab.MADE)(**{**vars(lab.MADE), "commit": "d" * 40})
    store.write_outcome(lab.outcome(cell.scenario, data="others"), made)
    text = drawn(store, grid)
    assert "made by different versions of the code" in text
    assert "do not compare them" in text


def test_nothing_from_a_file_or_flag_becomes_markup(store: CellStore, lab: Any) -> None:
    base = lab.comparison().base.changed(name=NASTY, teaches=NASTY)
    grid = lab.comparison(base=base)
    lab.fill(store, grid, {at: value for at, value in ALL.items() if at[0] == "mean"})
    failed = next(cell for cell in grid.cells() if cell.setting.defense == "median")
    store.write_failure(failed.scenario, Failure(NASTY, NASTY), lab.MADE)
    refused = {Setting(1, 0.5, "median", "sign_flip"): NASTY}
    text = drawn(store, grid, refused, cpu=NASTY, flag=NASTY)
    document = Document(text)
    assert "script" not in {tag for tag, _ in document.tags}
    assert document.text.count(NASTY) >= 5


def test_the_file_needs_nothing_else_and_forbids_it(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    text = drawn(store, lab.comparison())
    document = Document(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in document.tags}
    assert all(link.startswith("#") for link in document.values("href"))
    assert document.values("src") == []
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in document.values("content")[0]


def test_it_is_well_formed_and_can_be_used_without_a_mouse(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    document = Document(drawn(store, lab.comparison()))
    assert document.open == []
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in document.values("href")} <= set(ids)
    regions = [attributes for _, attributes in document.tags if attributes.get("class") == "scroll"]
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in regions)
    charts = [attributes for tag, attributes in document.tags if tag == "svg"]
    assert len(charts) == 2
    assert all(each["role"] == "img" and "Worst case:" in (each["aria-label"] or "") for each in charts)
    assert [tag for tag, _ in document.tags if tag in ("h1", "h2", "h3")].count("h1") == 1


def test_every_class_that_is_used_has_a_style(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    text = drawn(store, lab.comparison())
    style = text[text.index("<style>") : text.index("</style>")]
    used = {name for value in Document(text).values("class") for name in value.split()}
    plain = {"attack", "what"}  # told apart for whoever reads the source, and look like their neighbours
    assert {name for name in used - plain if f".{name}" not in style} == set()


def test_one_comparison_gives_one_page(store: CellStore, lab: Any) -> None:
    lab.fill(store, lab.comparison(), ALL)
    assert drawn(store, lab.comparison()) == drawn(store, lab.comparison())


def test_a_comparison_without_any_cell_is_still_a_page(store: CellStore, lab: Any) -> None:
    text = drawn(store, lab.comparison())
    assert Document(text).open == []
    assert "not complete" in text
    assert "18 cells have not been simulated yet" in text
