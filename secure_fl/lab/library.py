"""The scenarios that come with the package: each teaches one thing, and a test holds it to that.

They are small (digits and light networks) so that each runs in seconds to a minute on one core.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from secure_fl.errors import NotFoundError
from secure_fl.lab.scenario import Scenario

__all__ = ["bundled", "bundled_names", "find_scenario"]

_FOLDER = resources.files("secure_fl.lab") / "scenarios"


def bundled_names() -> list[str]:
    """Names of the bundled scenarios, sorted."""
    return sorted(each.name.removesuffix(".toml") for each in _FOLDER.iterdir() if each.name.endswith(".toml"))


def bundled(name: str) -> Scenario:
    """A bundled scenario; raises NotFoundError, naming the nearest one."""
    if name not in bundled_names():
        near = difflib.get_close_matches(name, bundled_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`secure-fl replay --list` shows all"
        raise NotFoundError(f"no scenario `{name}`", why="it is neither bundled nor a file", fix=hint)
    with resources.as_file(_FOLDER / f"{name}.toml") as path:
        return Scenario.load(path)


def find_scenario(name_or_path: str) -> Scenario:
    """The bundled scenario of that name, or the one in that TOML file.

    Raises:
        NotFoundError: there is neither.
        ConfigError: the file is no scenario.
    """
    path = Path(name_or_path).expanduser()
    return Scenario.load(path) if path.suffix == ".toml" or path.is_file() else bundled(name_or_path)
