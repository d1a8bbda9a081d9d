"""RunConfig: what exists is usable, what is refused is named, and every setting is fully declared."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.config import GROUPS, RunConfig, flower_defaults, key_of, setting_fields
from secure_fl.errors import ConfigError

KEYS = [key_of(each.name) for each in setting_fields()]
NUMBERS = [each for each in setting_fields() if type(each.default) in (int, float)]
CHOICES = [each for each in setting_fields() if each.metadata["choices"]]


@pytest.mark.parametrize("declared", setting_fields(), ids=lambda each: key_of(each.name))
def test_every_setting_has_help_a_group_and_a_default_that_it_would_accept(declared: Any) -> None:
    meta = declared.metadata
    assert meta["help"]
    assert meta["group"] in GROUPS
    assert type(declared.default) in (bool, int, float, str)
    assert not declared.default or type(declared.default) is not str or declared.type == "str"
    if meta["choices"]:
        assert declared.default in meta["choices"]
    if declared in NUMBERS:
        assert math.isfinite(meta["low"]), "a number needs a lowest value"
        assert meta["low"] <= declared.default <= meta["high"]


def test_the_defaults_are_usable_and_are_what_flower_is_told() -> None:
    assert flower_defaults() == RunConfig().to_mapping()
    assert list(flower_defaults()) == KEYS
    assert all("_" not in key for key in KEYS)


def test_a_config_survives_its_mapping_in_either_spelling() -> None:
    config = RunConfig(lr=0.3, local_epochs=7, skip_bad_images=True, dataset="/a/b")
    assert RunConfig.from_mapping(config.to_mapping()) == config
    assert RunConfig.from_mapping({"local_epochs": 7}) == RunConfig.from_mapping({"local-epochs": 7})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RunConfig().lr = 1.0  # type: ignore[misc]


def test_equal_configs_have_equal_digests_and_others_do_not() -> None:
    assert RunConfig(alpha=1).digest() == RunConfig(alpha=1.0).digest()  # type: ignore[arg-type]
    digests = {RunConfig(seed=seed).digest() for seed in range(20)}
    assert len(digests) == 20
    assert all(len(each) == 64 for each in digests)


@pytest.mark.parametrize("declared", NUMBERS, ids=lambda each: key_of(each.name))
def test_a_number_outside_its_range_is_refused_with_key_value_and_range(declared: Any) -> None:
    low, high = declared.metadata["low"], declared.metadata["high"]
    for value in (low - 1, *([] if math.isinf(high) else [high * 2])):
        with pytest.raises(ConfigError) as refused:
            RunConfig.from_mapping({declared.name: value})
        assert f"`{key_of(declared.name)}` is" in refused.value.what
        assert "give a value" in refused.value.fix
        assert declared.metadata["unit"] in refused.value.fix


@pytest.mark.parametrize("declared", CHOICES, ids=lambda each: key_of(each.name))
def test_a_word_that_is_no_choice_is_refused_and_all_choices_are_named(declared: Any) -> None:
    with pytest.raises(ConfigError, match="nonsense") as refused:
        RunConfig.from_mapping({declared.name: "nonsense"})
    assert all(choice in refused.value.fix for choice in declared.metadata["choices"])


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("rounds", "three", "a whole number"),
        ("rounds", 2.5, "a whole number"),
        ("rounds", "2.5", "a whole number"),
        ("rounds", True, "a whole number"),
        ("rounds", math.inf, "a whole number"),
        ("rounds", math.nan, "a whole number"),
        ("rounds", None, "a whole number"),
        ("rounds", [3], "a whole number"),
        ("lr", "fast", "a number"),
        ("lr", "nan", "a number"),
        ("lr", "inf", "a number"),
        ("lr", True, "a number"),
        ("lr", {}, "a number"),
        ("download", "maybe", "true or false"),
        ("download", 2, "true or false"),
        ("dataset", 5, "text"),
        ("dataset", None, "text"),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_bent(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_mapping({key: value})
    assert refused.value.what == f"`{key}` is {value!r}"
    assert refused.value.fix == f"give {wanted}"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("rounds", "12", 12),
        ("rounds", 12.0, 12),
        ("lr", "1e-3", 0.001),
        ("lr", 1, 1.0),
        ("download", "TRUE", True),
        ("download", "no", False),
        ("download", "0", False),
    ],
)
def test_text_and_exact_conversions_are_accepted(key: str, text: Any, value: Any) -> None:
    got = RunConfig.from_mapping({key: text}).to_mapping()[key]
    assert got == value
    assert type(got) is type(value)


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="unknown setting `local-epoch`") as refused:
        RunConfig.from_mapping({"local-epoch": 3})
    assert "`local-epochs`" in refused.value.fix
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_mapping({"zzz": 3})
    assert "config show" in refused.value.fix


@pytest.mark.parametrize(
    ("settings", "culprits"),
    [
        ({"image-size": 4}, ["image-size"]),
        ({"norm": "frozen-batch"}, ["norm", "weights"]),
        ({"model": "light_cnn", "weights": "torchvision"}, ["weights", "model"]),
        ({"model": "light_cnn", "norm": "batch"}, ["norm", "model"]),
        ({"remote-sites": 3, "sites": 2}, ["remote-sites", "sites"]),
        ({"remote-sites": 1, "grid": "local"}, ["remote-sites", "grid"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_and_both_are_named(
    settings: dict[str, Any], culprits: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_mapping(settings)
    assert all(f"`{culprit}`" in refused.value.what for culprit in culprits)
    assert refused.value.fix


@given(sites=st.integers(1, 1000), quorum=st.floats(0.01, 1.0))
def test_the_quorum_is_the_smallest_count_that_reaches_its_share(sites: int, quorum: float) -> None:
    needed = RunConfig(sites=sites, quorum=quorum).quorum_sites
    assert 1 <= needed <= sites
    assert needed >= quorum * sites - 1e-6
    assert needed == 1 or needed - 1 < quorum * sites


def test_a_quorum_of_six_tenths_of_five_sites_is_three() -> None:
    assert RunConfig(sites=5, quorum=0.6).quorum_sites == 3


@pytest.mark.parametrize("grid", ["local", "ray"])
def test_an_audit_without_a_wire_is_refused(grid: str) -> None:
    with pytest.raises(ConfigError, match="`audit` is set but `grid` is") as refused:
        RunConfig(audit=True, grid=grid)
    assert "deployment" in refused.value.fix


def test_an_audit_of_stock_supernodes_is_refused() -> None:
    with pytest.raises(ConfigError, match="`allow-stock-supernodes` is too"):
        RunConfig(audit=True, allow_stock_supernodes=True)


def test_an_auditor_without_an_audit_is_refused() -> None:
    with pytest.raises(ConfigError, match="`auditor` is set"):
        RunConfig(auditor="open.pub")
