"""The known leaks of an audit, and the one reply that must pass in silence: its positive and negative controls.

A search that finds nothing proves nothing until it has found something. So each audit sends, through the same port and
into the same capture as the sites, one of each thing that it claims to find, as a session that is marked by a
certificate of its own. If one of them stays unseen, the audit cannot tell absence from blindness and its verdict is
INCOMPLETE; if the clean reply is complained of, every other complaint is in doubt and it is INCOMPLETE too.

The pictures are drawn here from a seed, so that nobody's data is sent, and whoever checks the audit draws the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from audit.findings import Finding

__all__ = ["CONTROL_SITE", "Control", "Saying", "control_pictures", "control_plan", "masking_controls"]

CONTROL_SITE = "audit-control"
"""The name of the session's certificate: what it says is never counted against a site."""

_SIDE = 32
_SEED = 20260
_PREFIX = "control-"
_SHORT = 4_096  # words
_CUT = 4  # of the eight bytes that every PNG begins with: with more, the first part alone would be found


@dataclass(frozen=True)
class Saying:
    """What one message carries, in the words of a site's reply to a train message.

    kind: Flower's message type. record: the name of the record in which the arrays lie.
    """

    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    notes: Mapping[str, str | int | bytes] = field(default_factory=dict)
    metrics: Mapping[str, float | list[float]] = field(default_factory=dict)
    kind: str = "train"
    record: str = "update"


@dataclass(frozen=True)
class Control:
    """One control. `rules`: any finding whose rule begins with one of them shows that it was seen; none: silence."""

    name: str
    sends: str  # a sentence for the report
    rules: tuple[str, ...]
    sayings: tuple[Saying, ...]

    @property
    def group(self) -> str:
        """Flower's group of its messages: how its findings are told from those of the other controls."""
        return f"{_PREFIX}{self.name}"

    @property
    def positive(self) -> bool:
        """It must be found."""
        return bool(self.rules)

    def shown_by(self, finding: Finding) -> bool:
        """Whether the finding is of this control and of a kind that it is there to provoke (any, for the clean one)."""
        ours = finding.place.site == CONTROL_SITE and finding.place.round == self.group
        return ours and (not self.rules or finding.rule.startswith(self.rules))


def control_pictures() -> NDArray[np.uint8]:
    """The audit's own pictures, uint8 (2, 32, 32, 3): smooth shapes with a little texture, unlike each other."""
    rng = np.random.default_rng(_SEED)
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float64)
    pictures = []
    for _ in range(2):
        channels = []
        for _ in range(3):
            row, column, size = rng.uniform(8, 24), rng.uniform(8, 24), rng.uniform(5, 11)
            disc = 1 / (1 + np.exp(np.hypot(rows - row, columns - column) - size))
            slope = (rows * rng.uniform(-1, 1) + columns * rng.uniform(-1, 1)) / _SIDE
            channels.append(disc * 140 + slope * 50 + 70 + rng.normal(0, 4, rows.shape))
        pictures.append(np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8))
    return np.stack(pictures)


def control_plan(clean: Saying) -> tuple[Control, ...]:
    """The controls of an audit. `clean`: what an honest site of this federation says after a round."""
    first, second = control_pictures()
    jpeg, png = _file(first, "JPEG"), _file(second, "PNG")
    scaled = first.astype(np.float32).ravel() / np.float32(255)
    noisy = np.random.default_rng(_SEED + 1).normal(0, 0.01, 1 << 14).astype(np.float32)
    hidden = np.concatenate([noisy[: scaled.size], scaled, noisy])
    bytes_of_jpeg = np.frombuffer(jpeg, np.uint8)
    text = base64.b64encode(jpeg).decode()
    plan = (
        Control("clean", "a reply like those of the sites, and nothing else", (), (clean,)),
        Control("jpeg", "a picture as a JPEG file", ("image/jpeg",), (Saying({"u": bytes_of_jpeg}),)),
        Control("png", "a picture as a PNG file", ("image/png",), (Saying(notes={"debug": png}),)),
        Control("pixels", "a picture's pixels, as bytes", ("image/known",), (Saying({"u": first}),)),
        Control("floats", "the same, scaled, within an update", ("pixels/",), (Saying({"u": hidden}),)),
        Control("base64", "a JPEG file in base64", ("image/jpeg",), (Saying(notes={"debug": "x" + text}),)),
        Control(
            "split",
            "a PNG file in two messages, cut within its first eight bytes",
            ("image/png",),
            (Saying(notes={"debug": png[:_CUT]}), Saying(notes={"debug": png[_CUT:]})),
        ),
        Control("long-text", "a text of 4,000 letters", ("schema/",), (Saying(notes={"debug": "lorem ipsum " * 334}),)),
    )
    # In messages of the kind that this run's sites send: of another kind, all would be found for that alone.
    return tuple(
        replace(each, sayings=tuple(replace(saying, kind=clean.kind) for saying in each.sayings)) for each in plan
    )


def masking_controls(clean: Saying) -> tuple[Control, ...]:
    """What a run whose sites mask their arrays must be able to see as well. `clean`: as an honest site says it, masked.

    The vectors are short: they are found by their words, whatever their length.
    """
    rng = np.random.default_rng(_SEED + 2)
    bare, first, second = (_levels(rng, clean) for _ in range(3))
    masks = {name: rng.integers(0, 1 << 8 * each.dtype.itemsize, each.shape, each.dtype) for name, each in bare.items()}
    once, again = ({name: each + masks[name] for name, each in vector.items()} for vector in (first, second))
    return (
        Control("unmasked", "a vector without its mask", ("masking/unmasked",), (replace(clean, arrays=bare),)),
        Control(
            "reused-mask",
            "two vectors under one mask",
            ("masking/reused",),
            (replace(clean, arrays=once), replace(clean, arrays=again)),
        ),
    )


def _levels(rng: np.random.Generator, like: Saying) -> dict[str, NDArray[np.generic]]:
    """Updates as a site encodes them: small whole numbers, negative ones wrapped around."""
    return {
        name: np.rint(rng.normal(0, 500, _SHORT)).astype(np.int64).astype(array.dtype)
        for name, array in like.arrays.items()
    }


def _file(picture: NDArray[np.uint8], format: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format)
    return buffer.getvalue()
