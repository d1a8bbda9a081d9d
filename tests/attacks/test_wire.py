import numpy as np
import pytest

from attacks.base import AttackError
from attacks.wire import Forgery, Persona
from tests.attacks.replies import HONEST, verdict


def test_the_honest_reply_passes_the_guard():
    assert verdict(HONEST) is None


def test_a_plain_forgery_is_sent_once_at_once_and_signed_by_its_sender():
    plain = Forgery(HONEST)
    assert (plain.sign, plain.copies, plain.delay_s, plain.persona, plain.joins) == (True, 1, 0.0, Persona.ITSELF, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"copies": 0},
        {"copies": 1.5},
        {"joins": -1},
        {"delay_s": -1.0},
        {"delay_s": np.inf},
        {"delay_s": np.nan},
        {"persona": Persona.TWIN},
        {"joins": 1},
    ],
)
def test_a_forgery_that_cannot_be_carried_out_cannot_be_built(wrong):
    with pytest.raises(AttackError):
        Forgery(HONEST, **wrong)
