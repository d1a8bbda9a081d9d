"""Progress, curves, sites, privacy and security events of real runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from secure_fl.runs import RunStatus
from secure_fl.runs.rounds import summarise
from webui.reading.curves import accuracy_chart, class_chart, loss_chart, site_chart
from webui.reading.privacy import Promise, promises_of, site_prices
from webui.reading.progress import progress_of
from webui.reading.records import Run
from webui.reading.security import guards_of, incidents_of
from webui.reading.sites import PARTS, participation_of, sites_of


def halfway(run: Run) -> Run:
    """The run as it was when two replies of its second round were in."""
    seen = [each for each in run.events if each.get("round") == 2 and each.kind == "reply-accepted"]
    events = run.events[: seen[1].seq + 1]
    return replace(run, events=events, summary=summarise(events), status=RunStatus.RUNNING)


def test_a_finished_run_is_wholly_done(plain: Run) -> None:
    found = progress_of(plain, now_s=0.0)
    assert (found.round, found.rounds, found.share, found.left_s) == (2, 2, 1.0, None)
    assert found.accuracy == plain.summary.rounds[-1].accuracy
    assert found.epsilon is None


def test_a_running_round_counts_its_replies_and_tells_the_time_left(attacked: Run) -> None:
    run = halfway(attacked)
    found = progress_of(run, now_s=run.events[-1].epoch_s)
    assert (found.round, found.replied, len(found.sites)) == (2, 2, 5)
    assert found.share == pytest.approx((1 + 2 / 5) / 3)
    assert found.left_s is not None and found.left_s > 0
    assert found.phase == "sites are training"


def test_the_spent_privacy_is_the_number_of_the_record(private: Run) -> None:
    (promise,) = promises_of(private)
    last = private.summary.rounds[-1]
    assert progress_of(private, now_s=0.0).epsilon == promise.spent == last.epsilon
    assert promise.limit == private.summary.start["privacy"][0]["epsilon"]
    assert promise.spent == pytest.approx(promise.limit)


def test_every_site_accounts_for_itself(private: Run) -> None:
    prices = site_prices(private)
    assert [each.site for each in prices] == ["site-0", "site-1"]
    assert all(each.round == 2 and each.steps > 0 for each in prices)
    assert max(each.epsilon for each in prices) == pytest.approx(promises_of(private)[0].spent)


def promise_of(private: Run, *spent: float, rounds: int = 10) -> Promise:
    return replace(
        promises_of(private)[0], rounds=tuple(range(len(spent))), by_round=spent, total_rounds=rounds, limit=8.0
    )


@pytest.mark.parametrize(
    ("spent", "soonest"), [((0.0, 2.0), 5), ((0.0, 3.0, 5.0), 4), ((0.0,), None), ((0.0, 4.0, 8.0), 3)]
)
def test_the_projection_is_the_first_round_that_passes_the_limit_at_the_last_price(
    private: Run, spent: tuple[float, ...], soonest: int | None
) -> None:
    promise = promise_of(private, *spent)
    assert promise.soonest == soonest
    if soonest is not None and promise.last_price is not None:
        rounds = soonest - promise.rounds[-1]
        assert promise.spent + rounds * promise.last_price > promise.limit
        assert promise.spent + (rounds - 1) * promise.last_price <= promise.limit


def test_the_privacy_chart_shows_the_limit_and_what_is_ahead(private: Run) -> None:
    chart = promise_of(private, 0.0, 2.0, 3.5).chart
    spent, limit, ahead = chart.curves
    assert set(limit.values) == {8.0}
    assert spent.values[3:] == (None,) * 8
    assert ahead.values[:2] == (None, None) and ahead.values[2:4] == (3.5, 5.0)


def test_charts_say_what_they_show(plain: Run) -> None:
    rounds = plain.summary.rounds
    first, last = rounds[0].accuracy or 0, rounds[-1].accuracy or 0
    assert accuracy_chart(rounds).says == (
        f"Accuracy went from {100 * first:.1f} % in round 0 to {100 * last:.1f} % in round 2."
    )
    assert [curve.name for curve in loss_chart(rounds).curves] == ["test loss", "training loss"]
    for chart in (accuracy_chart(rounds), loss_chart(rounds), class_chart(rounds, []), site_chart(rounds)):
        assert chart is not None
        assert all(len(curve.values) == len(chart.x) for curve in chart.curves)
    assert accuracy_chart(()).says == "Accuracy was not measured yet."


def test_a_defense_that_leaves_sites_out_is_seen_site_by_site_and_round_by_round(attacked: Run) -> None:
    found = participation_of(attacked)
    assert (found.sites, found.rounds) == (tuple(f"site-{k}" for k in range(5)), (1, 2, 3))
    assert found.attackers == {"site-4"}
    for at, row in enumerate(attacked.summary.rounds[1:]):
        left_out = {site for site, parts in zip(found.sites, found.parts, strict=True) if parts[at] == "left out"}
        assert left_out == set(row.left_out)
    assert {part for parts in found.parts for part in parts} <= PARTS.keys()
    assert "simulated attackers: site-4" in found.says


def test_sites_add_up_to_the_rounds(attacked: Run) -> None:
    for site in sites_of(attacked):
        assert site.counted + site.left_out + site.excluded == 3
        assert site.attacker == (site.name == "site-4")


def test_whom_a_defense_left_out_is_among_the_security_events(attacked: Run) -> None:
    found = incidents_of(attacked)
    away = {(each.round, each.site) for each in found if each.what == "left out of the model by the defense"}
    assert away == {(row.round, site) for row in attacked.summary.rounds for site in row.left_out}
    assert found[-1].what.startswith("simulated attack: sign_flip")


def test_protections_are_told_as_they_were_recorded(plain: Run, attacked: Run, private: Run) -> None:
    def on(run: Run) -> set[str]:
        return {each.name for each in guards_of(run) if each.on}

    assert on(plain) == set()
    assert on(attacked) == {"Aggregation"}
    assert on(private) == {"Differential privacy"}


def test_no_number_of_a_reading_is_nan(plain: Run) -> None:
    found = progress_of(plain, now_s=0.0)
    assert not any(isinstance(value, float) and math.isnan(value) for value in (found.share, found.active_s))
