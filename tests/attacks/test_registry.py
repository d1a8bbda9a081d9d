import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from attacks.base import AttackError, Knowledge
from attacks.collusion import ALIE, FixedMimic, Mimic, alie_z
from attacks.registry import DATA_ATTACKS, UPDATE_ATTACKS, WIRE_ATTACKS, build, parameters
from tests.attacks.replies import HONEST
from tests.attacks.rounds import honest_updates, view

ALL = [*UPDATE_ATTACKS, *DATA_ATTACKS, *WIRE_ATTACKS]
TABLE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "attacks.md"


def median(updates):
    return np.median(updates, axis=0).astype(np.float32)


def made(name, n=20, f=4, **given):
    return build(name, given, n=n, f=f)


def full_view(d=500, seed=0):
    previous = honest_updates(h=1, d=d, seed=9)[0]
    return view(honest_updates(h=16, d=d), f=4, previous=previous, defend=median, round=2, seed=seed)


def test_the_names_are_the_agreed_ones():
    assert set(UPDATE_ATTACKS) >= set(
        [
            "sign_flip",
            "scaled",
            "gaussian",
            "random",
            "zero",
            "free_rider",
            "mimic",
            "alie",
            "ipm",
            "opt_alie",
            "opt_ipm",
            "min_max",
            "min_sum",
            "fang_krum",
            "fang_trimmed_mean",
            "rop",
        ]
    )
    assert set(DATA_ATTACKS) == set(
        [
            "label_flip",
            "label_flip_all_to_one",
            "label_flip_reverse",
            "backdoor_patch",
            "model_replacement",
            "dba",
            "edge_case",
            "neurotoxin",
        ]
    )
    assert set(WIRE_ATTACKS) == set(
        [
            "nan",
            "inf",
            "huge",
            "wrong_shape",
            "wrong_dtype",
            "wrong_spec",
            "missing_key",
            "extra_key",
            "sample_lie",
            "huge_payload",
            "late",
            "duplicate",
            "stale",
            "sybil",
            "leak_jpeg",
            "leak_pixels",
            "leak_metric",
            "leak_text",
            "leak_base64",
            "leak_split",
        ]
    )
    assert len(ALL) == len(set(ALL))


@pytest.mark.parametrize("name", ALL)
def test_every_attack_is_built_by_its_name_and_says_what_it_is(name):
    attack = made(name)
    assert attack.name == name
    assert attack.teaches if name in WIRE_ATTACKS else re.search(r"\b20[12]\d\b", attack.paper)


@pytest.mark.parametrize("name", UPDATE_ATTACKS)
def test_every_update_attack_sends_f_finite_float32_vectors_and_the_same_ones_again(name):
    sent = made(name).craft(full_view())
    assert sent.shape == (4, 500) and sent.dtype == np.float32 and np.isfinite(sent).all()
    np.testing.assert_array_equal(sent, made(name).craft(full_view()))


@pytest.mark.parametrize("name", UPDATE_ATTACKS)
def test_no_update_attack_changes_what_it_was_shown(name):
    seen = full_view()
    own, honest, previous = seen.own.copy(), seen.honest.copy(), seen.previous.copy()
    made(name).craft(seen)[:] = 7
    np.testing.assert_array_equal(seen.own, own)
    np.testing.assert_array_equal(seen.honest, honest)
    np.testing.assert_array_equal(seen.previous, previous)


@pytest.mark.parametrize("name", UPDATE_ATTACKS)
def test_an_attack_needs_the_knowledge_that_it_declares_and_no_more(name):
    attack, all_seen = made(name), full_view()
    honest = None if attack.knowledge is Knowledge.NONE else all_seen.honest
    defend = median if attack.knowledge is Knowledge.DEFENSE else None
    shown = view(honest, f=4, d=500, previous=all_seen.previous, defend=defend, round=2)
    np.testing.assert_array_equal(attack.craft(shown), made(name).craft(all_seen))
    if attack.knowledge is not Knowledge.NONE:
        with pytest.raises(AttackError, match=f"{name} cannot be carried out"):
            made(name).craft(view(None, f=4, d=500, previous=all_seen.previous, round=2))


@pytest.mark.parametrize("name", UPDATE_ATTACKS)
def test_an_attack_that_does_not_train_does_not_look_at_what_training_gave(name):
    attack, seen = made(name), full_view()
    untrained = type(seen)(np.zeros_like(seen.own), seen.honest, seen.previous, median, 2, np.random.default_rng(0))
    same = np.array_equal(attack.craft(seen), made(name).craft(untrained))
    assert same is not attack.trains


@pytest.mark.parametrize("name", UPDATE_ATTACKS)
def test_no_update_attack_needs_more_than_two_further_copies_of_the_round(name):
    honest = honest_updates(h=16, d=150_000)
    seen = view(honest, f=4, previous=honest[0], defend=lambda updates: updates[0], round=2)
    tracemalloc.start()
    made(name).craft(seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 20 * 150_000 * 4


@pytest.mark.parametrize("name", WIRE_ATTACKS)
def test_every_wire_attack_forges_a_reply(name):
    forgery = made(name).forge(HONEST, earlier=None, rng=np.random.default_rng(0))
    changed = forgery.reply is not HONEST
    assert changed or forgery.copies > 1 or forgery.delay_s > 0 or forgery.joins > 0


def test_what_follows_from_n_and_f_is_filled_in_unless_given():
    assert made("alie") == ALIE(alie_z(20, 4))
    assert made("alie", z=1.5) == ALIE(1.5)
    assert made("model_replacement").boost == 5.0
    assert made("model_replacement", factor=3.0).boost == 3.0
    assert isinstance(made("mimic"), Mimic)
    assert made("mimic", victim=2.0) == FixedMimic(2)


def test_alies_z_can_be_given_where_the_formula_has_none():
    assert build("alie", {"z": 1.0}, n=10, f=6) == ALIE(1.0)
    with pytest.raises(AttackError, match="give z"):
        build("alie", {}, n=10, f=6)


def test_numbers_from_text_become_whole_where_they_have_to():
    assert made("backdoor_patch", size=4.0).size == 4
    with pytest.raises(AttackError, match=r"size=4\.5"):
        made("backdoor_patch", size=4.5)
    with pytest.raises(AttackError, match="spare=nan"):
        made("label_flip_all_to_one", spare=np.nan)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(AttackError, match=r"no such attack.*sign_flip"):
        made("sign_flop")


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_parameter_is_refused_with_those_that_exist(name):
    with pytest.raises(AttackError, match="no such parameter") as refused:
        made(name, strength=1.0)
    assert all(each in refused.value.fix for each in parameters(name))


@pytest.mark.parametrize(("n", "f"), [(10, 0), (10, 10), (10, -1), (0, 0)])
@pytest.mark.parametrize("name", ALL)
def test_f_outside_of_one_to_n_minus_one_is_refused(name, n, f):
    with pytest.raises(AttackError, match="1 <= f < n"):
        build(name, {}, n=n, f=f)


@pytest.mark.parametrize("name", ALL)
def test_the_reference_lists_every_attack_with_its_parameters_and_paper(name):
    (row,) = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    last = row.rstrip(" |").rpartition("|")[2]
    assert set(re.findall(r"`(\w+)", last)) == set(parameters(name))
    for parameter, default in parameters(name).items():
        if default is not None:
            assert f"`{parameter}={default:g}`" in last
    if name in UPDATE_ATTACKS:
        assert f"| {UPDATE_ATTACKS[name].knowledge} |" in row


def test_an_attack_on_a_rule_that_is_not_defined_is_refused_before_anybody_trains():
    with pytest.raises(AttackError) as refused:
        build("fang_krum", {}, n=6, f=2)
    assert refused.value.why == "Krum needs n > 2f + 2"
    assert build("fang_krum", {}, n=7, f=2).name == "fang_krum"
