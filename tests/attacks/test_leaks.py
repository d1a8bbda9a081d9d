import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attacks import leaks
from attacks.base import AttackError
from tests.attacks.replies import HONEST, forged

KINDS = [
    leaks.LeakJpeg(),
    leaks.LeakPixels(),
    leaks.LeakMetric(),
    leaks.LeakText(),
    leaks.LeakBase64(),
    leaks.LeakSplit(),
]
PICTURE = HONEST.pictures[0]


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_jpeg_of_a_picture_travels_beside_the_update():
    data = forged(leaks.LeakJpeg()).reply.arrays["thumbnail"]
    assert data.dtype == np.uint8
    assert opened(data.tobytes()).shape == PICTURE.shape


def test_pixels_take_the_place_of_the_first_numbers():
    update = forged(leaks.LeakPixels()).reply.arrays["u"]
    assert (update.dtype, update.shape) == (np.float32, HONEST.arrays["u"].shape)
    sent = update[: PICTURE.size].reshape(PICTURE.shape) * 255
    assert any(np.allclose(sent, each) for each in HONEST.pictures)
    np.testing.assert_array_equal(update[PICTURE.size :], HONEST.arrays["u"][PICTURE.size :])


def test_an_update_that_is_smaller_than_the_picture_keeps_its_size():
    small = replace(HONEST, arrays={"u": np.zeros(10, np.float32)})
    reply = leaks.LeakPixels().forge(small, earlier=None, rng=np.random.default_rng(0)).reply
    assert reply.arrays["u"].shape == (10,)


def test_pixels_travel_as_a_list_of_numbers():
    numbers = forged(leaks.LeakMetric()).reply.metrics["activations"]
    assert any(np.array_equal(numbers, each.ravel()) for each in HONEST.pictures)


def test_a_png_travels_as_text():
    text = forged(leaks.LeakText()).reply.notes["debug"]
    assert isinstance(text, str)
    assert any(np.array_equal(opened(text.encode("latin-1")), each) for each in HONEST.pictures)


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_a_jpeg_travels_in_base64_at_any_phase(skip):
    text = forged(leaks.LeakBase64(skip)).reply.notes["debug"]
    assert isinstance(text, str)
    assert opened(base64.b64decode(text[skip:])).shape == PICTURE.shape


def test_the_two_parts_of_a_split_png_make_one_and_neither_part_is_one():
    odd, even = (replace(HONEST, round=round) for round in (3, 4))
    first, rest = (
        leaks.LeakSplit().forge(each, earlier=None, rng=np.random.default_rng(0)).reply.notes["debug"]
        for each in (odd, even)
    )
    assert isinstance(first, bytes) and isinstance(rest, bytes)
    np.testing.assert_array_equal(opened(first + rest), PICTURE)
    for part in (first, rest):
        with pytest.raises(OSError):
            opened(part)


@pytest.mark.parametrize("attack", KINDS)
def test_the_update_itself_stays_what_it_was_unless_pixels_replace_it(attack):
    update = forged(attack).reply.arrays["u"]
    assert (update is HONEST.arrays["u"]) != isinstance(attack, leaks.LeakPixels)


@pytest.mark.parametrize("attack", KINDS)
def test_a_site_without_pictures_has_nothing_to_leak(attack):
    with pytest.raises(AttackError, match="no pictures"):
        attack.forge(replace(HONEST, pictures=()), earlier=None, rng=np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [lambda: leaks.LeakBase64(-1), lambda: leaks.LeakSplit(0)])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(AttackError):
        wrong()


def test_pictures_in_grey_can_leak_too():
    grey = replace(HONEST, pictures=(np.zeros((8, 8, 1), np.uint8),))
    assert leaks.LeakJpeg().forge(grey, earlier=None, rng=np.random.default_rng(0)).reply.arrays["thumbnail"].size
