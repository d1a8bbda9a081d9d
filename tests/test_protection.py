"""What a run hides, and every combination that could not keep the promise, each refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from secure_fl.config import RunConfig
from secure_fl.errors import ConfigError
from secure_fl.protection import privacy_set, privacy_summary, threshold_of

FULL: dict[str, Any] = {"secagg": "full", "sites": 10}
GROUPED: dict[str, Any] = {
    "secagg": "grouped", "secagg-group-size": 2, "sites": 12, "defense": "median", "byzantine": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"validation-gate": 0.1}, ["`validation-gate` is 0.1 but `root-samples` is 0", "no longer grade", "100"]),
        ({"dp-sgd": "distributed"}, ["`dp-sgd` is distributed", "only the sum", "--secagg full"]),
        ({"dp-sgd": "distributed", "dp-epsilon": 8.0}, ["`dp-sgd` is distributed", "--secagg full"]),
        ({"dp-sgd": "distributed", **FULL}, ["`dp-sgd` is distributed", "--dp-epsilon"]),
        (
            {"dp-sgd": "distributed", "dp-epsilon": 8.0, **FULL, "dp-unit": "client"},
            ["`dp-sgd` is distributed", "dp-unit=sample"],
        ),
        ({"secagg-group-size": 2}, ["`secagg-group-size` is 2 but `secagg` is none"]),
        ({"secagg-colluders": 1}, ["`secagg-colluders` is 1 but `secagg` is none"]),
        *(
            ({**mode, **change}, [f"`secagg` is {mode['secagg']}", *said])
            for mode in (FULL, GROUPED)
            for change, said in [
                ({"sites": 4}, ["`sites` is 4", "says too much", "at least 5"]),
                ({"grid": "ray"}, ["`grid` is ray", "no secrets", "deployment or local"]),
                ({"allow-stock-supernodes": True}, ["`allow-stock-supernodes`", "to disk"]),
                ({"norm": "batch"}, ["`norm` is batch", "norm=group"]),
                ({"attack": "nan", "attackers": 1}, ["`attack` is nan", "forges replies of the clear wire"]),
            ]
        ),
        ({**FULL, "secagg-colluders": 7}, ["`secagg-colluders` is 7 of 10", "7 sites together can open"]),
        ({**FULL, "secagg-group-size": 2}, ["`secagg-group-size` is set but `secagg` is full"]),
        (
            {**FULL, "defense": "median", "byzantine": 1},
            ["`defense` is median but `secagg` is full", "only their sum", "grouped"],
        ),
        ({**GROUPED, "secagg-group-size": 0}, ["`secagg-group-size` is 0", "hides nothing"]),
        ({**GROUPED, "secagg-group-size": 1}, ["`secagg-group-size` is 1", "hides nothing"]),
        (
            {**GROUPED, "secagg-group-size": 5, "byzantine": 0},
            ["`secagg-group-size` is 5 of 12", "2 groups, and no rule can tell which of two", "at least 15 sites"],
        ),
        ({**GROUPED, "sites": 5, "byzantine": 1}, ["2 groups", "at least 6 sites", "--secagg full"]),
        (
            {**GROUPED, "defense": "fedavg", "byzantine": 0},
            ["`secagg` is grouped but `defense` is fedavg", "for nothing", "--secagg full"],
        ),
        (
            {**GROUPED, "byzantine": 3},
            ["`byzantine` is 3 but `secagg` has 6 groups", "3 hostile sites can spoil 3", "b < n / (2 g)", "at most 2"],
        ),
        ({**GROUPED, "secagg-colluders": 1}, ["`secagg-colluders` is 1", "is one site's update", "larger groups"]),
        (
            {**GROUPED, "dp-epsilon": 8.0, "dp-unit": "client"},
            ["`secagg` is grouped but `dp-unit`", "all of the noise", "--secagg full"],
        ),
        ({**GROUPED, "defense": "krum"}, ["`defense` is krum over 6 updates with `byzantine` 2", "7 vectors"]),
        (
            {**GROUPED, "quorum": 0.5},
            ["`quorum` is 0.5", "0.5 of 6 groups are 3 sums", "needs 5", "quorum=0.833"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_keep_its_promise_is_refused_with_the_reason(settings: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_mapping(settings)
    text = " ".join((refused.value.what, refused.value.why, refused.value.fix))
    assert all(words in text for words in said), text


@pytest.mark.parametrize(
    "settings",
    [
        {**FULL, "sites": 5},
        {**FULL, "dp-epsilon": 8.0},
        {**FULL, "dp-epsilon": 8.0, "dp-sgd": "distributed"},
        {**FULL, "validation-gate": 0.1, "root-samples": 100},
        {**FULL, "attack": "sign_flip", "attackers": 2},
        {**FULL, "secagg-colluders": 6},
        GROUPED,
        {**GROUPED, "sites": 6, "byzantine": 1},
        {**GROUPED, "dp-epsilon": 8.0},
        {**GROUPED, "defense": "fltrust", "root-samples": 100},
        {**GROUPED, "validation-gate": 0.1, "root-samples": 100},
        {**GROUPED, "secagg-group-size": 4, "byzantine": 1, "secagg-colluders": 1},
        {"validation-gate": 0.1, "root-samples": 100, "defense": "median", "byzantine": 1},
    ],
)
def test_what_can_keep_its_promise_is_accepted(settings: dict[str, Any]) -> None:
    RunConfig.from_mapping(settings)


@pytest.mark.parametrize(("members", "threshold"), [(2, 2), (3, 3), (4, 3), (5, 4), (10, 7), (12, 9), (50, 34)])
def test_two_sets_of_survivors_share_an_honest_site(members: int, threshold: int) -> None:
    assert threshold_of(members) == threshold
    assert 2 * threshold > members + max(0, (members - 1) // 3)


def test_a_round_in_groups_needs_as_many_sums_as_the_rule_and_a_share_of_the_sites() -> None:
    grouped = RunConfig.from_mapping(GROUPED)
    assert (grouped.voters, grouped.quorum_voters, grouped.quorum_sites) == (6, 5, 8)
    few = RunConfig.from_mapping({**GROUPED, "byzantine": 1, "quorum": 0.5})
    assert (few.quorum_voters, few.quorum_sites) == (3, 6)
    full = RunConfig.from_mapping(FULL)
    assert (full.voters, full.quorum_voters, full.quorum_sites) == (10, 6, 6)


def test_what_is_hidden_and_what_is_tolerated_is_said_in_one_line() -> None:
    assert privacy_summary(RunConfig()) == ""
    full = RunConfig.from_mapping({**FULL, "secagg-colluders": 2})
    assert privacy_set(full) == 5
    assert privacy_summary(full) == (
        "the sum over all sites, each site hidden among at least 5, 2 colluders assumed; no hostile site is tolerated"
    )
    assert privacy_summary(RunConfig.from_mapping(GROUPED)) == (
        "6 sums over groups of sites, each site hidden among at least 2; 2 hostile sites are tolerated"
    )
