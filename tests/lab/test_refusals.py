"""What cannot be is known before anything runs: a finding if it depends on f, a mistake if it does not."""

from __future__ import annotations

import pytest

from secure_fl.errors import ConfigError
from secure_fl.lab.comparison import Comparison
from secure_fl.lab.refusals import refusals
from secure_fl.lab.scenario import Scenario


def grid(attack: str = "sign_flip", defense: str = "krum", *, byzantine: tuple[int, ...] = (1, 4)) -> Comparison:
    base = Scenario(model="softmax", clients=10)
    return Comparison(base, (attack,), (defense,), byzantine, (0.5,), (0,))


def test_a_rule_that_cannot_tolerate_f_is_refused_there_and_runs_elsewhere() -> None:
    found = refusals(grid())
    assert {(setting.defense, setting.byzantine) for setting in found} == {("krum", 4)}
    assert {setting.attack for setting in found} == {"", "sign_flip"}
    assert all("11" in reason for reason in found.values())  # Krum needs 2f + 3 of n


def test_what_can_be_is_not_refused() -> None:
    assert refusals(grid(defense="median")) == {}


@pytest.mark.parametrize(
    ("attack", "defense", "words"),
    [
        ("signflip", "krum", "signflip"),
        ("sign_flip", "krumm", "krumm"),
        ("sign_flip", "krum(q=3)", "q"),
        ("sign_flip", "krum+nnm", "nnm"),
        ("sign_flip(zeta=1)", "krum", "zeta"),
        ("sign_flip+label_flip", "krum", "label_flip"),
    ],
    ids=str,
)
def test_a_name_or_parameter_that_does_not_exist_ends_it(attack: str, defense: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refusals(grid(attack, defense))
    assert words in f"{caught.value} {caught.value.fix}"


def test_a_rule_that_is_refused_at_every_f_ends_it() -> None:
    with pytest.raises(ConfigError):
        refusals(grid(byzantine=(4,)))


def test_a_model_or_data_set_that_does_not_exist_ends_it() -> None:
    for change in ({"model": "resnet"}, {"dataset": "digitz"}):
        base = Scenario(**{"model": "softmax", "clients": 10, **change})
        with pytest.raises(Exception, match=next(iter(change.values()))):
            refusals(Comparison(base, ("sign_flip",), ("median",), (1,), (0.5,), (0,)))
