"""Every update of a simulation on disk, so that other defenses can be asked what they would have made of it.

    FOLDER/round-0001.safetensors …    one file a round: what reached the coordinator
    FOLDER/record.json                 the scenario, who attacked, and the SHA-256 of each round's file

`record.json` is written last: without it the record is incomplete and is refused. Files are read only if they hash to
what it says, and no reader unpickles anything. The SHA-256 over all those hashes goes into the outcome.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.lab.scenario import Scenario
from secure_fl.lab.submissions import Submissions
from secure_fl.runs.atomic import write_atomic

__all__ = ["Recorder", "UpdateRecord"]

_FORMAT = 1
_INDEX = "record.json"


class Recorder:
    """Writes a record, round by round; `close` completes it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INDEX).unlink(missing_ok=True)  # what is overwritten is no longer whole
        self._folder = folder
        self._hashes: list[str] = []

    def add(self, submissions: Submissions) -> None:
        """Append one round."""
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "updates": submissions.updates,
            "samples": submissions.samples,
            "weights": submissions.weights,
            "batches": submissions.batches,
        }
        if submissions.reference is not None:
            arrays["reference"] = submissions.reference
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        self._hashes.append(write_atomic(self._folder / _name(len(self._hashes) + 1), data))

    def close(self, scenario: Scenario, attackers: tuple[int, ...]) -> str:
        """Complete the record; returns the SHA-256 (hex) of it all."""
        index = {
            "format": _FORMAT,
            "scenario": scenario.to_mapping(),
            "digest": scenario.digest(),
            "attackers": list(attackers),
            "rounds": self._hashes,
            "record": _chained(self._hashes),
        }
        write_atomic(self._folder / _INDEX, (json.dumps(index, indent=1) + "\n").encode())
        return _chained(self._hashes)


@dataclass(frozen=True)
class UpdateRecord:
    """A complete record. hashes: SHA-256 of each round's file, in order; sha256: over all of them."""

    folder: Path
    scenario: Scenario
    attackers: tuple[int, ...]
    hashes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        return _chained(self.hashes)

    @classmethod
    def open(cls, folder: Path) -> UpdateRecord:
        """Read the index of a record.

        Raises:
            NotFoundError: there is none, or it was not completed.
            IntegrityError: the index contradicts itself.
        """
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFoundError(f"no complete record of updates in {folder}", why=error.strerror or "") from None
        except ValueError as error:
            raise IntegrityError(f"{folder / _INDEX} is damaged", why=str(error)) from None
        if index.get("format") != _FORMAT:
            raise IntegrityError(f"{folder / _INDEX} has format {index.get('format')}", why=f"this reads {_FORMAT}")
        found = cls(folder, Scenario.from_mapping(index["scenario"]), tuple(index["attackers"]), tuple(index["rounds"]))
        if (found.sha256, found.scenario.digest()) != (index["record"], index["digest"]):
            raise IntegrityError(f"{folder / _INDEX} was altered", why="its hashes do not close")
        return found

    def rounds(self) -> Iterator[Submissions]:
        """What reached the coordinator, round by round.

        Raises:
            IntegrityError: a file is missing or is not the one that was written.
        """
        for number, expected in enumerate(self.hashes, start=1):
            path = self.folder / _name(number)
            try:
                data = path.read_bytes()
            except OSError as error:
                raise IntegrityError(f"cannot read {path}", why=error.strerror or str(error)) from None
            if hashlib.sha256(data).hexdigest() != expected:
                raise IntegrityError(f"{path} was altered", why="it does not hash to what record.json says")
            arrays = load(data)
            yield Submissions(
                updates=arrays["updates"],
                samples=arrays["samples"],
                weights=arrays["weights"],
                batches=arrays["batches"],
                reference=arrays.get("reference"),
            )


def _name(number: int) -> str:
    return f"round-{number:04}.safetensors"


def _chained(hashes: tuple[str, ...] | list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
