"""Write docs/reference/settings.md from the declarations in `secure_fl.config`.

Run `python -m tools.settings_reference` after changing a setting; tests/tools/test_settings_reference.py
fails until you do.
"""

from __future__ import annotations

import math
import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

from secure_fl.config import GROUPS, key_of, setting_fields

__all__ = ["main", "reference"]

_HEAD = """# Settings

Every setting of a run. Set one by its flag where `secure-fl run --help` shows one, by `-c key=value`, by the
environment variable `SFL_KEY`, or in a TOML file given by `--config`. Precedence: flag, `-c`, environment, file,
preset, default; `secure-fl config show --origin` says which one won.

This page is made by `python -m tools.settings_reference`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_table(group) for group in GROUPS)])


def _table(group: str) -> str:
    rows = [_row(each) for each in setting_fields() if each.metadata["group"] == group]
    return "\n".join(
        [f"## {group.capitalize()}\n", "| key | default | accepts | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _row(declared: Field[Any]) -> str:
    default = declared.default
    shown = (
        str(default).lower() if isinstance(default, bool) else f"{default:g}" if isinstance(default, float) else default
    )
    unit = f" {declared.metadata['unit']}" if declared.metadata["unit"] and shown != "" else ""
    cell = f"`{shown}`{unit}" if shown != "" else ""
    return f"| `{key_of(declared.name)}` | {cell} | {_accepts(declared)} | {declared.metadata['help']} |"


def _accepts(declared: Field[Any]) -> str:
    meta = declared.metadata
    if meta["choices"]:
        return ", ".join(f"`{choice}`" for choice in meta["choices"])
    if isinstance(declared.default, bool):
        return "`true`, `false`"
    if isinstance(declared.default, str):
        return "text"
    kind = "whole number" if isinstance(declared.default, int) else "number"
    low, high = meta["low"], meta["high"]
    bounds = f"≥ {low:g}" if math.isinf(high) else f"{low:g} … {high:g}"
    return f"{kind}, {bounds}"


def main() -> int:
    """Rewrite this checkout's page."""
    page = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
    page.write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
