"""benchmarks/scan_false_positives.py and pixel_calibration.py: small real runs; the bars are for the benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from audit.detect.pixels import picture_windows
from audit.detect.prefilter import PortablePrefilter
from audit.detect.scan import PATTERNS
from benchmarks.pixel_calibration import picture_kinds, trained_vectors
from benchmarks.scan_false_positives import prefilter_rate, scan_nothing
from tests.audit.detect.samples import picture


def test_a_little_of_nothing_has_no_finding() -> None:
    findings, blind_spots, rate = scan_nothing(8 << 20)
    assert (findings, blind_spots) == (0, 0)
    assert rate > 0


def test_a_prefilter_has_a_rate() -> None:
    assert prefilter_rate(PortablePrefilter(PATTERNS[:2]), 1 << 20) > 0


@pytest.mark.parametrize("name", picture_kinds())
def test_kinds_with_a_bar_are_those_that_the_rule_finds(name: str) -> None:
    make, barred = picture_kinds()[name]
    pixels = np.ascontiguousarray(make(np.asarray(picture(32, 3)), np.random.default_rng(0)), np.float32)
    assert bool(len(picture_windows(pixels))) == barred


def test_a_step_of_training_has_no_flag() -> None:
    images = np.stack([np.asarray(picture(32, seed)) for seed in range(16)])
    vectors = dict(trained_vectors(images, np.arange(16) % 10, 1, None))
    assert len(vectors) == 6
    assert all(len(picture_windows(vector)) == 0 for vector in vectors.values())
