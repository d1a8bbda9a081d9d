"""The results of a comparison on disk: one file a cell, named by what was asked, whole or absent.

    <folder>/cells/<digest of the scenario>.json     outcome or failure, and the code that made it

The name is the key: a comparison that is repeated or extended finds what it has by computing digests, and a file
never has to be marked as finished. What cannot be trusted (another scenario inside, numbers that do not match their
hash) is refused and not run again over: somebody changed it, and should know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from platform import python_version
from typing import Any

import secure_fl
from secure_fl.errors import IntegrityError, SecureFLError
from secure_fl.lab.outcome import Outcome
from secure_fl.lab.scenario import Scenario
from secure_fl.runs.atomic import write_atomic, writing
from secure_fl.runs.environment import git_state, package_version

__all__ = ["CellStore", "Failure", "Made", "Result", "made"]

SCHEMA = 1


@dataclass(frozen=True)
class Failure:
    """Why a cell has no numbers. `refused`: the defense or attack says that it cannot be; anything else went wrong."""

    what: str
    why: str = ""
    refused: bool = False
    traceback: str = ""


@dataclass(frozen=True)
class Made:
    """The code that a cell was made with: versions, and the commit ("" outside of a checkout)."""

    secure_fl: str
    commit: str
    dirty: bool
    python: str
    torch: str
    numpy: str


@cache
def made() -> Made:
    """The code that runs here; nothing is imported to find out."""
    git = git_state(Path(secure_fl.__file__).resolve().parent.parent) or {"commit": None, "dirty": False}
    versions = {name: package_version(name) or "" for name in ("torch", "numpy")}
    commit, dirty = git["commit"] or "", git["dirty"]
    return Made(secure_fl=secure_fl.__version__, commit=commit, dirty=dirty, python=python_version(), **versions)


@dataclass(frozen=True)
class Result:
    """What a file holds: one of both, and with what code it was made."""

    outcome: Outcome | None
    failure: Failure | None
    made: Made


class CellStore:
    """The cells in `folder`; nothing is created before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the cell of a scenario with this digest is, or would be."""
        return self.folder / f"{digest}.json"

    def read(self, digest: str) -> Result | None:
        """The cell, or None where there is none.

        Raises:
            IntegrityError: the file is not what was written, or holds another scenario than its name says.
        """
        path = self.path(digest)
        try:
            document = json.loads(path.read_bytes())
            result = _result(document)
            intact = document["schema"] == SCHEMA and _digest(document["scenario"]) == digest
            if result.outcome is not None:
                same = result.outcome.digest == digest == _digest(result.outcome.scenario)
                intact = intact and same and result.outcome.metrics_sha256 == document["metrics_sha256"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, SecureFLError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        if not intact:
            raise _damaged(path, "its numbers do not match its hashes")
        return result

    def write_outcome(self, outcome: Outcome, made: Made) -> None:
        """Keep an outcome; raises SecureFLError where the folder cannot be written."""
        hashes = {"metrics_sha256": outcome.metrics_sha256}
        self._write(outcome.digest, outcome.scenario, made, {"outcome": outcome.to_mapping(), **hashes})

    def write_failure(self, scenario: Scenario, failure: Failure, made: Made) -> None:
        """Keep why there is no outcome; the next run of the comparison tries again."""
        self._write(scenario.digest(), scenario.manifest(), made, {"failure": asdict(failure)})

    def _write(self, digest: str, scenario: Mapping[str, Any], made: Made, body: Mapping[str, Any]) -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        document = {"schema": SCHEMA, "scenario": dict(scenario), "made": asdict(made), **body}
        write_atomic(self.path(digest), (json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _result(document: Mapping[str, Any]) -> Result:
    made = Made(**document["made"])
    if "failure" in document:
        return Result(None, Failure(**document["failure"]), made)
    return Result(Outcome.from_mapping(document["outcome"]), None, made)


def _digest(manifest: Mapping[str, Any]) -> str:
    return Scenario.from_mapping(manifest).digest()


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path} was altered or damaged", why=why, fix="delete it, and its cell is simulated again")
