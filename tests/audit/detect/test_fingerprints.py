"""Every long enough run of a known picture is found in each encoding, nothing else is, and the root commits to them."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
import torch

from audit.detect.encodings import Encodings
from audit.detect.fingerprints import ImageIndex
from audit.detect.merkle import merkle_root
from audit.findings import Place
from tests.audit.detect.samples import noise, picture

KEY = b"a secret of this site"
IMAGES = np.stack([np.asarray(picture(32, seed)) for seed in range(20)])
NAMES = Encodings().names()


@pytest.fixture(scope="module")
def index() -> ImageIndex:
    return ImageIndex(IMAGES, KEY)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_picture_is_one_finding_at_its_offset(index: ImageIndex, name: str) -> None:
    encoded = Encodings().encode(IMAGES[7], name)
    (finding,) = index.search(noise(1001) + encoded + noise(500, 2), Place(unit="array", offset=50))
    assert finding.rule == "image/known"
    assert finding.message == f"{len(encoded)} bytes of training image 7 as {name}"
    assert (finding.place.offset, finding.length) == (1051, len(encoded))


@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_the_sure_length_is_found_at_any_alignment(index: ImageIndex, name: str) -> None:
    assert index.sure_run == 63
    generator = np.random.default_rng(1)
    for trial in range(60):
        encoded = Encodings().encode(IMAGES[trial % 20], name)
        start = int(generator.integers(0, len(encoded) - 63))
        run = encoded[start : start + 63]
        aligned = run[-start % 32 :][:32]
        if len(set(aligned)) < 8:
            continue  # flat parts of pictures are not indexed
        data = noise(trial + 3) + run + noise(40, trial)
        assert sum(each.length for each in index.search(data)) >= 32


def test_wider_spacing_still_finds_what_it_promises() -> None:
    index = ImageIndex(IMAGES, KEY, spacing=256)
    assert index.sure_run == 287
    encoded = Encodings().encode(IMAGES[3], "f32-standard-chw")
    for start in range(0, 4000, 97):
        assert index.search(noise(start % 50) + encoded[start : start + 287])


def test_weights_random_bytes_and_other_pictures_are_not_found(index: ImageIndex) -> None:
    for data in (noise(1 << 20), np.random.default_rng(2).bytes(1 << 20), bytes(1 << 18)):
        assert index.search(data) == []
    other = np.asarray(picture(32, 99))
    assert all(index.search(Encodings().encode(other, name)) == [] for name in NAMES)


def test_two_pictures_are_two_findings(index: ImageIndex) -> None:
    data = IMAGES[2].tobytes() + noise(100) + IMAGES[4].tobytes()
    found = [(each.place.offset, each.length) for each in index.search(data)]
    assert found == [(0, 3072), (3172, 3072)]


def test_a_hash_that_agrees_by_chance_is_no_finding(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageIndex, "_candidates", lambda *_: [(5, 0), (64, 3)])
    assert index.search(noise(200)) == []


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33])
def test_short_data_is_no_trouble(index: ImageIndex, size: int) -> None:
    assert index.search(noise(size)) == []


def test_data_longer_than_a_piece_is_searched_across_the_seams(index: ImageIndex) -> None:
    at = (128 << 10) - 20
    (finding,) = index.search(noise(at) + IMAGES[0].tobytes()[:100] + noise(300_000, 3))
    assert finding.place.offset == at


def test_an_index_of_no_pictures_finds_nothing() -> None:
    index = ImageIndex(IMAGES[:0], KEY)
    assert (index.count, index.search(noise(100))) == (0, [])


def test_the_affine_encoding_is_what_training_computes() -> None:
    # The arithmetic of secure_fl.training.batches.normalised, in torch.
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    scale = torch.tensor([1 / (255 * each) for each in std])
    offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    ours = Encodings(mean, std).encode(IMAGES[0], "f32-affine-hwc")
    assert torch.from_numpy(IMAGES[0]).to(torch.float32).mul_(scale).add_(offset).numpy().tobytes() == ours


def test_the_root_commits_to_pictures_order_and_key() -> None:
    root = ImageIndex(IMAGES[:3], KEY).merkle_root
    assert ImageIndex(IMAGES[:3], KEY).merkle_root == root
    others = [
        ImageIndex(IMAGES[:2], KEY),
        ImageIndex(IMAGES[[1, 0, 2]], KEY),
        ImageIndex(IMAGES[:3], KEY[:-1] + b"!"),
    ]
    assert len({root, *(each.merkle_root for each in others)}) == 4


def test_the_tree_is_that_of_rfc_6962() -> None:
    def mth(leaves: list[bytes]) -> bytes:
        """The recursive definition of section 2.1."""
        if len(leaves) <= 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest() if leaves else hashlib.sha256().digest()
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + mth(leaves[:split]) + mth(leaves[split:])).digest()

    for count in range(40):
        leaves = [bytes([each]) for each in range(count)]
        assert merkle_root(leaves) == mth(leaves)


@pytest.mark.parametrize(
    ("images", "key", "spacing"),
    [
        (IMAGES.astype(np.float32), KEY, 32),
        (IMAGES[0], KEY, 32),
        (IMAGES[..., :1], KEY, 32),
        (IMAGES, b"short", 32),
        (IMAGES, KEY, 48),
        (IMAGES, KEY, 0),
    ],
)
def test_what_cannot_be_indexed_is_refused(images: npt.NDArray[np.uint8], key: bytes, spacing: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        ImageIndex(images, key, spacing=spacing)


def test_encodings_need_a_deviation_for_each_mean() -> None:
    with pytest.raises(ValueError, match="deviation"):
        Encodings((0.5,), (0.0,))
