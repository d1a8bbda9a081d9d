"""The colours of the heat tables: orange where a defense gave way, blue where it held; two sets, light and dark.

Orange and blue differ for every kind of colour vision (Okabe and Ito 2008), and a sign repeats what they say. Text
on a colour is black or white, whichever reads better; a test holds each pair to the 4.5 : 1 of WCAG 2.1.
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["LEVELS", "contrast", "heat_css", "level", "shades"]

LEVELS = 11
# Blue begins where a defense is said to hold, 0.9, and strong orange where it is said to be broken, 0.5.
_LIGHT = ((0.0, "#c2500d"), (0.4, "#f0a06a"), (0.5, "#fadcc3"), (0.8, "#f7f0ea"), (0.9, "#a5cfee"), (1.0, "#5ea9dc"))
_DARK = ((0.0, "#a8430a"), (0.4, "#7a3a15"), (0.5, "#523524"), (0.8, "#3a3533"), (0.9, "#17517f"), (1.0, "#1463a0"))
_INKS = ("#111418", "#ffffff")


def level(share: float) -> int:
    """The colour for a share of 0 (all lost) to 1 (all kept), rounded down; what lies outside takes the nearest."""
    return int(min(1.0, max(0.0, share)) * (LEVELS - 1) + 1e-9)


def shades(stops: tuple[tuple[float, str], ...]) -> list[tuple[str, str]]:
    """Background and ink of each level."""
    grounds = [_between(stops, at / (LEVELS - 1)) for at in range(LEVELS)]
    return [(ground, max(_INKS, key=lambda ink: contrast(ground, ink))) for ground in grounds]


def heat_css() -> str:
    """Rules for the classes `h0` … `h10`, in both schemes."""
    light, dark = ("".join(_rules(shades(stops))) for stops in (_LIGHT, _DARK))
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"


def contrast(one: str, other: str) -> float:
    """Of two `#rrggbb` colours, from 1 to 21 (WCAG 2.1, 1.4.3)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _rules(pairs: list[tuple[str, str]]) -> list[str]:
    return [f".h{at}{{background:{ground};color:{ink}}}" for at, (ground, ink) in enumerate(pairs)]


def _between(stops: tuple[tuple[float, str], ...], at: float) -> str:
    for (left, start), (right, end) in pairwise(stops):
        if at <= right:
            share = (at - left) / (right - left)
            mixed = (round(a + share * (b - a)) for a, b in zip(_rgb(start), _rgb(end), strict=True))
            return "#" + "".join(f"{each:02x}" for each in mixed)
    return stops[-1][1]


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _luminance(color: str) -> float:
    parts = (each / 255 for each in _rgb(color))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
