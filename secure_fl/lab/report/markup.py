"""HTML and SVG in which nothing that came from outside can become markup: text is escaped unless it was built here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

__all__ = ["Markup", "breakable", "element", "joined"]

_VOID = frozenset({"meta", "path", "circle"})
_JOINT = re.compile(r"(?<=[_+,=])(?=\w)|(?<=\w\()")


class Markup(str):
    """Text that is markup already. Only `element`, `joined` and constants of this package make it."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, object] | None = None, *children: str) -> Markup:
    """`<name attribute="…">children</name>`; children are escaped unless they are markup, attributes always."""
    pairs = "".join(f' {key}="{escape(str(value))}"' for key, value in (attributes or {}).items())
    if name in _VOID and not children:
        return Markup(f"<{name}{pairs}/>")
    return Markup(f"<{name}{pairs}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """The children one after the other, escaped unless they are markup."""
    return Markup("".join(each if isinstance(each, Markup) else escape(each) for each in children))


def breakable(name: str) -> Markup:
    """A name such as `nnm+trimmed_mean` that may be broken over lines at its joints, and nowhere else."""
    return Markup("<wbr/>".join(escape(part) for part in _JOINT.split(name)))
