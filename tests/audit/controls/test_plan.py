"""The audit's controls: known leaks that decode to what they claim, and a clean one that is clean."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from audit.controls.plan import CONTROL_SITE, Control, Saying, control_pictures, control_plan
from audit.findings import Finding, Place

CLEAN = Saying({"u": np.zeros(10, np.float32)})
PLAN = {each.name: each for each in control_plan(CLEAN)}


def seen(rule: str, group: str, site: str = CONTROL_SITE) -> Finding:
    return Finding(rule, "", Place(site=site, round=group))


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_there_is_one_clean_control_and_it_says_what_it_was_given() -> None:
    (clean,) = [each for each in PLAN.values() if not each.positive]
    assert clean.sayings == (CLEAN,)


def test_groups_tell_controls_apart() -> None:
    assert len({each.group for each in PLAN.values()}) == len(PLAN) == 8


def test_pictures_are_the_same_for_everybody_and_differ_from_each_other() -> None:
    first, again = control_pictures(), control_pictures()
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8 and first.shape == (2, 32, 32, 3)
    assert np.abs(first[0].astype(int) - first[1]).mean() > 10


def test_files_decode_to_the_pictures() -> None:
    jpeg = np.asarray(PLAN["jpeg"].sayings[0].arrays["u"]).tobytes()
    text = str(PLAN["base64"].sayings[0].notes["debug"])
    for data in (jpeg, base64.b64decode(text[1:])):
        assert np.abs(opened(data).astype(int) - control_pictures()[0]).mean() < 10
    png = PLAN["png"].sayings[0].notes["debug"]
    assert isinstance(png, bytes)
    np.testing.assert_array_equal(opened(png), control_pictures()[1])


def test_no_part_of_the_split_file_is_a_file() -> None:
    parts = [each.notes["debug"] for each in PLAN["split"].sayings]
    assert all(isinstance(part, bytes) for part in parts)
    np.testing.assert_array_equal(opened(b"".join(parts)), control_pictures()[1])  # type: ignore[arg-type]
    for part in parts:
        with pytest.raises(OSError):
            opened(part)  # type: ignore[arg-type]


def test_the_floats_hold_the_picture_within_an_update() -> None:
    values = np.asarray(PLAN["floats"].sayings[0].arrays["u"])
    size = control_pictures()[0].size
    sent = np.rint(values[size : 2 * size] * 255).astype(np.uint8).reshape(32, 32, 3)
    np.testing.assert_array_equal(sent, control_pictures()[0])


@pytest.mark.parametrize("control", [each for each in PLAN.values() if each.positive], ids=lambda each: each.name)
def test_a_control_is_shown_by_a_finding_of_its_kind_in_its_own_message_only(control: Control) -> None:
    rule = control.rules[0] + ("x" if control.rules[0].endswith("/") else "")
    assert control.shown_by(seen(rule, control.group))
    assert not control.shown_by(seen("tcp/odd", control.group))
    assert not control.shown_by(seen(rule, "control-other"))
    assert not control.shown_by(seen(rule, control.group, site="site-0"))


def test_any_complaint_about_the_clean_control_counts() -> None:
    assert PLAN["clean"].shown_by(seen("schema/header", "control-clean"))
    assert not PLAN["clean"].shown_by(seen("schema/header", "control-jpeg"))
