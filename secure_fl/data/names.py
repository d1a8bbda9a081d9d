"""File names from archives and uploads are other people's text: shown, they must not steer a terminal.

A name may hold escape sequences, line breaks, right-to-left overrides or bytes that are not UTF-8.
`printable` writes such characters as escapes and leaves every other one, in any script, as it is.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """`text` with every character that does not print (control, format, surrogate) as a \\x or \\u escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
