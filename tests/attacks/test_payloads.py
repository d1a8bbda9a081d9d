from dataclasses import replace

import numpy as np
import pytest

from attacks import payloads
from attacks.base import AttackError
from defenses.guard import Reason
from tests.attacks.replies import HONEST, D, forged, verdict

ALL = [
    payloads.NaN(),
    payloads.Inf(),
    payloads.Huge(),
    payloads.WrongShape(),
    payloads.WrongDtype(),
    payloads.WrongSpec(),
    payloads.MissingKey(),
    payloads.ExtraKey(),
    payloads.HugePayload(mib=1),
]


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (payloads.NaN(), Reason.NOT_FINITE),
        (payloads.Inf(), Reason.NOT_FINITE),
        (payloads.Inf(entries=2), Reason.NOT_FINITE),
        (payloads.Huge(), Reason.NORM_CAP),
        (payloads.WrongShape(), Reason.WRONG_SHAPE),
        (payloads.WrongDtype(), Reason.WRONG_DTYPE),
        (payloads.HugePayload(mib=1), Reason.WRONG_SHAPE),
    ],
)
def test_the_guard_turns_each_away_for_the_reason_that_it_was_built_for(attack, reason):
    assert verdict(forged(attack).reply) is reason


@pytest.mark.parametrize("entries", [1, 7, D, 2 * D])
def test_as_many_entries_are_spoilt_as_asked_and_there_are(entries):
    for attack in (payloads.NaN(entries), payloads.Inf(entries)):
        update = forged(attack).reply.arrays["u"]
        assert np.count_nonzero(~np.isfinite(update)) == min(entries, D)


def test_infinities_come_in_both_signs():
    update = forged(payloads.Inf(entries=4)).reply.arrays["u"]
    assert sorted(update[~np.isfinite(update)]) == [-np.inf, -np.inf, np.inf, np.inf]


def test_huge_is_finite_and_its_square_is_not():
    update = forged(payloads.Huge()).reply.arrays["u"]
    assert np.isfinite(update).all()
    with np.errstate(over="ignore"):
        assert np.isinf(update[0] * update[0])


def test_another_architecture_keeps_everything_but_the_digest():
    reply = forged(payloads.WrongSpec()).reply
    assert reply.spec == "0" * 64
    assert replace(reply, spec=HONEST.spec) == HONEST


def test_keys_go_missing_or_come_along():
    assert forged(payloads.MissingKey()).reply.arrays == {}
    assert set(forged(payloads.ExtraKey()).reply.arrays) == {"u", "num_batches_tracked"}


def test_a_huge_payload_is_as_huge_as_asked():
    assert forged(payloads.HugePayload(mib=3)).reply.arrays["u"].nbytes == 3 << 20


@pytest.mark.parametrize("attack", ALL)
def test_the_honest_reply_is_not_changed_in_place_and_the_offender_signs_for_it(attack):
    before = HONEST.arrays["u"].copy()
    forgery = forged(attack)
    np.testing.assert_array_equal(HONEST.arrays["u"], before)
    assert forgery.sign and forgery.copies == 1


@pytest.mark.parametrize("attack", [payloads.NaN(), payloads.Huge(), payloads.HugePayload()])
def test_a_reply_that_was_not_honest_to_begin_with_is_refused(attack):
    with pytest.raises(AttackError, match="one array"):
        attack.forge(replace(HONEST, arrays={}), earlier=None, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (payloads.NaN, {"entries": 0}),
        (payloads.Inf, {"entries": 0.5}),
        (payloads.Huge, {"value": 1e39}),
        (payloads.Huge, {"value": np.nan}),
        (payloads.HugePayload, {"mib": 0}),
        (payloads.HugePayload, {"mib": 1 << 17}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(kind, wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        kind(**wrong)
