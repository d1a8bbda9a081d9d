"""Wire attacks on privacy: a site that sends one of its training pictures along, in a different disguise each.

Nothing here harms the model, so no aggregation rule can notice: they are what an audit of the wire must find. The
disguises are those that programs produce by accident (a debugging thumbnail, a picture in a log line, a cache of raw
pixels) and those that a naive scan misses: no file header at all, base64, and a file cut in two so that neither part
is one. A site that hides pictures in the low bits of its update, or encrypts them, is not among them: no scan of the
content can find that, and an audit has to say so.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks._validate import whole
from attacks.base import AttackError
from attacks.wire import Forgery, Reply

__all__ = ["LeakBase64", "LeakJpeg", "LeakMetric", "LeakPixels", "LeakSplit", "LeakText"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class LeakJpeg:
    """A training picture as a JPEG file, in an array of bytes beside the update."""

    name: ClassVar[str] = "leak_jpeg"
    teaches: ClassVar[str] = "search for picture files in what was sent, decrypted and put together again"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with an array `thumbnail`."""
        data = np.frombuffer(_file(_picture(self.name, reply, rng), "JPEG"), np.uint8)
        return Forgery(replace(reply, arrays={**reply.arrays, "thumbnail": data}))


@dataclass(frozen=True)
class LeakPixels:
    """A training picture's pixels, scaled to 0 … 1, in place of the first numbers of the update."""

    name: ClassVar[str] = "leak_pixels"
    teaches: ClassVar[str] = "raw pixels have no header: look for the pictures themselves"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The update with as many of its first numbers replaced as the picture has values."""
        ((key, update),) = reply.arrays.items()
        pixels = (_picture(self.name, reply, rng).astype(np.float32) / np.float32(255)).ravel()
        return Forgery(replace(reply, arrays={key: np.concatenate([pixels, update[pixels.size :]])[: update.size]}))


@dataclass(frozen=True)
class LeakMetric:
    """A training picture's pixels as a list of numbers among the metrics."""

    name: ClassVar[str] = "leak_metric"
    teaches: ClassVar[str] = "a metric is a number by a name that was agreed; lists need a length that was agreed"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with a metric `activations`."""
        pixels = _picture(self.name, reply, rng).ravel().astype(float).tolist()
        return Forgery(replace(reply, metrics={**reply.metrics, "activations": pixels}))


@dataclass(frozen=True)
class LeakText:
    """A training picture as a PNG file, written into a text as a careless program writes bytes (Latin-1)."""

    name: ClassVar[str] = "leak_text"
    teaches: ClassVar[str] = "texts can hold files: read them as bytes too"

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with a note `debug`."""
        text = _file(_picture(self.name, reply, rng), "PNG").decode("latin-1")
        return Forgery(replace(reply, notes={**reply.notes, "debug": text}))


@dataclass(frozen=True)
class LeakBase64:
    """A training picture as a JPEG file in base64, as web pages carry pictures, after `skip` other letters."""

    skip: int = 1

    name: ClassVar[str] = "leak_base64"
    teaches: ClassVar[str] = "undo encodings before searching, at every phase"

    def __post_init__(self) -> None:
        whole(self.name, 0, skip=self.skip)

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with a note `debug`."""
        text = base64.b64encode(_file(_picture(self.name, reply, rng), "JPEG")).decode()
        return Forgery(replace(reply, notes={**reply.notes, "debug": "x" * self.skip + text}))


@dataclass(frozen=True)
class LeakSplit:
    """A PNG file in two parts, by default cut within its first eight bytes, by which alone a file is known: odd rounds
    send the first `cut` bytes, even rounds the rest."""

    cut: int = 4

    name: ClassVar[str] = "leak_split"
    teaches: ClassVar[str] = "search what a site says over time, not each message by itself"

    def __post_init__(self) -> None:
        whole(self.name, 1, cut=self.cut)

    def forge(self, reply: Reply, *, earlier: Reply | None, rng: np.random.Generator) -> Forgery:
        """The reply with its round's part as a note `debug`; always of the site's first picture."""
        data = _file(_pictures(self.name, reply)[0], "PNG")
        part = data[: self.cut] if reply.round % 2 else data[self.cut :]
        return Forgery(replace(reply, notes={**reply.notes, "debug": part}))


def _pictures(attack: str, reply: Reply) -> tuple[Picture, ...]:
    if not reply.pictures:
        raise AttackError(f"{attack} cannot be carried out", why="the site has no pictures", fix="give it some")
    return reply.pictures


def _picture(attack: str, reply: Reply, rng: np.random.Generator) -> Picture:
    pictures = _pictures(attack, reply)
    return pictures[int(rng.integers(len(pictures)))]


def _file(picture: Picture, format: str) -> bytes:
    """The picture, uint8 (s, s, c) with c = 1 or 3, as a file."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = picture[..., 0] if picture.shape[-1] == 1 else picture
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format)
    return buffer.getvalue()
