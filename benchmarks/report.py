"""The one language of the benchmarks: figures that were measured, and bars that they have to clear.

A script measures, fills a `Report` and ends with `sys.exit(finish(report, options))`:

    options = parser(__doc__).parse_args()
    report = Report(name="round_overhead", settings={"sites": 5})
    report.figure("overhead_s", summary(samples))
    report.bar("median overhead of a round, s", value=1.3, bar=2.0, better="lower")
    sys.exit(finish(report, options))

With `--json` standard output is one object: {"name", "machine", "settings", "figures", "bars"}; each bar is
{"name", "value", "bar", "better", "ok"}. Progress belongs on standard error (`note`). The exit status is 1 when a
bar is missed, 2 when a peer that has to run beside us is not installed: a missing peer is never a skipped row.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

__all__ = ["Bar", "Better", "Report", "finish", "machine", "need_peer", "note", "parser", "summary"]

Better = Literal["higher", "lower"]
_PACKAGES = ("securefl-vision", "flwr", "torch", "torchvision", "numpy")


@dataclass(frozen=True)
class Bar:
    """A measured value and the bar that an issue set for it; equal to the bar is good enough."""

    name: str
    value: float
    bar: float
    better: Better

    @property
    def ok(self) -> bool:
        """Whether the value clears the bar; NaN never does."""
        return self.value >= self.bar if self.better == "higher" else self.value <= self.bar

    def to_mapping(self) -> dict[str, Any]:
        """The bar as it stands in the JSON."""
        return {"name": self.name, "value": self.value, "bar": self.bar, "better": self.better, "ok": self.ok}


@dataclass(frozen=True)
class Report:
    """What one benchmark found, under which settings."""

    name: str
    settings: Mapping[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)

    def figure(self, name: str, value: Any) -> None:
        """Record a measured figure, a number or a mapping of numbers; the name carries the unit."""
        if name in self.figures:
            raise ValueError(f"figure {name} was recorded before")
        self.figures[name] = value

    def bar(self, name: str, *, value: float, bar: float, better: Better) -> None:
        """Hold `value` against `bar`."""
        self.bars.append(Bar(name, value, bar, better))

    def to_mapping(self) -> dict[str, Any]:
        """The one object that `--json` prints."""
        return {
            "name": self.name,
            "machine": machine(),
            "settings": dict(self.settings),
            "figures": self.figures,
            "bars": [each.to_mapping() for each in self.bars],
        }


def parser(description: str) -> argparse.ArgumentParser:
    """The command line that every benchmark has; a script may add its own options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="less of everything: ends within 3 minutes on 2 cores")
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return made


def finish(report: Report, options: argparse.Namespace) -> int:
    """Print the report; the exit status: 0, or 1 when a bar was missed."""
    document = report.to_mapping()
    print(json.dumps(_finite(document), indent=2, allow_nan=False) if options.json else _text(document))
    return 0 if all(each.ok for each in report.bars) else 1


def machine() -> dict[str, Any]:
    """What the figures were measured on, with the load that stood beside the measurement."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and count; the median, because one disturbed sample must not move the result."""
    if not samples:
        raise ValueError("nothing was measured")
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples), "n": len(samples)}


def need_peer(module: str, *, extra: str) -> None:
    """End the benchmark with status 2 unless the peer can be imported."""
    if importlib.util.find_spec(module) is None:
        note(f"error: the peer {module} is not installed\n  fix: pip install -c constraints.txt -e '.[{extra}]'")
        raise SystemExit(2)


def note(line: str) -> None:
    """Progress, on standard error, so that `--json` stays one object."""
    print(line, file=sys.stderr, flush=True)


def _text(document: Mapping[str, Any]) -> str:
    lines = [str(document["name"]), f"  on {document['machine']['cpu']}, {document['machine']['cores']} cores"]
    lines.append("  settings: " + ", ".join(f"{key}={value}" for key, value in document["settings"].items()))
    lines += [f"  {name}: {_number(value)}" for name, value in document["figures"].items()]
    for each in document["bars"]:
        sign, verdict = (">=" if each["better"] == "higher" else "<="), ("ok" if each["ok"] else "MISSED")
        lines.append(f"  [{verdict}] {each['name']}: {_number(each['value'])} {sign} {_number(each['bar'])}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    match value:
        case float():
            return f"{value:.4g}"
        case {"median": middle, "min": low, "max": high, "n": count}:
            return f"{_number(middle)} ({_number(low)} to {_number(high)}, n={count})"
        case Mapping():
            return ", ".join(f"{key} {_number(each)}" for key, each in value.items())
        case list():
            return ", ".join(_number(each) for each in value)
    return str(value)


def _finite(value: Any) -> Any:
    """The same with NaN and infinities as null: JSON has no word for them."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
