import numpy as np
import pytest

from attacks.base import AttackError, Knowledge, SpanRule, View, copies
from tests.attacks.rounds import honest_updates, view

RNG = np.random.default_rng(0)
OWN = np.zeros((2, 4), np.float32)


def test_the_levels_of_knowledge_are_four_and_in_order():
    assert list(Knowledge) == ["none", "updates", "defense", "parameters"]


@pytest.mark.parametrize(
    ("own", "honest", "previous", "round", "culprit"),
    [
        (np.zeros(4, np.float32), None, None, 1, "own"),
        (np.zeros((0, 4), np.float32), None, None, 1, "own"),
        (OWN, np.zeros((3, 5), np.float32), None, 1, "honest"),
        (OWN, np.zeros((0, 4), np.float32), None, 1, "honest"),
        (OWN, np.zeros(4, np.float32), None, 1, "honest"),
        (OWN, None, np.zeros(5, np.float32), 1, "previous"),
        (OWN, None, None, 0, "round"),
    ],
)
def test_a_view_that_contradicts_itself_cannot_be_built(own, honest, previous, round, culprit):
    with pytest.raises(AttackError, match=culprit):
        View(own, honest, previous, None, round, RNG)


def test_what_a_view_hides_is_refused_in_the_name_of_the_attack():
    blind = view(None)
    with pytest.raises(AttackError, match=r"alie cannot.*honest updates.*knowledge=updates"):
        blind.honest_for("alie")
    with pytest.raises(AttackError, match=r"opt_ipm cannot.*rule in force.*knowledge=defense"):
        blind.rule_for("opt_ipm")


def test_a_view_gives_what_it_holds():
    honest = honest_updates()
    seen = view(honest, f=3, defend=np.mean)
    assert (seen.f, seen.d) == (3, 500)
    assert seen.honest_for("x") is honest
    assert seen.rule_for("x") is np.mean


def test_an_error_keeps_what_why_and_fix_apart():
    error = AttackError("a", why="b", fix="c")
    assert (error.what, error.why, error.fix) == ("a", "b", "c")
    assert str(error) == "a: b (fix: c)"


def test_copies_are_float32_rows_of_their_own():
    sent = copies(np.array([1.0, 2.0]), 3)
    assert sent.dtype == np.float32 and sent.shape == (3, 2)
    sent[0, 0] = 9
    assert sent[1, 0] == 1


def test_only_a_rule_that_weighs_by_inner_products_counts_as_one():
    class Weighing:
        def __call__(self, updates): ...
        def weights_of_gram(self, gram): ...

    assert isinstance(Weighing(), SpanRule)
    assert not isinstance(np.median, SpanRule)
