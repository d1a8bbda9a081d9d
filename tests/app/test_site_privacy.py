"""A site's own say over its privacy: what it admits, what it spends, and what it tells."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from secure_fl.app.site_privacy import LEDGERS_VARIABLE, SitePrivacy, ledger_file
from secure_fl.config import RunConfig
from secure_fl.errors import BudgetError, ConfigError
from secure_fl.privacy.accounting import epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.privacy.regime import client_event, planned, sample_event

DATA = "sha256:" + "a" * 64
CONFIG = planned(RunConfig(model="light_cnn", dp_epsilon=4.0, dp_delta=1e-4, rounds=3, local_epochs=1))


def site(folder: Path, **own: float) -> SitePrivacy:
    return SitePrivacy.of({"partition-id": 0, "privacy-ledger": str(folder / "site-0.jsonl"), **own})


def test_a_round_is_on_disk_before_its_cost_is_known_to_anybody(tmp_path):
    cost = site(tmp_path).spend(CONFIG, run="r1", round=1, data=DATA)
    (spending,) = Ledger(tmp_path / "site-0.jsonl").spendings(DATA)
    assert spending.event == sample_event(CONFIG) and (spending.run, spending.round) == ("r1", 1)
    assert cost.value == pytest.approx(epsilon([sample_event(CONFIG)], 1e-4).value)


def test_the_planned_rounds_fit_the_runs_budget_and_one_more_is_refused_before_it_is_spent(tmp_path):
    privacy = site(tmp_path)
    costs = [privacy.spend(CONFIG, run="r1", round=number, data=DATA).value for number in (1, 2, 3)]
    assert costs == sorted(costs) and costs[-1] <= 4.0
    with pytest.raises(BudgetError, match="round 3 would exceed the run's privacy budget"):
        privacy.spend(CONFIG, run="r1", round=3, data=DATA)  # sent again
    assert len(Ledger(tmp_path / "site-0.jsonl").spendings(DATA)) == 3
    privacy.spend(CONFIG, run="r2", round=1, data=DATA)  # another run has a budget of its own


def test_the_sites_own_budget_holds_over_all_runs_on_the_same_images(tmp_path):
    privacy = site(tmp_path, **{"privacy-budget": 4.5, "privacy-delta": 1e-4})
    privacy.admit(CONFIG, samples=300, data=DATA)
    for number in (1, 2, 3):
        privacy.spend(CONFIG, run="r1", round=number, data=DATA)
    with pytest.raises(BudgetError, match="would break this site's privacy budget"):
        privacy.admit(CONFIG, samples=300, data=DATA)
    privacy.admit(CONFIG, samples=300, data="sha256:" + "b" * 64)  # other images have spent nothing


def test_a_site_with_a_budget_refuses_to_train_without_privacy(tmp_path):
    with pytest.raises(BudgetError, match="under differential privacy only"):
        site(tmp_path, **{"privacy-budget": 4.5}).admit(RunConfig(), samples=300, data=DATA)
    client_only = RunConfig(dp_epsilon=4.0, dp_unit="client")
    with pytest.raises(BudgetError):
        site(tmp_path, **{"privacy-budget": 4.5}).admit(client_only, samples=300, data=DATA)


def test_delta_must_be_smaller_than_one_image(tmp_path):
    with pytest.raises(ConfigError, match="too large for 10000 images"):
        site(tmp_path).admit(CONFIG, samples=10_000, data=DATA)


def test_without_a_ledger_there_is_no_training_with_privacy(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no privacy ledger"):
        SitePrivacy.of({"partition-id": 3}).spend(CONFIG, run="r1", round=1, data=DATA)
    monkeypatch.setenv(LEDGERS_VARIABLE, str(tmp_path))
    assert SitePrivacy.of({"partition-id": 3}).ledger == tmp_path / "site-3.jsonl"
    assert ledger_file(tmp_path, "site-3") == tmp_path / "federation" / "privacy" / "site-3.jsonl"


def test_the_fingerprint_that_leaves_is_keyed_by_a_secret_that_stays(tmp_path):
    here, there = site(tmp_path / "a"), site(tmp_path / "b")
    shown = here.pseudonym(DATA)
    assert shown == here.pseudonym(DATA) != there.pseudonym(DATA)
    assert "a" * 64 not in shown
    secret = tmp_path / "a" / "site-0.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and len(secret.read_bytes()) == 32


def test_a_coordinator_cannot_have_a_site_draw_noise_that_it_could_recompute(tmp_path):
    seeded = CONFIG.changed({"insecure-test-rng": True})
    for ask in (
        lambda privacy: privacy.admit(seeded, samples=300, data=DATA),
        lambda privacy: privacy.spend(seeded, run="r1", round=1, data=DATA),
    ):
        with pytest.raises(ConfigError, match="does not allow"):
            ask(site(tmp_path))
    assert not Ledger(tmp_path / "site-0.jsonl").spendings()
    site(tmp_path, **{"insecure-test-rng": True}).spend(seeded, run="r1", round=1, data=DATA)


CLIENT = RunConfig(
    model="light_cnn", secagg="full", dp_unit="client", dp_epsilon=4.0, dp_delta=1e-4, rounds=3, local_epochs=1
)
GLOBAL = planned(CLIENT.changed({"dp-unit": "sample", "dp-sgd": "distributed"}))


def test_a_site_enters_what_it_costs_itself_where_no_coordinator_is_trusted_to(tmp_path):
    privacy = site(tmp_path)
    costs = [privacy.spend(CLIENT, run="r1", round=number, data=DATA).value for number in (1, 2, 3)]
    lines = Ledger(tmp_path / "site-0.jsonl").spendings(f"site:{DATA}")
    assert [each.event for each in lines] == [client_event(CLIENT)] * 3
    assert {(each.unit, each.adjacency) for each in lines} == {("client", "zero-out")}
    assert costs == sorted(costs) and 3.9 < costs[-1] <= 4.0
    with pytest.raises(BudgetError, match="round 3 would exceed the run's privacy budget"):
        privacy.spend(CLIENT, run="r1", round=3, data=DATA)  # sent again
    assert len(lines) == len(Ledger(tmp_path / "site-0.jsonl").spendings())


def test_a_round_of_distributed_dp_sgd_is_one_step_in_the_name_of_the_images(tmp_path):
    site(tmp_path).spend(GLOBAL, run="r1", round=1, data=DATA)
    (line,) = Ledger(tmp_path / "site-0.jsonl").spendings(DATA)
    assert (line.unit, line.event.steps, line.event.sample_rate) == ("sample", 1, GLOBAL.dp_sample_rate)
    assert line.event == sample_event(GLOBAL)


def test_what_protects_the_site_costs_its_images_as_much_as_half_the_noise(tmp_path):
    whole = client_event(CLIENT, rounds=3)
    halved = epsilon([replace(whole, noise_multiplier=whole.noise_multiplier / 2)], 1e-4 * 0.999).value
    site(tmp_path, **{"privacy-budget": halved + 0.01, "privacy-delta": 1e-4}).admit(CLIENT, samples=300, data=DATA)
    tight = site(tmp_path, **{"privacy-budget": halved - 0.01, "privacy-delta": 1e-4})
    with pytest.raises(BudgetError, match="would break this site's privacy budget"):
        tight.admit(CLIENT, samples=300, data=DATA)
    tight.spend(CLIENT, run="r1", round=1, data=DATA)
    tight.spend(CLIENT, run="r1", round=2, data=DATA)
    with pytest.raises(BudgetError, match="round 3 would exceed this site's privacy budget"):
        tight.spend(CLIENT, run="r1", round=3, data=DATA)
    enough = site(tmp_path, **{"privacy-budget": 4.1, "privacy-delta": 1e-4})
    enough.admit(CONFIG, samples=300, data="sha256:" + "b" * 64)
    with pytest.raises(BudgetError, match="would break"):  # they stay spent when the next run trains by DP-SGD
        enough.admit(CONFIG, samples=300, data=DATA)


def test_both_units_are_entered_and_images_pay_for_their_own_alone(tmp_path):
    both = planned(CLIENT.changed({"dp-unit": "both", "rounds": 1, "dp-sample-rate": 1.0}))
    privacy = site(tmp_path, **{"privacy-budget": 4.1, "privacy-delta": 1e-4})
    privacy.spend(both, run="r1", round=1, data=DATA)
    assert [each.unit for each in Ledger(tmp_path / "site-0.jsonl").spendings()] == ["sample", "client"]


def test_test_randomness_is_refused_in_shares_too(tmp_path):
    with pytest.raises(ConfigError, match="test randomness"):
        site(tmp_path).admit(CLIENT.changed({"insecure-test-rng": True}), samples=300, data=DATA)
