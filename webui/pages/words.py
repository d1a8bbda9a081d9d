"""Numbers, times and names as the pages write them: the filters of the templates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from audit.report.words import place, size, visible
from secure_fl.cli.progress_view import duration
from webui.reading.thinning import thinned

__all__ = [
    "Spark",
    "change",
    "clock",
    "day",
    "fields",
    "install",
    "minute",
    "number",
    "percent",
    "setting",
    "span",
    "spark",
]

_NONE = "–"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def install(app: Flask) -> None:
    """Make the filters known to the templates of `app`."""
    app.jinja_env.filters |= {
        "change": change,
        "clock": clock,
        "day": day,
        "minute": minute,
        "number": number,
        "percent": percent,
        "place": place,
        "setting": setting,
        "size": lambda value: _NONE if value is None else size(int(value)),
        "span": span,
        "spark": spark,
        "thinned": thinned,
        "fields": fields,
        "visible": lambda text: visible(str(text)),
        "visible_lines": lambda text: "\n".join(visible(line) for line in str(text).splitlines()),
    }


def percent(share: float | None, digits: int = 1) -> str:
    """0.9412 as `94.1 %`."""
    return _NONE if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, whole numbers whole: `0.380`, `12,400`, `1e−5`."""
    if value is None or not math.isfinite(value):
        return _NONE
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("-", "−")


def span(seconds: float | None) -> str:
    """`4.2 s`, `1 min 44 s`."""
    return _NONE if seconds is None else duration(seconds)


def clock(moment: str | float | None) -> str:
    """`22:44:08`, UTC."""
    return _NONE if not moment else _utc(moment).strftime("%H:%M:%S")


def day(moment: str | float | None) -> str:
    """`24 Nov 2026, 22:44`, UTC."""
    return _NONE if not moment else f"{_utc(moment):%-d %b %Y, %H:%M}"


def minute(moment: str | float | None) -> str:
    """`24 Nov 22:44`, UTC, for tables whose rows name the year already."""
    return _NONE if not moment else f"{_utc(moment):%-d %b %H:%M}"


def setting(value: Any) -> str:
    """A value of a setting as it is typed; what is empty says so."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else "(empty)"


def fields(values: Mapping[str, Any]) -> str:
    """An event's fields in one line, `key=value`; digests are cut, long texts too."""
    return "  ".join(f"{key}={_short(value)}" for key, value in values.items())


def change(value: float | None, unit: str) -> str:
    """A difference with its sign: `+1.2 points`, `−3.4 s`."""
    if value is None:
        return _NONE
    if value == 0:
        return "="
    amount = abs(value)
    words = {
        "share": f"{100 * amount:.1f} points",
        "seconds": duration(amount),
        "bytes": size(int(amount)),
    }.get(unit, number(amount))
    return f"{'+' if value > 0 else '−'}{words}"


def _short(value: Any) -> str:
    value = _rounded(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text[:12]}…" if _DIGEST.fullmatch(text) else text if len(text) <= 200 else f"{text[:200]}…"


def _rounded(value: Any) -> Any:
    """Numbers to six digits, which is what a person reads; the record has them all."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case list() | tuple():
            return [_rounded(each) for each in value]
        case Mapping():
            return {key: _rounded(each) for key, each in value.items()}
    return value


class Spark:
    """A small line without axes: `line` and `area` are SVG paths in a box of 100 × 30."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        step = 100 / max(1, len(values) - 1)
        scale = 28 / ((high - low) or 1)
        points = [f"{at * step:.1f} {29 - (min(max(v, low), high) - low) * scale:.1f}" for at, v in enumerate(values)]
        self.line = f"M{' L'.join(points)}" if points else ""
        self.area = f"{self.line} L100 30 L0 30Z" if points else ""


def spark(values: Sequence[float], low: float = 0.0, high: float = 1.0) -> Spark:
    """The line of `values` between `low` and `high`."""
    return Spark(values, low, high)


def _utc(moment: str | float) -> datetime:
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).astimezone(UTC)
    return datetime.fromtimestamp(moment, UTC)
