"""The little language in which attacks and defenses are written: `clipping(c=2)+nnm+krum`.

    composition = step { "+" step }        applied from left to right; the last one decides
    step        = name [ "(" [ name "=" number { "," name "=" number } ] ")" ]

Only the form is judged here. Which names and parameters exist is known by the registries in `defenses` and
`attacks` alone, so that there is one place where a rule is chosen by its name. Every refusal names the column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from secure_fl.errors import ConfigError

__all__ = ["FEDAVG", "Step", "parse", "spell"]

# The word for no defense: the mean, weighted by sample counts. No registry knows it.
FEDAVG = "fedavg"

Step = tuple[str, dict[str, float]]

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a composition, in order; each a name and its parameters.

    Raises:
        ConfigError: `text` is not a composition; says what was expected at which column (from 1).
    """
    reader = _Reader(text)
    steps = [_step(reader)]
    while reader.takes("+"):
        steps.append(_step(reader))
    if not reader.ended:
        raise reader.error("`+` or the end")
    return tuple(steps)


def spell(steps: Sequence[Step]) -> str:
    """The canonical text of some steps: no spaces, parameters by name, the shortest form of each number."""
    return "+".join(name + _spelled(parameters) for name, parameters in steps)


def _spelled(parameters: dict[str, float]) -> str:
    pairs = [f"{name}={_shortest(value)}" for name, value in sorted(parameters.items())]
    return f"({','.join(pairs)})" if pairs else ""


def _shortest(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _step(reader: _Reader) -> Step:
    name = reader.match(_NAME, "a name (small letters, digits, `_`)")
    parameters: dict[str, float] = {}
    if not reader.takes("(") or reader.takes(")"):
        return name, parameters
    while True:
        key = reader.match(_NAME, "the name of a parameter")
        if key in parameters:
            raise ConfigError(f"`{reader.text}` gives `{key}` twice to {name}", fix="give each parameter once")
        reader.expect("=")
        parameters[key] = float(reader.match(_NUMBER, "a number"))
        if not math.isfinite(parameters[key]):
            raise ConfigError(f"`{reader.text}`: {key} is too large to be a number")
        if reader.takes(")"):
            return name, parameters
        reader.expect(",")


class _Reader:
    """A text and the place up to which it is read; spaces between tokens are passed over."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    @property
    def ended(self) -> bool:
        return self.at == len(self.text)

    def match(self, pattern: re.Pattern[str], wanted: str) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.error(wanted)
        self.at = found.end()
        self._skip()
        return found[0]

    def takes(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self._skip()
        return True

    def expect(self, sign: str) -> None:
        if not self.takes(sign):
            raise self.error(f"`{sign}`")

    def error(self, wanted: str) -> ConfigError:
        found = "the text ends" if self.ended else f"there is `{self.text[self.at : self.at + 12]}`"
        return ConfigError(
            f"`{self.text}` is no composition of rules",
            why=f"at column {self.at + 1} {found}, where {wanted} belongs",
            fix="write for example: clipping(c=2)+nnm+trimmed_mean",
        )

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
