from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_fl.data import digits
from secure_fl.data.digits import open_digits
from secure_fl.errors import DataError


def test_they_are_the_digits_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    official, pair = load_digits(), open_digits()
    loaded = [each.load(range(len(each)), 8, skip_bad_images=False) for each in (pair.train, pair.test)]
    ours = {
        (image[..., 0].tobytes(), int(label))
        for part in loaded
        for image, label in zip(part.images, part.labels, strict=True)
    }
    scaled = np.rint(official.images * 255 / 16).astype(np.uint8)
    assert ours == {(image.tobytes(), int(label)) for image, label in zip(scaled, official.target, strict=True)}
    assert sum(len(part) for part in loaded) == 1797


def test_a_fifth_of_each_class_is_for_testing() -> None:
    pair = open_digits()
    assert (len(pair.train), len(pair.test)) == (1438, 359)
    assert set(np.bincount(pair.test.labels).tolist()) <= {34, 35, 36, 37}
    assert not set(pair.train.digests(range(1438))) & set(pair.test.digests(range(359)))


def test_the_constants_normalise_the_training_images() -> None:
    train = open_digits().train
    pixels = train.load(range(len(train)), 16, skip_bad_images=False).images / 255
    assert pixels.mean() == pytest.approx(train.normalisation.mean[0], abs=1e-4)
    assert pixels.std() == pytest.approx(train.normalisation.std[0], abs=1e-4)


def test_every_machine_has_the_same_split() -> None:
    pair = open_digits()
    assert pair.train.fingerprint() == "sha256:300dbe6494108b6ae7bc2ddb152946da966aed203d97e79875326aef71fb3a0f"
    assert pair.test.fingerprint() == "sha256:511e033caca9fc9222dcd7a0ff4863d9ccee156880f137ac8cbd4b2d4c878015"


@pytest.mark.parametrize("name", ["no_such_package_at_all", "json"])
def test_without_the_file_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda _: __import__("importlib.util").util.find_spec(name))
    with pytest.raises(DataError, match="digits data set is missing") as caught:
        open_digits()
    assert caught.value.fix == "install scikit-learn"


def test_scikit_learn_itself_is_not_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from secure_fl.data.digits import open_digits; open_digits(); print('sklearn' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
