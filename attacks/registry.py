"""Every attack by its name: the one place where text becomes an attack.

An attack's parameters are the fields of its class; `build` refuses a name or a parameter that does not exist and says
which do. What follows from n and f (ALIE's z, the factor of model replacement) is filled in here unless it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from attacks import adaptive, backdoors, claims, collusion, data, dispersion, leaks, oblivious, payloads, tailored
from attacks.base import AttackError, UpdateAttack
from attacks.data import DataAttack
from attacks.wire import WireAttack

__all__ = ["DATA_ATTACKS", "UPDATE_ATTACKS", "WIRE_ATTACKS", "build", "parameters"]


def _by_name(*classes: Any) -> Mapping[str, Any]:
    return MappingProxyType({cls.name: cls for cls in classes})


UPDATE_ATTACKS: Mapping[str, type[UpdateAttack]] = _by_name(
    oblivious.SignFlip,
    oblivious.Scaled,
    oblivious.Gaussian,
    oblivious.Random,
    oblivious.Zero,
    oblivious.FreeRider,
    collusion.Mimic,
    collusion.ALIE,
    collusion.IPM,
    adaptive.OptALIE,
    adaptive.OptIPM,
    dispersion.MinMax,
    dispersion.MinMaxSign,
    dispersion.MinMaxUnit,
    dispersion.MinSum,
    dispersion.MinSumSign,
    dispersion.MinSumUnit,
    tailored.FangKrum,
    tailored.FangTrimmedMean,
    tailored.ROP,
)
DATA_ATTACKS: Mapping[str, type[DataAttack]] = _by_name(
    data.Pairwise,
    data.AllToOne,
    data.Reverse,
    backdoors.BackdoorPatch,
    backdoors.ModelReplacement,
    backdoors.DBA,
    backdoors.EdgeCase,
    backdoors.Neurotoxin,
)
WIRE_ATTACKS: Mapping[str, type[WireAttack]] = _by_name(
    payloads.NaN,
    payloads.Inf,
    payloads.Huge,
    payloads.WrongShape,
    payloads.WrongDtype,
    payloads.WrongSpec,
    payloads.MissingKey,
    payloads.ExtraKey,
    claims.SampleLie,
    payloads.HugePayload,
    claims.Late,
    claims.Duplicate,
    claims.Stale,
    claims.Sybil,
    leaks.LeakJpeg,
    leaks.LeakPixels,
    leaks.LeakMetric,
    leaks.LeakText,
    leaks.LeakBase64,
    leaks.LeakSplit,
)


def parameters(name: str) -> Mapping[str, float | None]:
    """The parameters of an attack by name, with their defaults; None where it follows from n and f, or is not set.

    Raises:
        AttackError: there is no such attack.
    """
    own = {field.name: field.default for field in fields(_class(name)) if field.init}
    if name == "mimic":
        own["victim"] = None
    return MappingProxyType({each: None if value is MISSING else value for each, value in own.items()})


def build(name: str, given: Mapping[str, float], *, n: int, f: int) -> UpdateAttack | DataAttack | WireAttack:
    """The attack `name` with the parameters `given`, for f Byzantine clients of n.

    Raises:
        AttackError: no such attack or parameter, a value out of range, or f outside 1 … n − 1.
    """
    if not 1 <= f < n:
        raise AttackError(f"{f} Byzantine clients of {n}", why="some must be, not all can be", fix="1 <= f < n")
    cls, known = _class(name), parameters(name)
    for each in given:
        if each not in known:
            fix = f"it has {', '.join(known)}" if known else "it has no parameters"
            raise AttackError(f"{name}({each}=…)", why="no such parameter", fix=fix)
    match name:
        case "mimic" if "victim" in given:
            cls = collusion.FixedMimic
        case "fang_krum" if n <= 2 * f + 2:
            raise AttackError(f"{name} with f={f} of n={n}", why="Krum needs n > 2f + 2", fix="fewer Byzantine clients")
        case "alie" if "z" not in given:
            given = {"z": collusion.alie_z(n, f)}
        case "model_replacement":
            given = {"factor": n / f, **given}
    whole = {field.name for field in fields(cls) if str(field.type).startswith("int")}
    made: UpdateAttack | DataAttack | WireAttack = cls(**{k: _whole(v) if k in whole else v for k, v in given.items()})
    return made


def _class(name: str) -> Any:
    known = {**UPDATE_ATTACKS, **DATA_ATTACKS, **WIRE_ATTACKS}
    if name not in known:
        raise AttackError(f"attack {name!r}", why="no such attack", fix=f"one of {', '.join(sorted(known))}")
    return known[name]


def _whole(value: float) -> float:
    """An int where the value is one; the class refuses the others by name."""
    return int(value) if float(value).is_integer() else value
