from dataclasses import replace

import numpy as np
import pytest

from attacks import claims
from attacks.base import AttackError
from attacks.wire import Persona
from tests.attacks.replies import HONEST, forged, verdict

ALL = [claims.SampleLie(), claims.Late(), claims.Duplicate(), claims.Stale(), claims.Sybil()]


@pytest.mark.parametrize("attack", ALL)
def test_the_update_itself_is_beyond_reproach(attack):
    reply = forged(attack).reply
    assert verdict(reply) is None
    np.testing.assert_array_equal(reply.arrays["u"], HONEST.arrays["u"])


@pytest.mark.parametrize("claim", [0.0, -1.0, 1e12])
def test_any_number_of_images_can_be_claimed(claim):
    assert forged(claims.SampleLie(claim)).reply == replace(HONEST, samples=claim)


def test_even_no_number_at_all():
    assert np.isnan(forged(claims.SampleLie(np.nan)).reply.samples)


def test_late_waits_and_duplicate_repeats():
    assert forged(claims.Late(12.5)).delay_s == 12.5
    assert forged(claims.Duplicate(5)).copies == 5


def test_stale_replays_what_it_sent_before():
    earlier = replace(HONEST, round=2, arrays={"u": np.zeros(1000, np.float32)})
    assert forged(claims.Stale(), earlier=earlier).reply is earlier


def test_stale_dates_its_first_reply_back():
    assert forged(claims.Stale()).reply == replace(HONEST, round=2)


@pytest.mark.parametrize(("twins", "persona"), [(0, Persona.STRANGER), (1, Persona.TWIN)])
def test_a_sybil_joins_as_strangers_or_as_its_own_twins(twins, persona):
    forgery = forged(claims.Sybil(joins=3, twins=twins))
    assert (forgery.persona, forgery.joins) == (persona, 3)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (claims.Late, {"delay_s": 0.0}),
        (claims.Late, {"delay_s": np.inf}),
        (claims.Duplicate, {"copies": 1}),
        (claims.Sybil, {"joins": 0}),
        (claims.Sybil, {"twins": 2}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(kind, wrong):
    with pytest.raises(AttackError, match=next(iter(wrong))):
        kind(**wrong)
