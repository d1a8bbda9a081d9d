from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from secure_fl.cli.runs_view import STATUS_STYLES, Page, detail, list_document, listing
from secure_fl.config import RunConfig
from secure_fl.runs import Exclusion, RoundRow, RunStatus, RunSummary, SiteRow
from secure_fl.runs.index import DAMAGED, RunRow

ROW = RunRow(
    id="20261123-164401-00ff",
    status="succeeded",
    dataset="digits",
    model="mobilenet_v2",
    grid="deployment",
    partition="dirichlet",
    sites=5,
    round=6,
    rounds=6,
    accuracy=0.964,
    loss=0.121,
    created="2026-11-23T16:44:01.250Z",
    started="2026-11-23T16:44:02.250Z",
    finished="2026-11-23T16:46:02.250Z",
    seconds=104.0,
    seed=0,
)
LOST = RunRow("20261123-164401-beef", DAMAGED, "", "", "", "", 0, 0, 0, None, None, "", None, None, 0.0, 0, note="x")


def shown(what: Any, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(what)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def page(summary: RunSummary) -> Page:
    return Page(ROW.id, "succeeded", "runs/x", RunConfig(grid="local"), summary, [("config.json", 1100)])


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_a_list_fits_the_terminal_and_keeps_run_and_status(width: int) -> None:
    lines = shown(listing([ROW, LOST], width), width)
    assert len(lines) == 3, "no line is wrapped"
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("run                   status")
    assert lines[1].startswith("20261123-164401-00ff  succeeded")


def test_a_wide_terminal_shows_every_column() -> None:
    header, line, _ = shown(listing([ROW, LOST], 160), 160)
    assert header.split() == [
        *("run", "status", "data", "set", "model", "grid", "sites", "round"),
        *("accuracy", "loss", "started", "(UTC)", "time"),
    ]
    assert line.endswith("5    6/6    96.4 %  0.1210  2026-11-23 16:44  1 min 44 s")


def test_accuracy_is_the_last_number_to_go() -> None:
    header, *_ = shown(listing([ROW], 45), 45)
    assert header.split() == ["run", "status", "accuracy"]


def test_every_status_has_a_style_and_a_word() -> None:
    assert set(STATUS_STYLES) == {*RunStatus, DAMAGED}


def test_a_program_gets_no_process_number() -> None:
    (row,) = list_document([ROW])
    assert "pid" not in row
    assert row["accuracy"] == 0.964


def test_a_long_run_shows_its_beginning_and_its_newest_rounds() -> None:
    rounds = tuple(RoundRow(k, loss=1.0, accuracy=0.5, finished="t") for k in range(100))
    lines = shown(detail(page(RunSummary(rounds=rounds)), 80), 80)
    numbers = [int(line.split()[0]) for line in lines if line.split()[1:3] == ["50.0", "%"]]
    assert numbers == [0, *range(77, 100)]
    assert "76 rounds are not shown; `secure-fl runs export` writes them all" in lines


def test_many_sites_show_the_first_and_count_the_rest() -> None:
    sites = tuple(SiteRow(1, f"site-{k}", samples=10) for k in range(50))
    lines = shown(detail(page(RunSummary(rounds=(RoundRow(1, sites=sites, finished="t"),))), 80), 80)
    assert sum(line.startswith("site-") for line in lines) == 24
    assert "26 sites are not shown; `secure-fl runs export` writes them all" in lines


def test_many_replies_that_did_not_count_show_the_newest() -> None:
    excluded = tuple(Exclusion(1, f"site-{k}", "missing", "timeout") for k in range(30))
    lines = shown(detail(page(RunSummary(rounds=(RoundRow(1, excluded=excluded, finished="t"),))), 80), 80)
    assert any("site-29" in line for line in lines)
    assert not any(line.split()[1:2] == ["site-0"] for line in lines)


def test_the_sites_view_of_the_final_model_stands_beside_their_own() -> None:
    site = SiteRow(1, "site-0", samples=10, validation_accuracy=0.5)
    final = SiteRow(1, "site-0", validation_accuracy=0.75)
    summary = RunSummary(rounds=(RoundRow(1, sites=(site,), finished="t"),), evaluations=(final,))
    lines = shown(detail(page(summary), 80), 80)
    assert any(line.split()[:4] == ["site", "images", "trained", "final"] for line in lines)
    assert any("50.0 %  75.0 %" in line for line in lines)


def test_a_resumed_run_says_how_many_attempts_it_took() -> None:
    summary = RunSummary(started="2026-11-23T16:44:02.250Z", active_s=104.0, attempts=3)
    assert "started 2026-11-23 16:44 UTC, took 1 min 44 s in 3 attempts" in shown(detail(page(summary), 80), 80)


def test_tls_without_client_certificates_is_said_aloud() -> None:
    lines = shown(detail(page(RunSummary(start={"tls": True, "mutual_tls": False})), 160), 160)
    assert "TLS without client certificates" in lines[1]
    lines = shown(detail(page(RunSummary(start={"tls": "1.3", "mutual_tls": True})), 160), 160)
    assert "local grid, mutual TLS 1.3, seed 0" in lines[1]


def test_a_run_under_attack_shows_the_rule_the_mark_and_who_was_left_out() -> None:
    config = RunConfig(grid="local", sites=5, defense="krum", byzantine=1, attack="alie", attackers=1)
    names = tuple(f"site-{index}" for index in range(3))
    rows = tuple(SiteRow(1, name, samples=10) for name in names)
    round_ = RoundRow(
        1, finished="t", sites=rows, accepted=names, kept=names[:1], masked=names[2:], weights=None, accuracy=0.5
    )
    start = {"rule": "krum: robust to 1 hostile sites", "simulation": {"attack": "alie", "attackers": ["site-4"]}}
    summary = RunSummary(rounds=(round_,), start=start)
    lines = shown(detail(Page(ROW.id, "succeeded", "runs/x", config, summary, []), 120), 120)
    assert "rule krum: robust to 1 hostile sites" in lines
    assert "SIMULATED ATTACK: alie by site-4; the model is for study only" in lines
    assert any(line.split()[-2:] == ["site-1,", "site-2"] for line in lines), "left out of the round"
    parts = {line.split()[0]: line for line in lines if line.startswith("site-")}
    assert "let in" in parts["site-0"] and "left out" in parts["site-1"] and "not finite" in parts["site-2"]


def test_a_weight_is_shown_where_the_rule_has_one() -> None:
    names = ("site-0", "site-1")
    round_ = RoundRow(1, finished="t", sites=tuple(SiteRow(1, name) for name in names), accepted=names, kept=names)
    weighed = replace(round_, weights={"site-0": 0.25, "site-1": 0.75})
    lines = shown(detail(page(RunSummary(rounds=(weighed,))), 120), 120)
    assert any("site-1" in line and "0.750" in line for line in lines)
    assert not any("left out" in line for line in lines)


def test_rounds_that_were_undone_say_so_and_a_protected_run_says_what_was_seen() -> None:
    rounds = (RoundRow(1, finished="x", rolled_back="accuracy fell"), RoundRow(2, finished="x"))
    summary = RunSummary(rounds=rounds, start={"protection": "the sum over all sites"})
    lines = shown(detail(page(summary), 120), 120)
    assert "seen of the sites: the sum over all sites" in lines
    assert any("undone" in line for line in lines)
    (undone,) = (line for line in lines if "accuracy fell" in line)
    assert undone.split()[0] == "1"
    assert not any("undone" in line for line in shown(detail(page(RunSummary(rounds=rounds[1:])), 120), 120))


def test_who_failed_in_a_sum_and_a_round_without_one_are_shown() -> None:
    groups = [{"dropped": ["site-4"], "liars": {"site-2": "false shares"}}, {"dropped": [], "liars": {}}]
    lost = RoundRow(1, finished="x", secagg={"groups": groups})
    void = RoundRow(2, finished="x", secagg={"groups": [], "void": "too few openings"})
    lines = shown(detail(page(RunSummary(rounds=(lost, void))), 160), 160)
    assert any("site-4, site-2 (false shares)" in line for line in lines)
    assert any("too few openings" in line for line in lines)
