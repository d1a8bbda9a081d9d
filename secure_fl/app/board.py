"""The adversary's table: a private folder in which the simulated sites of one machine lay their updates open.

The literature's attackers see what honest clients send (Baruch et al. 2019, section 3: "a powerful attacker";
Shejwalkar & Houmansadr 2021, section III). No site of a real federation can: TLS hides the updates of others.
So that such an attack can be studied with real site processes, our launcher gives all sites of a run *that is
marked as a simulation* this folder; a site that was started by anybody else has none, and shows nothing.

A posting is named by round and model, so that a repeated round of another history is never mistaken for it.
Only the newest posting of a site is kept. Files are plain `.npy` (never pickled), whole or absent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Board"]

Vector = np.ndarray[Any, Any]

_POLL_S = 0.05


@dataclass(frozen=True)
class Board:
    """A folder of postings. `wait_s`: how long one who gathers waits for those that are not there yet."""

    folder: Path
    wait_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Board | None:
        """The board that a node config names, if it does."""
        return cls(Path(str(node["board"])), float(node["board-wait-s"])) if "board" in node else None

    def post(self, who: str, moment: str, vector: Vector) -> None:
        """Lay `vector` (d,) open as `who`'s posting of `moment`; it replaces the former one."""
        target = self._path(who, moment)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        with partial.open("wb") as file:
            np.save(file, vector, allow_pickle=False)
        os.replace(partial, target)
        for former in self.folder.glob(f"{who}@*.npy"):
            if former != target:
                former.unlink(missing_ok=True)

    def read(self, who: str, moment: str) -> Vector | None:
        """The posting, (d,) float32, or None where there is none."""
        with suppress(FileNotFoundError):
            found: Vector = np.load(self._path(who, moment), allow_pickle=False)
            return found
        return None

    def gather(self, whom: Iterable[str], moment: str) -> dict[str, Vector]:
        """The postings of `whom`, in their order; waits for those that are missing, at most `wait_s`."""
        names = list(whom)
        deadline = self.clock() + self.wait_s
        while any(not self._path(name, moment).exists() for name in names) and self.clock() < deadline:
            self.sleep(_POLL_S)
        found = {name: self.read(name, moment) for name in names}
        return {name: vector for name, vector in found.items() if vector is not None}

    def _path(self, who: str, moment: str) -> Path:
        return self.folder / f"{who}@{moment}.npy"
