"""Pictures to test with: made here, small, each one different, and real files in every format that we read."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Files = dict[str, bytes]


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    """A colour image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def class_tree(classes: tuple[str, ...] = ("cat", "dog"), *, images: int = 6, top: str = "", seed: int = 0) -> Files:
    """`images` PNG files in each class folder, by name."""
    return {
        f"{top}{name}/{number:02}.png": encoded(noise(seed + 1000 * position + number))
        for position, name in enumerate(classes)
        for number in range(images)
    }


def split_tree(images: int = 6, tests: int = 3) -> Files:
    """train/ and test/, each with a cat/ and a dog/."""
    return class_tree(images=images, top="train/") | class_tree(images=tests, top="test/", seed=500)


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    """Write files below a new folder and return it."""

    def write(files: Mapping[str, bytes]) -> Path:
        folder = tmp_path / "pictures"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Write files into an archive, whose kind is told by the name."""

    def write(files: Mapping[str, bytes], name: str = "pictures.tar", format: int = tarfile.PAX_FORMAT) -> Path:
        path = tmp_path / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for member, content in files.items():
                    archive.writestr(member, content)
            return path
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w", format=format) as archive:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write
