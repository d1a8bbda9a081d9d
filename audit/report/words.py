"""Numbers, digests and hostile names as the reports write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from audit.findings import Place

__all__ = [
    "clock",
    "count",
    "duration",
    "epsilon",
    "number",
    "percent",
    "place",
    "probability",
    "short",
    "size",
    "visible",
]

# Controls, invisible characters and those that turn the direction of text: a name must not be able to paint over a
# terminal or to read backwards. Listed and not asked of `unicodedata`, so that every Python draws the same page.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""The text with each character that cannot be seen, or that acts, spelled out: `\u202e`."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def size(count_bytes: int) -> str:
    """`495.0 MB`, in powers of 1,000; exact below 10 kB."""
    if count_bytes < 10_000:
        return f"{count_bytes:,} B"
    value = float(count_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:,.1f} TB"


def duration(seconds: float) -> str:
    """`1 min 56 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def clock(unix_s: float) -> str:
    """`18:43:13.10` UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S.%f")[:-4]


def count(many: int, thing: str) -> str:
    """`1 session`, `6 sessions`."""
    return f"{many:,} {thing}" if many == 1 else f"{many:,} {thing}s"


def percent(share: float, digits: int = 1) -> str:
    """0.9412 as `94.1 %`."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Four digits at most: `0.82`, `1e−5`."""
    return f"{value:.4g}".replace("e-0", "e-").replace("-", "−")


def epsilon(value: float | None) -> str:
    """`7.99`, or `∞` where there is no bound."""
    return "∞" if value is None else f"{value:.2f}"


def probability(p: float) -> str:
    """`0.41`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3g}"


def short(digest: str) -> str:
    """The first 12 letters of a digest; enough to compare by eye, the rest is in `document.json`."""
    return digest[:12]


def place(where: Place) -> str:
    """`clinic-north → coordinator, round 3, update/u, byte 4,113 of the array`."""
    arrow = {"to-coordinator": " → coordinator", "to-site": " ← coordinator"}.get(where.direction, "")
    parts = [f"{where.site or 'unknown peer'}{arrow}"]
    parts += [f"round {where.round}" if where.round.isdigit() else where.round] if where.round else []
    parts += [where.path] if where.path else []
    parts += [f"byte {where.offset:,} of the {where.unit}"] if where.unit else []
    return ", ".join(parts)
