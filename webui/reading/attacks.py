"""Comparisons of attacks and defenses on disk, as the attack lab shows them: a matrix, and single simulations.

Numbers come from the `report.json` that `secure-fl compare` wrote and, round by round, from the cells beside it, whose
hashes are checked on the way (`secure_fl.lab.cells`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_fl.errors import IntegrityError, NotFoundError
from secure_fl.lab.cells import CellStore
from secure_fl.lab.comparison import CLEAN, UNDEFENDED
from secure_fl.lab.outcome import Outcome
from secure_fl.lab.report.palette import level
from secure_fl.lab.report.words import MARKS
from webui.reading.curves import Chart, Curve

__all__ = ["Bout", "Entry", "Lab", "LabLine", "Matrix", "bout_of", "lab_of", "labs_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class LabLine:
    """A comparison in a list. done, total: of its simulations that can be; problem: why it cannot be read, or ""."""

    name: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    done: int
    total: int
    problem: str = ""


@dataclass(frozen=True)
class Entry:
    """One attack against one defense, over all seeds. level: of the heat colours, None without a mean.

    recall: of the attackers, the share turned away; precision: of those turned away, the share that attacked.
    """

    attack: str
    defense: str
    accuracy: float | None
    low: float | None
    high: float | None
    kept: float | None
    grade: str
    attack_success: float | None
    recall: float | None
    precision: float | None
    refusal: str
    seeds: int

    @property
    def level(self) -> int | None:
        return None if self.kept is None else level(self.kept)

    @property
    def mark(self) -> str:
        """✓ holds, ~ damaged, ✕ broken."""
        return {str(grade): sign for grade, sign in MARKS.items()}.get(self.grade, "")


@dataclass(frozen=True)
class Matrix:
    """One number of attackers and one α: entries[defense][attack], with the clean baseline in the first column."""

    byzantine: int
    alpha: float
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    entries: Mapping[str, Mapping[str, Entry]]
    worst: Mapping[str, Entry]

    @property
    def clean(self) -> Entry:
        """Nobody attacks and nobody defends."""
        return self.entries[UNDEFENDED][CLEAN]


@dataclass(frozen=True)
class Lab:
    """A comparison. cells: digest of the scenario by (byzantine, α, defense, attack, seed)."""

    name: str
    teaches: str
    base: Mapping[str, Any]
    seeds: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    command: tuple[str, ...]
    done: int
    total: int
    cells: Mapping[tuple[int, float, str, str, int], str]
    folder: Path


@dataclass(frozen=True)
class Bout:
    """One simulation beside its baselines. kept[i][j]: whether client i counted in round j + 1.

    chart: accuracy by round of this one, of no defense under the same attack, and of nobody attacking.
    """

    attack: str
    defense: str
    seed: int
    attackers: frozenset[int]
    kept: tuple[tuple[bool, ...], ...]
    chart: Chart
    success: Chart | None
    sha256: str

    @property
    def rounds(self) -> range:
        return range(1, len(self.kept[0]) + 1)

    @property
    def says(self) -> str:
        """Who was turned away, in a sentence."""
        away = {client for client, row in enumerate(self.kept) if not all(row)}
        if not away:
            return "Every client counted in every round."
        caught, wrong = sorted(away & self.attackers), sorted(away - self.attackers)
        words = (
            [f"{len(caught)} of {len(self.attackers)} attackers turned away at least once"] if self.attackers else []
        )
        words.append(
            f"{len(wrong)} honest clients turned away at least once" if wrong else "no honest client turned away"
        )
        return f"{'; '.join(words)}.".capitalize()


def labs_of(home: Path) -> tuple[LabLine, ...]:
    """All comparisons of a home, by name."""
    folder = home / "comparisons"
    names = (
        sorted(each.name for each in folder.iterdir() if (each / "manifest.json").is_file()) if folder.is_dir() else []
    )
    return tuple(_line(home, name) for name in names if _NAME.fullmatch(name))


def lab_of(home: Path, name: str) -> Lab:
    """A comparison by the name of its folder.

    Raises:
        NotFoundError: there is none of this name, or it has no report yet.
        IntegrityError: its report cannot be read.
    """
    folder = home / "comparisons" / name
    if not _NAME.fullmatch(name) or not (folder / "report.json").is_file():
        raise NotFoundError("no such comparison", fix="the attack lab lists them all")
    try:
        return _lab(folder, json.loads((folder / "report.json").read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the report of {name} cannot be read", why=str(error), fix="repeat its command") from None


def bout_of(lab: Lab, matrix: Matrix, defense: str, attack: str, seed: int) -> Bout:
    """One simulation of a comparison.

    Raises:
        NotFoundError: there is no such cell, or it was not simulated.
        IntegrityError: its file was altered.
    """
    own = _outcome(lab, matrix, defense, attack, seed)
    baselines = {"no defense": (UNDEFENDED, attack)} if defense != UNDEFENDED else {}
    if attack != CLEAN:
        baselines["nobody attacks"] = (UNDEFENDED, CLEAN)
    curves = [Curve("no defense" if defense == UNDEFENDED else defense, tuple(each.accuracy for each in own.rounds))]
    for label, (rule, hostile) in baselines.items():
        rounds = _outcome(lab, matrix, rule, hostile, seed).rounds
        curves.append(Curve(label, tuple(each.accuracy for each in rounds), dashed=True))
    numbers = tuple(each.round for each in own.rounds)
    ends = "; ".join(f"{curve.name} {_percent(curve.values[-1])}" for curve in curves)
    success = tuple(each.attack_success for each in own.rounds)
    return Bout(
        attack=attack,
        defense=defense,
        seed=seed,
        attackers=frozenset(own.attackers),
        kept=tuple(zip(*(each.kept for each in own.rounds), strict=True)),
        chart=Chart("bout", "Accuracy by round", numbers, tuple(curves), "share", f"At the end: {ends}."),
        success=_success_chart(numbers, success),
        sha256=own.metrics_sha256,
    )


def _success_chart(rounds: tuple[int, ...], values: tuple[float | None, ...]) -> Chart | None:
    if all(each is None for each in values):
        return None
    says = f"In the last round {_percent(values[-1])} of triggered images were taken for the attacker's class."
    return Chart("success", "Success of the backdoor", rounds, (Curve("attack success", values),), "share", says)


def _outcome(lab: Lab, matrix: Matrix, defense: str, attack: str, seed: int) -> Outcome:
    digest = lab.cells.get((matrix.byzantine, matrix.alpha, defense, attack, seed))
    result = CellStore(lab.folder / "cells").read(digest) if digest else None
    if result is None or result.outcome is None:
        raise NotFoundError("this simulation has no outcome", why="it was refused, failed, or is still to come")
    return result.outcome


def _line(home: Path, name: str) -> LabLine:
    try:
        lab = lab_of(home, name)
    except (NotFoundError, IntegrityError) as error:
        return LabLine(name, (), (), 0, 0, problem=error.what)
    first = lab.matrices[0]
    return LabLine(name, tuple(each for each in first.attacks if each), first.defenses, lab.done, lab.total)


def _lab(folder: Path, report: Mapping[str, Any]) -> Lab:
    manifest, grid = report["manifest"], report["manifest"]["comparison"]
    states = [each["state"] for each in manifest["cells"]]
    return Lab(
        name=folder.name,
        teaches=manifest["teaches"],
        base=grid["base"],
        seeds=tuple(grid["seeds"]),
        matrices=tuple(_matrix(report, grid, f, alpha) for alpha in grid["alphas"] for f in grid["byzantine"]),
        command=tuple(manifest["command"]),
        done=states.count("done"),
        total=len(states) - states.count("refused"),
        cells={
            (each["byzantine"], each["alpha"], each["defense"], each["attack"], each["seed"]): each["digest"]
            for each in manifest["cells"]
        },
        folder=folder,
    )


def _matrix(report: Mapping[str, Any], grid: Mapping[str, Any], byzantine: int, alpha: float) -> Matrix:
    here = [_entry(each) for each in report["entries"] if (each["byzantine"], each["alpha"]) == (byzantine, alpha)]
    entries: dict[str, dict[str, Entry]] = {}
    for each in here:
        entries.setdefault(each.defense, {})[each.attack] = each
    worst = {
        each["defense"]: entries[each["defense"]][each["attack"]]
        for each in report["worst"]
        if (each["byzantine"], each["alpha"]) == (byzantine, alpha)
    }
    return Matrix(byzantine, alpha, tuple(grid["attacks"]), tuple(report["defenses"]), entries, worst)


def _entry(told: Mapping[str, Any]) -> Entry:
    accuracy = told["accuracy"] or {}
    success = told["attack_success"] or {}
    return Entry(
        attack=told["attack"],
        defense=told["defense"],
        accuracy=accuracy.get("mean"),
        low=accuracy.get("low"),
        high=accuracy.get("high"),
        kept=told["kept"],
        grade=told["grade"] or "",
        attack_success=success.get("mean"),
        recall=told["recall"],
        precision=told["precision"],
        refusal=told["refusal"],
        seeds=len(told["seeds"]),
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
