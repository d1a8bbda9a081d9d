"""The privacy ledgers on this machine: what each site's images have been through, over all runs.

A ledger belongs to the site that answers for the images (`secure_fl.privacy.ledger`); those of sites on other machines
are not here. Steps that were entered and then not taken count, as they must.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secure_fl.errors import SecureFLError
from secure_fl.privacy.ledger import Ledger, Spending
from secure_fl.runs.rows import natural

__all__ = ["LedgerLine", "ledgers_of"]


@dataclass(frozen=True)
class LedgerLine:
    """What one data fingerprint has been through. noise: the least σ of its entries; rate: the largest q.

    damaged: why the ledger cannot be read, or "". Then nothing else is known.
    """

    site: str
    data: str = ""
    unit: str = ""
    entries: int = 0
    steps: int = 0
    runs: tuple[str, ...] = ()
    noise: float = 0.0
    rate: float = 0.0
    last: str = ""
    test_rng: bool = False
    damaged: str = ""


def ledgers_of(home: Path) -> tuple[LedgerLine, ...]:
    """All ledgers of a home, by site and then by data."""
    folder = home / "federation" / "privacy"
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: natural(path.stem)) if folder.is_dir() else []
    return tuple(line for path in paths for line in _lines(path))


def _lines(path: Path) -> list[LedgerLine]:
    by_data: dict[tuple[str, str], list[Spending]] = {}
    try:
        for each in Ledger(path).spendings():
            by_data.setdefault((each.data, each.unit), []).append(each)
    except (SecureFLError, OSError) as error:
        return [LedgerLine(path.stem, damaged=str(error))]
    return [_line(path.stem, data, unit, spendings) for (data, unit), spendings in by_data.items()]


def _line(site: str, data: str, unit: str, spendings: list[Spending]) -> LedgerLine:
    return LedgerLine(
        site=site,
        data=data,
        unit="image" if unit == "sample" else "site",
        entries=len(spendings),
        steps=sum(each.event.steps for each in spendings),
        runs=tuple(dict.fromkeys(each.run for each in spendings)),
        noise=min(each.event.noise_multiplier for each in spendings),
        rate=max(each.event.sample_rate for each in spendings),
        last=spendings[-1].time,
        test_rng=any(each.test_rng for each in spendings),
    )
