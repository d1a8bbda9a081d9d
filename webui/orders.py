"""What can be ordered, and the command line that does it.

A page's or a program's wish becomes an `Order` only if every part of it is one that we know: settings pass the run's
own schema, names come from what is there, paths lead below the home. So the worker starts `secure-fl` with arguments
that nobody could have written freely; settings go by a file of the job's own.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_fl.config import RunConfig, key_of
from secure_fl.config_sources import preset_names, resolve
from secure_fl.errors import ConfigError, NotFoundError
from secure_fl.runs.index import RunIndex
from secure_fl.runs.rows import RunStatus

__all__ = ["KINDS", "NOT_HERE", "Order", "arguments", "equivalent", "order"]

KINDS = ("run", "resume", "replay", "compare", "audit")
# Settings that open doors to other machines, or name files of the server: for whoever sits at that machine.
NOT_HERE = frozenset(
    {"host", "port", "remote-sites", "allow-stock-supernodes", "auditor", "insecure-test-rng", "device", "download"}
)
_PATHS = ("dataset", "data-dir", "weights")
_NAMED = ("", "digits", "cifar10", "fashion-mnist", "torchvision")
_MOST = 8  # values on one axis of a comparison, defenses of a replay


@dataclass(frozen=True, slots=True)
class Order:
    """A checked wish: `request` holds what `arguments` needs, in JSON's own types."""

    kind: str
    title: str
    request: Mapping[str, Any]


def order(kind: str, wish: Mapping[str, Any], home: Path) -> Order:
    """Check a wish.

    Raises:
        ConfigError: a value is unknown or out of range; the message names it.
        NotFoundError: there is no such run or scenario.
    """
    match kind:
        case "run":
            return _run(wish, home)
        case "resume":
            return _resume(wish, home)
        case "replay":
            return _replay(wish)
        case "compare":
            return _compare(wish)
        case "audit":
            return _audit(wish, home)
    raise ConfigError(f"nothing of the kind {kind[:20]!r} can be ordered", fix=f"choose one of: {', '.join(KINDS)}")


def arguments(kind: str, request: Mapping[str, Any], home: Path, config: Path) -> list[str]:
    """What follows `secure-fl --home HOME --format jsonl`; a run reads its settings from `config`."""
    match kind:
        case "run":
            preset = [f"--preset={request['preset']}"] if request["preset"] else []
            return ["run", *preset, f"--config={config}"]
        case "resume":
            return ["runs", "resume", request["run_id"]]
        case "replay":
            defenses = [f"--defense={each}" for each in request["defenses"]]
            return ["replay", request["scenario"], *defenses, *([] if not request["open_loop"] else ["--open-loop"])]
        case "compare":
            return ["compare", *_axes(request), f"--output={home / 'comparisons' / request['name']}"]
        case "audit":
            folder = home / "runs" / request["run_id"]
            if request["what"] == "scan":
                return ["audit", "scan", str(folder)]
            return ["audit", "verify", str(folder / "audit"), f"--key={home / 'federation' / 'auditor' / 'sign.pub'}"]
    raise ConfigError(f"no command for {kind}")


def equivalent(made: Order, home: Path) -> str:
    """The command that does the same in a terminal, for whoever is in the home."""
    if made.kind != "run":
        words = arguments(made.kind, made.request, home, Path())
        return shlex.join(["secure-fl", *(each.replace(f"{home}/", "") for each in words)])
    preset = ["--preset", made.request["preset"]] if made.request["preset"] else []
    settings = [("-c", f"{key}={_text(value)}") for key, value in made.request["settings"].items()]
    return shlex.join(["secure-fl", "run", *preset, *(word for pair in settings for word in pair)])


def _run(wish: Mapping[str, Any], home: Path) -> Order:
    preset, given = _plain(wish, "preset"), wish.get("settings") or {}
    if not isinstance(given, Mapping):
        raise ConfigError("`settings` is not an object")
    if preset and preset not in preset_names():
        raise ConfigError(f"no preset {preset[:40]!r}", fix=f"choose one of: {', '.join(preset_names())}")
    flags = {key_of(str(key)): value for key, value in given.items()}
    if closed := sorted(flags.keys() & NOT_HERE):
        raise ConfigError(f"`{closed[0]}` cannot be set from here", fix="start the run in a terminal of that machine")
    for key in _PATHS:
        if key in flags:
            flags[key] = _below(home, key, str(flags[key]))
    try:
        config = resolve(flags=flags, environ={}, preset=preset or None).config
    except ConfigError as error:  # there are no flags in a browser
        raise ConfigError(error.what.removesuffix(" (from flag)"), why=error.why, fix=error.fix) from None
    settings = {key: getattr(config, key.replace("-", "_")) for key in flags}
    return Order("run", _run_title(config, preset), {"preset": preset, "settings": settings})


def _run_title(config: RunConfig, preset: str) -> str:
    parts = [preset, Path(config.dataset).name, config.model, f"{config.sites} sites", f"{config.rounds} rounds"]
    return " · ".join(filter(None, parts))


def _below(home: Path, key: str, value: str) -> str:
    """A named thing, or a path below the home; nothing else of this machine can be reached from a browser."""
    if value in _NAMED:
        return value
    path = (home / value).resolve()
    if not path.is_relative_to(home.resolve()) or "\0" in value:
        raise ConfigError(f"`{key}` is {value[:80]!r}", why="it leads out of the home of runs", fix="put it below that")
    return str(path)


def _resume(wish: Mapping[str, Any], home: Path) -> Order:
    row = RunIndex(home).row(_run_id(wish))
    if row.status not in (RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.CREATED):
        raise ConfigError(f"run {row.id} cannot go on", why=f"it is {row.status}")
    return Order("resume", f"resume {row.id} after round {row.round}", {"run_id": row.id})


def _replay(wish: Mapping[str, Any]) -> Order:
    from secure_fl.lab.library import bundled

    scenario = bundled(_plain(wish, "scenario"))
    defenses = [scenario.changed(defense=each).defense for each in _list(wish, "defenses")] or [scenario.defense]
    rules = list(dict.fromkeys(defenses))
    request = {"scenario": scenario.name, "defenses": rules, "open_loop": _yes(wish, "open_loop")}
    return Order("replay", f"{scenario.name} under {', '.join(rules)}", request)


def _compare(wish: Mapping[str, Any]) -> Order:
    from secure_fl.lab.comparison import Comparison
    from secure_fl.lab.library import bundled
    from secure_fl.lab.scenario import Scenario

    name, rounds = _plain(wish, "scenario"), _whole(wish, "rounds", 0, 1000)
    base = bundled(name) if name else Scenario(name="digits", partition="dirichlet", model="mlp", rounds=12, lr=0.1)
    attacks, defenses = _list(wish, "attacks"), _list(wish, "defenses")
    _refuse_unknown(attacks, defenses)
    byzantine, seeds = _whole(wish, "byzantine", 0, 1000), _whole(wish, "seeds", 1, 100, default=3)
    alpha = _real(wish, "alpha", 0.01, 1e6)
    changes: dict[str, int | str] = {"rounds": rounds} if rounds else {}
    changes |= {"partition": "dirichlet"} if alpha else {}
    checked = Comparison(
        base=base.changed(**changes) if changes else base,
        attacks=tuple(attacks) or (base.attack,),
        defenses=tuple(defenses) or (base.defense,),
        byzantine=(byzantine or base.byzantine or max(1, base.clients // 5),),
        alphas=(alpha or base.alpha,),
        seeds=tuple(range(base.seed, base.seed + seeds)),
    )
    axes = {"scenario": name, "attacks": attacks, "defenses": defenses, "byzantine": byzantine, "rounds": rounds}
    axes |= {"alpha": alpha} if alpha else {}
    # Another comparison gets another folder; the same one with more seeds goes on where it was.
    digest = hashlib.sha256(json.dumps(axes, sort_keys=True).encode()).hexdigest()
    request = {**axes, "seeds": seeds, "name": f"{base.name}-{digest[:6]}"}
    versus = f"{', '.join(filter(None, checked.attacks))} against {', '.join(checked.defenses)}"
    return Order("compare", versus, request)


def _refuse_unknown(attacks: Sequence[str], defenses: Sequence[str]) -> None:
    """A name that nothing has would only be found out by the job."""
    from secure_fl.adversity import needs_root, space_of
    from secure_fl.lab.museum import EXHIBITS

    for each in attacks:
        space_of(each)
    for each in defenses:
        if each not in EXHIBITS:
            needs_root(each)


def _axes(request: Mapping[str, Any]) -> list[str]:
    flags = [f"--attack={each}" for each in request["attacks"]] + [f"--defense={each}" for each in request["defenses"]]
    numbers = {name: request.get(name) for name in ("byzantine", "alpha", "seeds", "rounds")}
    flags += [f"--{name}={value:g}" for name, value in numbers.items() if value]
    return flags + ([f"--scenario={request['scenario']}"] if request["scenario"] else [])


def _audit(wish: Mapping[str, Any], home: Path) -> Order:
    row, what = RunIndex(home).row(_run_id(wish)), _plain(wish, "what") or "verify"
    if what not in ("verify", "scan"):
        raise ConfigError(f"`what` is {what[:20]!r}", fix="choose one of: verify, scan")
    if what == "verify" and not (home / "runs" / row.id / "audit").is_dir():
        raise NotFoundError(f"run {row.id} was not audited", fix="start a run with the setting audit")
    return Order("audit", f"{what} {row.id}", {"run_id": row.id, "what": what})


# -- values of a wish


def _run_id(wish: Mapping[str, Any]) -> str:
    id = _plain(wish, "run_id")
    if not re.fullmatch(r"\d{8}-\d{6}-[0-9a-z]{4,}", id):
        raise NotFoundError(f"no run {id[:40]!r}")
    return id


def _plain(wish: Mapping[str, Any], key: str) -> str:
    value = wish.get(key) or ""
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigError(f"`{key}` is not a plain text")
    return value.strip()


def _list(wish: Mapping[str, Any], key: str) -> Sequence[str]:
    values = wish.get(key) or []
    if not isinstance(values, list) or len(values) > _MOST or not all(isinstance(each, str) for each in values):
        raise ConfigError(f"`{key}` is not a list of at most {_MOST} names")
    if odd := [each for each in values if not re.fullmatch(r"[A-Za-z0-9_+.,=()-]{1,80}", each)]:
        raise ConfigError(f"`{key}` holds {odd[0][:40]!r}", fix="give names such as sign_flip or nnm+krum")
    return values


def _whole(wish: Mapping[str, Any], key: str, low: int, high: int, *, default: int = 0) -> int:
    value = wish.get(key)
    if value in (None, ""):
        return default
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise ConfigError(f"`{key}` is {str(value)[:20]!r}", fix=f"give a whole number from {low} to {high}")
    return number


def _real(wish: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """0 where there is none."""
    value = wish.get(key)
    if value in (None, ""):
        return 0.0
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise ConfigError(f"`{key}` is {str(value)[:20]!r}", fix=f"give a number from {low:g} to {high:,.0f}")
    return number


def _yes(wish: Mapping[str, Any], key: str) -> bool:
    return wish.get(key) in (True, "on", "true", "1")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
