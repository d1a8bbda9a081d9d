"""What settings promise: the same ε behind secure aggregation, and a coordinator that need not be trusted."""

from __future__ import annotations

import pytest

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.privacy.distributed import slack
from secure_fl.privacy.regime import accounted_delta, client_event, planned, promise, sample_event, spent_after

LOCAL = RunConfig(dp_epsilon=4.0, dp_delta=1e-4, rounds=3, dp_sample_rate=1.0, local_epochs=1)


def test_dp_sgd_at_the_sites_costs_the_same_behind_secure_aggregation():
    alone, hidden = planned(LOCAL), planned(LOCAL.changed({"secagg": "full"}))
    assert hidden.dp_noise_multiplier == alone.dp_noise_multiplier
    assert promise(hidden) == promise(alone)
    assert "assumes" not in promise(hidden)[0]


def test_distributed_dp_sgd_takes_one_step_a_round_and_protects_against_the_coordinator():
    config = planned(LOCAL.changed({"secagg": "full", "dp-sgd": "distributed", "secagg-colluders": 1}))
    (line,) = promise(config)
    assert config.dp_steps == 1 and sample_event(config, rounds=3).steps == 3
    assert line["unit"] == "image" and 3.9 < line["epsilon"] <= 4.0
    assert str(line["protects_against"]).startswith("the coordinator")
    assert line["assumes"] == (
        "of the 4 or more of 5 sites that stay to the end of a round, at most 1 collude with the coordinator"
    )


def test_at_client_level_the_coordinator_is_trusted_only_without_secure_aggregation():
    trusted = LOCAL.changed({"dp-unit": "client"})
    (line,), (shared,) = promise(trusted), promise(trusted.changed({"secagg": "full"}))
    assert "not the coordinator" in str(line["protects_against"]) and "assumes" not in line
    assert str(shared["protects_against"]).startswith("the coordinator")
    assert (line["adjacency"], shared["adjacency"]) == ("add-remove", "zero-out")
    assert "at most 0 collude with the coordinator" in str(shared["assumes"])
    assert shared["epsilon"] <= 4.0


def test_noise_in_shares_is_planned_with_room_in_delta_for_its_slack():
    config = LOCAL.changed({"dp-unit": "client", "secagg": "full"})
    assert accounted_delta(LOCAL) == 1e-4
    assert accounted_delta(config) + slack(3, 4.0) <= 1e-4
    assert client_event(config).noise_multiplier >= client_event(config.changed({"secagg": "none"})).noise_multiplier


def test_an_epsilon_so_large_that_the_slack_exceeds_its_room_is_refused():
    config = LOCAL.changed({"dp-unit": "client", "secagg": "full", "dp-epsilon": 60.0})
    with pytest.raises(ConfigError, match="`dp-epsilon` is 60"):
        planned(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dp-sgd": "distributed"}, "not DP-SGD under secagg=full"),
        ({"dp-sgd": "distributed", "secagg": "full", "dp-unit": "both"}, "`dp-unit` is both"),
        ({"dp-unit": "client", "secagg": "full", "secagg-bits": "16"}, "`secagg-bits` is 16"),
        ({"dp-sgd": "distributed", "secagg": "full", "secagg-bits": "16"}, "`secagg-bits` is 16"),
    ],
)
def test_combinations_that_cannot_keep_the_promise_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        LOCAL.changed(changes)


def test_what_is_spent_after_some_rounds_ends_at_the_promise_and_begins_at_nothing():
    config = planned(LOCAL.changed({"dp-unit": "both", "secagg": "full"}))
    image, whole = promise(config)
    assert spent_after(config, 0) == {"epsilon": 0.0, "client_epsilon": 0.0}
    assert spent_after(config, 3) == {"epsilon": image["epsilon"], "client_epsilon": whole["epsilon"]}
    assert spent_after(RunConfig(), 3) == {}
