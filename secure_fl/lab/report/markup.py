"""HTML and SVG in which nothing that came from outside can become markup: text is escaped unless it was built here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

__all__ = ["Markup", "element", "joined"]

_VOID = frozenset({"meta", "br", "path", "line", "circle", "rect"})


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
