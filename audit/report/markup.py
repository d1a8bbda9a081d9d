"""HTML and SVG in which nothing that came from outside can become markup: text is escaped unless it was built here.

The comparison report of the lab has its like; it is repeated here because the judge imports nothing of the judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from audit.report.words import visible

__all__ = ["Markup", "element", "hashed", "joined", "table"]

_VOID = frozenset({"br", "meta", "path", "circle", "img", "rect", "line"})


class Markup(str):
    """Text that is markup already. Only `element`, `joined` and constants of this package make it."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, object] | None = None, *children: str) -> Markup:
    """`<name attribute="…">children</name>`; children are escaped unless they are markup, attributes always."""
    pairs = "".join(f' {key}="{_text(str(value))}"' for key, value in (attributes or {}).items())
    if name in _VOID and not children:
        return Markup(f"<{name}{pairs}/>")
    return Markup(f"<{name}{pairs}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """The children one after the other, escaped unless they are markup."""
    return Markup("".join(each if isinstance(each, Markup) else _text(each) for each in children))


def hashed(digest: str) -> Markup:
    """A whole digest, which may be broken over lines; a dash where there is none."""
    return element("code", {"class": "hash"}, digest) if digest else Markup("–")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> Markup:
    """A table with its caption; the first cell of a row is its head. Scrolls inside itself, by keyboard too.

    A heading that starts with `#` is one of numbers, and its column is set to the right.
    """
    right = [name.startswith("#") for name in head]
    heads = (
        element("th", {"scope": "col"} | ({"class": "n"} if number else {}), name.removeprefix("#"))
        for name, number in zip(head, right, strict=True)
    )
    body = (
        element(
            "tr",
            None,
            *(
                element(
                    "td" if at else "th",
                    ({} if at else {"scope": "row"}) | ({"class": "n"} if right[at] else {}),
                    cell,
                )
                for at, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    drawn = element(
        "table",
        {"class": kind} if kind else None,
        element("caption", None, caption),
        element("thead", None, element("tr", None, *heads)),
        element("tbody", None, *body),
    )
    return element("div", {"class": "scroll", "role": "region", "tabindex": 0, "aria-label": caption}, drawn)


def _text(text: str) -> str:
    return escape(visible(text))
