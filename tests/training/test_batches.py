"""Order, random changes and normalisation of images, against naive references."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secure_fl.errors import ConfigError
from secure_fl.training.batches import augmented, normalised, shuffled_batches

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


@given(samples=st.integers(1, 200), batch_size=st.integers(1, 40))
def test_each_image_comes_once_and_never_alone_beside_others(samples: int, batch_size: int) -> None:
    batches = shuffled_batches(samples, batch_size, generator())
    assert sorted(np.concatenate(batches)) == list(range(samples))
    sizes = [len(each) for each in batches]
    assert all(size == batch_size for size in sizes[:-1])
    if batch_size > 1 and samples > 1:
        assert 2 <= sizes[-1] <= batch_size + 1


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"),
    [(64, 32, [32, 32]), (65, 32, [32, 33]), (66, 32, [32, 32, 2]), (33, 32, [33]), (1, 32, [1]), (3, 1, [1, 1, 1])],
)
def test_a_lone_last_image_joins_the_batch_before(samples: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(each) for each in shuffled_batches(samples, batch_size, generator())] == sizes


def test_the_order_is_the_generators_and_changes_from_pass_to_pass() -> None:
    source = generator(1)
    first, second = (np.concatenate(shuffled_batches(50, 8, source)) for _ in range(2))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, np.concatenate(shuffled_batches(50, 8, generator(1))))


def test_none_changes_nothing_and_draws_nothing() -> None:
    source = generator()
    before = source.get_state()
    images = pictures(4, 8)
    assert augmented(images, "none", source) is images
    assert torch.equal(source.get_state(), before)


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = pictures(400, 4)
    changed = augmented(images, "flip", generator())
    mirrored = np.array([np.array_equal(c, i[:, ::-1]) for c, i in zip(changed, images, strict=True)])
    kept = np.array([np.array_equal(c, i) for c, i in zip(changed, images, strict=True)])
    assert np.all(mirrored ^ kept)
    assert 150 < mirrored.sum() < 250  # five standard deviations around 200


@pytest.mark.parametrize("side", [8, 16, 32, 33])
def test_flip_crop_is_a_shift_of_the_reflected_image_perhaps_mirrored(side: int) -> None:
    images, reach = pictures(60, side), side // 8
    changed = augmented(images, "flip-crop", generator())
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    seen = set()
    for image, result in zip(images, changed, strict=True):
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        windows = {
            (y, x, flip): padded[y : y + side, x : x + side][:, :: -1 if flip else 1]
            for y in range(2 * reach + 1)
            for x in range(2 * reach + 1)
            for flip in (False, True)
        }
        matches = [key for key, window in windows.items() if np.array_equal(window, result)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(2 * reach + 1))


@pytest.mark.parametrize("kind", ["flip", "flip-crop"])
def test_equal_generators_change_images_equally_and_the_source_stays(kind: str) -> None:
    images = pictures(20, 8)
    kept = images.copy()
    first, second = augmented(images, kind, generator(3)), augmented(images, kind, generator(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, augmented(images, kind, generator(4)))
    assert np.array_equal(images, kept)


def test_an_unknown_change_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixup"):
        augmented(pictures(1, 8), "mixup", generator())


def test_normalisation_is_by_channel_and_in_float32() -> None:
    images, mean, std = pictures(5, 6), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = normalised(images, mean, std, CPU)
    naive = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(result.numpy(), naive, rtol=1e-5, atol=1e-6)


def test_images_may_be_read_only_or_strided(recwarn: pytest.WarningsRecorder) -> None:
    images = pictures(6, 4)
    images.flags.writeable = False
    half = normalised(images[::2], (0, 0, 0), (1, 1, 1), CPU)
    assert torch.equal(half, normalised(images, (0, 0, 0), (1, 1, 1), CPU)[::2])
    assert not recwarn.list
