"""What a site has helped to open: for each round of each run one sum, and never a second, different one.

The difference of two sums of the same updates over different survivors is the update of whoever is in only one of
them. So before an opening leaves the site, it is written down whose sum it opens, over which model; and a round that
was opened is opened again for the same survivors and the same model only. That much is allowed, so that a coordinator
that crashed after the opening can repeat the round: it learns what it could have known. The file outlives the
site's process; without one, the memory lasts as long as the process.

What it does not prevent: another round from the same model, or another run. Their updates are trained anew, yet
resemble the old ones; against that helps differential privacy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secure_fl.runs.atomic import writing
from secure_fl.runs.eventlog import EventLog
from secure_fl.runs.events import Event
from secure_fl.secagg.errors import SlotReused
from secure_fl.secagg.terms import Terms

__all__ = ["Released", "Sum"]

_KIND, _MODE = "sum-opened", 0o600


@dataclass(frozen=True)
class Sum:
    """Whose updates, trained from which model, in which round."""

    run: str
    round: int
    group: int
    model_sha256: str
    survivors: tuple[int, ...]

    @classmethod
    def of(cls, terms: Terms, survivors: tuple[int, ...]) -> Sum:
        """The sum that these terms and survivors make."""
        slot = terms.slot
        return cls(slot.run, slot.round, slot.group, terms.model_sha256, tuple(sorted(survivors)))


class Released:
    """The sums that one site has opened, in the file `path` (mode 0600, made when first needed) or in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._log = EventLog(path, mode=_MODE) if path else None
        self._known: dict[tuple[str, int], Sum] = {}
        if self._log is not None and self._log.path.exists():
            for each in map(_read, (event for event in self._log.read() if event.kind == _KIND)):
                self._known[each.run, each.round] = each

    def check(self, asked: Sum) -> None:
        """Refuse a sum beside which we have opened another one.

        Raises:
            SlotReused: this round was opened for other survivors, another group or another model.
        """
        before = self._known.get((asked.run, asked.round), asked)
        if before != asked:
            raise SlotReused(
                f"a second sum of round {asked.round}",
                why=f"we have opened it over the sites {list(before.survivors)} of group {before.group}: "
                "two sums of the same updates differ by what single sites sent",
            )

    def enter(self, opened: Sum) -> None:
        """Write down what is about to be opened; when this returns, it is on the disk.

        Raises:
            SlotReused: as `check`.
            SecureFLError: the file cannot be written; nothing may be opened.
        """
        self.check(opened)
        if self._log is not None and (opened.run, opened.round) not in self._known:
            with writing(self._log.path.parent):
                self._log.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._log.append(
                _KIND,
                {
                    "run": opened.run,
                    "round": opened.round,
                    "group": opened.group,
                    "model_sha256": opened.model_sha256,
                    "survivors": list(opened.survivors),
                },
            )
        self._known[opened.run, opened.round] = opened


def _read(event: Event) -> Sum:
    survivors = tuple(event["survivors"])
    return Sum(event["run"], event["round"], event["group"], event["model_sha256"], survivors)
