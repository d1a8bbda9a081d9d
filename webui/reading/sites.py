"""The sites of a run: what each contributed last, and its part in every round."""

from __future__ import annotations

from dataclasses import dataclass

from secure_fl.runs import RoundRow, SiteRow
from secure_fl.runs.rows import natural
from webui.reading.records import Run

__all__ = ["PARTS", "Participation", "SiteLine", "participation_of", "sites_of"]

# A site's part in a round: sign, what it means, and the class of its colour. The sign says it without the colour.
PARTS = {
    "kept": ("✓", "counted in the model", "in"),
    "left out": ("✕", "left out by the defense", "out"),
    "masked": ("∞", "turned away: numbers not finite", "out"),
    "rejected": ("!", "turned away: malformed or too large", "out"),
    "missing": ("–", "did not answer in time", "part"),
    "late": ("◷", "answered after the round", "part"),
    "absent": ("", "not asked", "none"),
}


@dataclass(frozen=True)
class SiteLine:
    """A site in a table. `last` is its newest accepted reply; attacker: it carried out the simulated attack."""

    name: str
    joined: bool
    last: SiteRow | None
    final_accuracy: float | None
    weight: float | None
    counted: int
    left_out: int
    excluded: int
    attacker: bool


@dataclass(frozen=True)
class Participation:
    """parts[i][j]: the part (a key of PARTS) of sites[i] in rounds[j]. attackers: names of simulated attackers."""

    sites: tuple[str, ...]
    rounds: tuple[int, ...]
    parts: tuple[tuple[str, ...], ...]
    attackers: frozenset[str]

    @property
    def says(self) -> str:
        """What the map shows, in a sentence."""
        caught = {
            site
            for site, parts in zip(self.sites, self.parts, strict=True)
            if any(part in ("left out", "masked", "rejected") for part in parts)
        }
        if not caught:
            return "No update was left out."
        who = f"Left out at least once: {', '.join(sorted(caught, key=natural))}"
        return (
            f"{who}; simulated attackers: {', '.join(sorted(self.attackers, key=natural))}."
            if self.attackers
            else f"{who}."
        )


def participation_of(run: Run, most_rounds: int = 60) -> Participation:
    """The part of every site in the newest rounds."""
    rounds = [row for row in run.summary.rounds if row.round > 0][-most_rounds:]
    names = _names(run)
    parts = tuple(tuple(_part(name, row) for row in rounds) for name in names)
    return Participation(names, tuple(row.round for row in rounds), parts, _attackers(run))


def sites_of(run: Run) -> tuple[SiteLine, ...]:
    """All sites that were seen, in natural order."""
    final = {each.site: each.validation_accuracy for each in run.summary.evaluations}
    joined, attackers = set(run.summary.joined), _attackers(run)
    weights = (run.summary.last.weights or {}) if run.summary.last else {}
    lines = []
    for name in _names(run):
        replies = [site for row in run.summary.rounds for site in row.sites if site.site == name]
        parts = [_part(name, row) for row in run.summary.rounds if row.round > 0]
        lines.append(
            SiteLine(
                name=name,
                joined=name in joined,
                last=replies[-1] if replies else None,
                final_accuracy=final.get(name),
                weight=weights.get(name),
                counted=parts.count("kept"),
                left_out=parts.count("left out"),
                excluded=sum(part in ("masked", "rejected", "missing", "late") for part in parts),
                attacker=name in attackers,
            )
        )
    return tuple(lines)


def _names(run: Run) -> tuple[str, ...]:
    seen = {*run.summary.joined, *run.summary.start.get("sites", ())}
    for row in run.summary.rounds:
        seen |= {*row.accepted, *(each.site for each in row.excluded)}
    return tuple(sorted(seen, key=natural))


def _attackers(run: Run) -> frozenset[str]:
    simulation = run.summary.start.get("simulation")
    return frozenset(simulation["attackers"]) if simulation else frozenset()


def _part(name: str, row: RoundRow) -> str:
    if name in row.masked:
        return "masked"
    if name in row.left_out:
        return "left out"
    if name in row.accepted:
        return "kept"
    return next((each.outcome for each in row.excluded if each.site == name), "absent")
