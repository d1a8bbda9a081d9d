"""What may be ordered, and that the command line of it has nothing in it that somebody wrote freely."""

from __future__ import annotations

import shlex
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.errors import ConfigError, NotFoundError, SecureFLError
from tests.webui.conftest import run_ids
from webui.orders import KINDS, NOT_HERE, arguments, equivalent, order

CONFIG = Path("config.toml")


def test_a_run_reads_its_settings_from_a_file(tmp_path: Path) -> None:
    made = order("run", {"preset": "smoke", "settings": {"rounds": "3", "lr": 0.5, "audit": "true"}}, tmp_path)
    assert made.request == {"preset": "smoke", "settings": {"rounds": 3, "lr": 0.5, "audit": True}}
    assert made.title == "smoke · digits · light_cnn · 3 sites · 3 rounds"
    assert arguments(made.kind, made.request, tmp_path, CONFIG) == ["run", "--preset=smoke", "--config=config.toml"]
    assert equivalent(made, tmp_path) == "secure-fl run --preset smoke -c rounds=3 -c lr=0.5 -c audit=true"


def test_a_path_leads_below_the_home(tmp_path: Path) -> None:
    made = order("run", {"settings": {"dataset": "images/cats"}}, tmp_path)
    assert made.request["settings"]["dataset"] == str(tmp_path / "images" / "cats")
    (tmp_path / "way-out").symlink_to("/etc")
    for path in ("/etc", "../x", "images/../../x", "way-out/ssl"):
        with pytest.raises(ConfigError, match="dataset"):
            order("run", {"settings": {"dataset": path}}, tmp_path)


@pytest.mark.parametrize("key", sorted(NOT_HERE))
def test_what_opens_the_machine_is_not_set_from_a_browser(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="cannot be set from here"):
        order("run", {"settings": {key: "1"}}, tmp_path)


def test_a_replay_and_a_comparison_name_only_what_there_is(tmp_path: Path) -> None:
    made = order("replay", {"scenario": "one-nan", "defenses": ["median", "krum"], "open_loop": "on"}, tmp_path)
    words = ["replay", "one-nan", "--defense=median", "--defense=krum", "--open-loop"]
    assert arguments("replay", made.request, tmp_path, CONFIG) == words
    made = order(
        "compare", {"attacks": ["sign_flip"], "defenses": ["nnm+krum"], "byzantine": 2, "seeds": "4"}, tmp_path
    )
    words = ["compare", "--attack=sign_flip", "--defense=nnm+krum", "--byzantine=2", "--seeds=4"]
    place = f"comparisons/{made.request['name']}"
    assert arguments("compare", made.request, tmp_path, CONFIG) == [*words, f"--output={tmp_path / place}"]
    assert shlex.split(equivalent(made, tmp_path)) == ["secure-fl", *words, f"--output={place}"]
    even = order("compare", {"attacks": ["sign_flip"], "alpha": "100", "rounds": 2}, tmp_path)
    assert {"--alpha=100", "--rounds=2"} <= set(arguments("compare", even.request, tmp_path, CONFIG))
    for alpha in ("0", "-1", "nan", "inf", "a", True, [1]):
        with pytest.raises(ConfigError, match="alpha"):
            order("compare", {"attacks": ["sign_flip"], "alpha": alpha}, tmp_path)
    for odd in ({"attacks": ["nothing"]}, {"attacks": ["sign_flip"], "defenses": ["nothing"]}, {"attacks": ["a b"]}):
        with pytest.raises(ConfigError):
            order("compare", odd, tmp_path)
    with pytest.raises(NotFoundError):
        order("replay", {"scenario": "nothing"}, tmp_path)


def test_a_finished_run_cannot_go_on_and_one_without_an_audit_is_not_verified(full_home: Path) -> None:
    run_id, attacked = run_ids(full_home)["plain"], run_ids(full_home)["attacked"]
    with pytest.raises(ConfigError, match="cannot go on"):
        order("resume", {"run_id": run_id}, full_home)
    made = order("audit", {"run_id": run_id}, full_home)
    command = arguments("audit", made.request, full_home, CONFIG)
    key = full_home / "federation" / "auditor" / "sign.pub"
    assert command == ["audit", "verify", str(full_home / "runs" / run_id / "audit"), f"--key={key}"]
    with pytest.raises(NotFoundError, match="not audited"):
        order("audit", {"run_id": attacked}, full_home)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3),
    max_leaves=6,
)
_KEYS = (
    "preset",
    "settings",
    "scenario",
    "defenses",
    "attacks",
    "seeds",
    "rounds",
    "byzantine",
    "alpha",
    "run_id",
    "what",
)


@given(kind=st.sampled_from(KINDS), wish=st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5))
def test_whatever_is_wished_for_becomes_a_plain_command_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, wish: dict[str, Any]
) -> None:
    home = tmp_path_factory.getbasetemp()
    try:
        made = order(kind, wish, home)
    except SecureFLError:
        return
    plain = set(string.ascii_letters + string.digits + "-_=+.,()/")
    assert all(set(each) <= plain for each in arguments(made.kind, made.request, home, CONFIG))
