"""Figures draw what their numbers say."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from audit.report.examination import Flow
from audit.report.figures import bound_chart, roc_chart, round_chart, session_chart, share_strip
from audit.report.measurements import Outcome, RocPoint
from tests.audit.report import example

NUMBER = r"([\d.-]+)"


def rects(drawn: str) -> list[tuple[str, float, float, float, float]]:
    form = rf'<rect class="(\w+)" x="{NUMBER}" y="{NUMBER}" width="{NUMBER}" height="{NUMBER}"'
    return [(kind, float(x), float(y), float(w), float(h)) for kind, x, y, w, h in re.findall(form, drawn)]


def test_bars_are_as_high_as_their_bytes_and_stand_on_each_other() -> None:
    flows = [Flow("a", "to-site", "1", 300, 1), Flow("b", "to-site", "1", 100, 1), Flow("a", "to-site", "10", 200, 1)]
    (_, x, y, _, high), (_, x_again, on_top, _, low), (_, later, _, _, middle) = rects(
        round_chart("t", flows, ["a", "b"])
    )
    assert (x, later > x) == (x_again, True)
    assert high == pytest.approx(3 * low, abs=0.2)
    assert middle == pytest.approx(2 * low, abs=0.2)
    assert on_top + low == pytest.approx(y, abs=0.2)


def test_joining_comes_first_then_rounds_by_number_then_the_rest() -> None:
    flows = [Flow("a", "to-site", name, 1, 1) for name in ("10", "2", "", "control-png", "join", "1")]
    drawn = round_chart("t", flows, ["a"])
    assert re.findall(r'<text class="x"[^>]*>([^<]*)<', drawn) == ["join", "1", "2", "10", "other"]


def test_more_sites_than_colours_share_the_last_one() -> None:
    sites = [f"s{n:02}" for n in range(30)]
    drawn = round_chart("t", [Flow(site, "to-site", "1", 5, 1) for site in sites], sites)
    assert len(rects(drawn)) == 30
    assert {kind for kind, *_ in rects(drawn)} == {f"c{n}" for n in range(8)}


def test_a_closed_session_is_marked_by_word_too() -> None:
    sessions = example.leaking().examination.sessions
    drawn = session_chart(sessions)
    assert [kind for kind, *_ in rects(drawn)].count("closed") == 1
    assert drawn.count("✕ not decrypted") == 1
    assert "1 of them not decrypted" in drawn


def test_the_strip_shares_its_width_by_bytes_and_shows_the_smallest_hole() -> None:
    whole = rects(share_strip({"a": 600, "b": 400}, 0))
    assert [width for *_, width, _ in whole] == [600, 400]
    *_, hole = rects(share_strip({"a": 10**9}, 1))
    assert (hole[0], hole[3]) == ("closed", 4)


def test_a_violated_bound_reaches_over_its_claim() -> None:
    bounds = example.privacy(violated=True).bounds
    drawn = bound_chart(bounds)
    bars = {kind: x + width for kind, x, _, width, _ in rects(drawn)}
    (claimed,) = set(re.findall(r'<path class="limit" d="M([\d.]+) ', drawn))
    assert bars["good"] < float(claimed) < bars["bad"]
    assert [each.outcome for each in bounds].count(Outcome.VIOLATED) == 1


def test_roc_points_lie_where_their_rates_say() -> None:
    attack = replace(example.membership("a", 0.6, ""), points=(RocPoint(0, 0), RocPoint(0.01, 0.1), RocPoint(1, 1)))
    for floor, expected in ((None, [(44, 270), (46.5, 243.8), (290, 8)]), (1e-4, [(167, 73.5), (290, 8)])):
        drawn = roc_chart("t", [attack], floor)
        (path,) = re.findall(r'<path class="line s0" d="M([^"]+)"', drawn)
        points = [tuple(map(float, pair.split())) for pair in path.split("L")]
        assert points == [pytest.approx(each, abs=0.06) for each in expected]


def test_figures_of_nothing_are_still_figures() -> None:
    for drawn in (
        round_chart("t", [], []),
        session_chart([]),
        share_strip({}, 0),
        bound_chart([]),
        roc_chart("t", [], None),
    ):
        assert "<svg" in drawn
        assert "nan" not in drawn
