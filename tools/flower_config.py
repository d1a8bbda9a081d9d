"""Write the settings of `secure_fl.config` into pyproject.toml's `[tool.flwr.app.config]`.

`flwr run` accepts only keys that stand there as overrides. Run `python -m tools.flower_config` after changing
a setting; tests/test_packaging.py fails until you do.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from secure_fl.config import Scalar, flower_defaults

__all__ = ["main", "with_settings"]

_TABLE = re.compile(r"(?<=^\[tool\.flwr\.app\.config\]\n)(?:[a-z0-9-]+ = .*\n)*", re.MULTILINE)


def with_settings(project: str, settings: Mapping[str, Scalar]) -> str:
    """The text of a pyproject.toml with the lines of that table replaced by `settings`.

    Raises:
        ValueError: there is not exactly one such table.
    """
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
    written, count = _TABLE.subn(lambda _: lines, project)
    if count != 1:
        raise ValueError(f"found {count} tables [tool.flwr.app.config]")
    return written


def _toml(value: Scalar) -> str:
    """TOML writes booleans and plain texts as JSON does, numbers as Python does."""
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)


def main() -> int:
    """Rewrite this checkout's pyproject.toml."""
    path = Path(__file__).resolve().parent.parent / "pyproject.toml"
    path.write_text(with_settings(path.read_text(encoding="utf-8"), flower_defaults()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
