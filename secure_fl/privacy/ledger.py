"""What a site has spent of its images' privacy: an append-only, hash-chained file that outlives runs.

Write-ahead. `spend` returns when the event is on the disk; only then may the mechanism run. So a crash after it
counts steps that were not taken, and never the other way round. A line that a crash has torn was not acknowledged,
so nothing was released for it: the next append moves it aside and says so. Rounds that failed, or that were
sent again, are events of their own. Nothing is ever merged, removed or rewritten; ε is derived when asked.

The chain names the first line that was altered. It cannot show that lines were cut off its end, or that the file
was deleted: who owns the file can forget what was spent, which is why the ledger belongs to the site that has to
answer for the images. Composition is over the events of the same data fingerprint: other images have spent nothing,
and images that were changed by one have another fingerprint, so give a changed data set a smaller budget.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_fl.errors import ConfigError, IntegrityError
from secure_fl.privacy.accounting import Epsilon, PrivacyEvent, epsilon
from secure_fl.runs.atomic import flush_folder, writing
from secure_fl.runs.eventlog import EventLog
from secure_fl.runs.events import Event

__all__ = ["UNITS", "Ledger", "Spending"]

UNITS = ("sample", "client")
_KIND = "privacy-spent"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Spending:
    """One line of the ledger: what was about to happen, to which images, in which round of which run.

    test_rng: the noise came from the run's seed, so that the cost stands for nothing: who knows the seed knows all.
    """

    event: PrivacyEvent
    unit: str
    adjacency: str
    data: str
    run: str
    round: int
    time: str
    test_rng: bool


class Ledger:
    """The ledger in the file `path`, made with mode 0600 by the first `spend`. Processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = EventLog(path, mode=_MODE)

    def spend(
        self,
        event: PrivacyEvent,
        *,
        run: str,
        round: int,
        unit: str,
        data: str,
        adjacency: str = "add-remove",
        test_rng: bool = False,
    ) -> None:
        """Enter `event`; when this returns, it is on the disk.

        Raises:
            ConfigError: the unit is unknown.
            IntegrityError: the last line was altered.
            SecureFLError: the file cannot be written; nothing has been entered.
        """
        if unit not in UNITS:
            raise ConfigError(f"unknown unit of privacy {unit!r}", fix=f"one of: {', '.join(UNITS)}")
        self._make_folder()
        fields = {
            "mechanism": event.mechanism,
            "noise_multiplier": event.noise_multiplier,
            "sample_rate": event.sample_rate,
            "steps": event.steps,
            "unit": unit,
            "adjacency": adjacency,
            "data": data,
            "run": run,
            "round": round,
            "test_rng": test_rng,
        }
        self._log.append(_KIND, fields)
        # Each time: whoever made the file may have died before its name was durable.
        with writing(self.path):
            flush_folder(self.path.parent)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others who ask for the same out, so that nobody spends between `affordable` and `spend`.

        Not re-entrant. `spend` itself is safe without it.
        """
        self._make_folder()
        with writing(self.path):
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def spendings(self, data: str | None = None) -> list[Spending]:
        """All entries, or those over the images of one fingerprint; none if there is no ledger yet.

        Raises:
            IntegrityError: a line breaks the chain, or holds what no version of ours has written.
        """
        found = [self._spending(each) for each in self._events()]
        return [each for each in found if each is not None and data in (None, each.data)]

    def epsilon(self, data: str, delta: float, accountant: str = "prv") -> Epsilon:
        """What the images have cost so far."""
        return epsilon((each.event for each in self.spendings(data)), delta, accountant)

    def affordable(self, event: PrivacyEvent, data: str, budget: float, delta: float) -> bool:
        """Whether the images would still be within `budget` after `event`."""
        before: Iterable[PrivacyEvent] = (each.event for each in self.spendings(data))
        return epsilon([*before, event], delta).value <= budget

    def verify(self) -> int:
        """Check the whole chain; the number of entries. Raises IntegrityError naming the first bad line."""
        return len(self.spendings())

    def _make_folder(self) -> None:
        with writing(self.path.parent):
            if not self.path.parent.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                flush_folder(self.path.parent.parent)

    def _events(self) -> list[Event]:
        return self._log.read() if self.path.exists() else []

    def _spending(self, entry: Event) -> Spending | None:
        if entry.kind == "record-repaired":
            return None
        if entry.kind != _KIND:
            # An unknown mechanism must not be taken for one that costs nothing.
            raise IntegrityError(
                f"{self.path}: line {entry.seq + 1} is of the unknown kind {entry.kind!r}",
                why="what it has cost cannot be known",
                fix="use the version of this package that wrote it",
            )
        try:
            event = PrivacyEvent(entry["mechanism"], entry["noise_multiplier"], entry["sample_rate"], entry["steps"])
        except (ConfigError, TypeError) as error:
            raise IntegrityError(f"{self.path}: line {entry.seq + 1} cannot be counted", why=str(error)) from None
        return Spending(
            event,
            entry["unit"],
            entry["adjacency"],
            entry["data"],
            entry["run"],
            entry.get("round", 0),
            entry.time,
            entry.get("test_rng", False),
        )
