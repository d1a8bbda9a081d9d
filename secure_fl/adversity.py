"""What a run assumes of its sites (`defense`, `byzantine`) and what is done to it (`attack`, `attackers`).

The settings are text and numbers; here they become the objects of `defenses` and `attacks`, and combinations that
could not keep their promise are refused with the arithmetic. `byzantine` is the f that a rule is built for: how many
of the sites it assumes to be hostile. `attackers` is how many are. They may differ: that is an experiment.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from attacks.base import AttackError, UpdateAttack
from attacks.data import DataAttack
from attacks.registry import DATA_ATTACKS, UPDATE_ATTACKS, WIRE_ATTACKS
from attacks.registry import build as attack_named
from attacks.wire import WireAttack
from defenses.base import DefenseError
from defenses.composition import Composition
from defenses.registry import PRE_AGGREGATORS, RULES
from defenses.registry import build as composed
from secure_fl.compositions import FEDAVG, Step, parse, spell
from secure_fl.errors import ConfigError

__all__ = [
    "Attack",
    "Space",
    "build_attack",
    "build_defense",
    "fewest_replies",
    "needs_root",
    "refuse_adversity",
    "remembers",
    "space_of",
    "without_parameters",
]

Attack = UpdateAttack | DataAttack | WireAttack

# Rules with a memory; tests/test_adversity.py finds them out by trying each.
_REMEMBERING = ("centered_clipping", "foolsgold")
# These misuse time or connections, which the local grid does not have.
_NEED_A_NETWORK = ("late", "duplicate", "sybil")


_NAMES = {
    "defense": (*PRE_AGGREGATORS, *RULES),
    "attack": (*UPDATE_ATTACKS, *DATA_ATTACKS, *WIRE_ATTACKS),
}


class Space(StrEnum):
    """Where an attack acts: on what a site computes, on what it computes from, or on what it sends."""

    UPDATE = "update"
    DATA = "data"
    WIRE = "wire"


class Adversity(Protocol):
    """The settings that this module judges; a `RunConfig` has them."""

    @property
    def defense(self) -> str: ...
    @property
    def byzantine(self) -> int: ...
    @property
    def root_samples(self) -> int: ...
    @property
    def attack(self) -> str: ...
    @property
    def attackers(self) -> int: ...
    @property
    def sites(self) -> int: ...
    @property
    def voters(self) -> int: ...
    @property
    def secagg(self) -> str: ...
    @property
    def validation_gate(self) -> float: ...
    @property
    def remote_sites(self) -> int: ...
    @property
    def quorum(self) -> float: ...
    @property
    def quorum_voters(self) -> int: ...
    @property
    def grid(self) -> str: ...
    @property
    def dp_at_sites(self) -> bool: ...
    @property
    def dp_of_sites(self) -> bool: ...


def build_defense(text: str, *, sites: int, byzantine: int) -> Composition:
    """The composition that `text` names, for `sites` updates of which `byzantine` are assumed hostile; without history.

    Raises:
        ConfigError: an unknown name (the nearest is named), a wrong parameter, or (sites, f) that it cannot tolerate.
    """
    try:
        return composed(_steps("defense", text), n=sites, f=byzantine)
    except DefenseError as error:
        raise ConfigError(
            f"`defense` is {text} over {sites} updates with `byzantine` {byzantine}",
            why=f"{error.what}: {error.why}",
            fix=error.fix,
        ) from None


@lru_cache(maxsize=64)
def fewest_replies(text: str, *, sites: int, byzantine: int) -> int:
    """The least number of updates that the defense still tolerates `byzantine` hostile ones among.

    Raises:
        ConfigError: as `build_defense`; it does not even tolerate them among all sites.
    """
    build_defense(text, sites=sites, byzantine=byzantine)
    steps, count = _steps("defense", text), sites
    while count > 1:
        try:
            composed(steps, n=count - 1, f=byzantine)
        except DefenseError:
            break
        count -= 1
    return count


def needs_root(text: str) -> bool:
    """Whether the defense compares with an update that the coordinator trains itself (FLTrust)."""
    return any(name == "fltrust" for name, _ in _steps("defense", text))


def remembers(text: str) -> bool:
    """Whether the defense weighs a round by the rounds before it: what it remembers is not saved with the run."""
    return text != FEDAVG and any(name in _REMEMBERING for name, _ in _steps("defense", text))


def build_attack(text: str, *, sites: int, attackers: int, place: int = 0) -> Attack:
    """The attack of the attacker at `place`, the first having 0; where `text` joins several kinds, they take turns.

    Raises:
        ConfigError: an unknown name (the nearest is named) or a wrong parameter.
    """
    kinds = _steps("attack", text)
    name, parameters = kinds[place % len(kinds)]
    try:
        return attack_named(name, parameters, n=sites, f=attackers)
    except AttackError as error:
        raise ConfigError(f"`attack` is {text}", why=f"{error.what}: {error.why}", fix=error.fix) from None


def space_of(text: str) -> Space:
    """Where the attack acts (the first, where several are joined); its name must be a known one."""
    name, _ = _steps("attack", text)[0]
    return Space.UPDATE if name in UPDATE_ATTACKS else Space.DATA if name in DATA_ATTACKS else Space.WIRE


def without_parameters(text: str) -> str:
    """The same composition with every parameter at its default; those that have none stay as they are."""
    return text if text == FEDAVG else spell([_plain(*step) for step in _steps("defense", text)])


def _plain(name: str, given: dict[str, float]) -> Step:
    declared = (RULES[name] if name in RULES else PRE_AGGREGATORS[name]).parameters
    return name, {key: value for key, value in given.items() if declared.get(key) is None}


def refuse_adversity(config: Adversity) -> None:
    """Refuse what cannot keep its promise.

    Raises:
        ConfigError: names the setting, the reason, and what would do.
    """
    _refuse_defense(config)
    _refuse_attack(config)


def _refuse_defense(config: Adversity) -> None:
    if config.defense == FEDAVG:
        if config.byzantine:
            raise ConfigError(
                f"`byzantine` is {config.byzantine} but `defense` is {FEDAVG}",
                why="one hostile site moves a mean wherever it likes",
                fix="choose a robust rule, e.g. --defense nnm+trimmed_mean",
            )
        if config.root_samples and not config.validation_gate:
            raise ConfigError(
                f"`root-samples` is set but `defense` is {FEDAVG}",
                fix="choose --defense fltrust, or give -c validation-gate=0.1",
            )
        return
    needed = fewest_replies(config.defense, sites=config.voters, byzantine=config.byzantine)
    if config.quorum_voters < needed:
        voters, replies = ("groups", "sums") if config.secagg == "grouped" else ("sites", "replies")
        raise ConfigError(
            f"`quorum` is {config.quorum:g} but `defense` is {config.defense}",
            why=f"{config.quorum:g} of {config.voters} {voters} are {config.quorum_voters} {replies}; "
            f"with byzantine={config.byzantine} the rule needs {needed}",
            fix=f"-c quorum={needed / config.voters:.3g}, or leave it out",
        )
    if config.dp_of_sites:
        raise ConfigError(
            f"`defense` is {config.defense} but `dp-unit` gives each site differential privacy",
            why="the sensitivity of the noised sum is known for a mean only",
            fix="choose dp-unit=sample, or leave the defense out",
        )
    if needs_root(config.defense) != (config.root_samples > 0) and not config.validation_gate:
        raise ConfigError(
            f"`root-samples` is {config.root_samples} but `defense` is {config.defense}",
            why="FLTrust, and nothing else, compares updates with one of the coordinator's own, trained on root images",
            fix="give both or neither, e.g. --defense fltrust -c root-samples=100",
        )


def _refuse_attack(config: Adversity) -> None:
    if bool(config.attack) != (config.attackers > 0):
        raise ConfigError(
            f"`attack` is {config.attack!r} but `attackers` is {config.attackers}",
            fix="give both, e.g. --attack sign_flip --attackers 1, or neither",
        )
    if not config.attack:
        return
    if config.attackers >= config.sites:
        raise ConfigError(
            f"`attackers` is {config.attackers} but `sites` is {config.sites}", fix="leave at least one honest site"
        )
    if config.remote_sites:
        raise ConfigError(
            f"`attack` is {config.attack} but `remote-sites` is {config.remote_sites}",
            why="only sites that this machine starts can play an attacker; no coordinator makes a real site one",
            fix="leave remote-sites out",
        )
    if config.dp_at_sites:
        raise ConfigError(
            f"`attack` is {config.attack} but `dp-epsilon` is set",
            why="a simulated attacker keeps no privacy ledger",
            fix="run one or the other",
        )
    if config.grid == "ray":
        raise ConfigError(f"`attack` is {config.attack} but `grid` is ray", fix="choose --grid deployment or local")
    kinds = _steps("attack", config.attack)
    for place in range(len(kinds)):
        build_attack(config.attack, sites=config.sites, attackers=config.attackers, place=place)
    if len(kinds) > 1 and any(name in (*UPDATE_ATTACKS, *DATA_ATTACKS) for name, _ in kinds):
        raise ConfigError(
            f"`attack` is {config.attack}",
            why="attackers that craft updates or poison data act as one; only attacks on the wire can be mixed",
            fix="choose one of them",
        )
    if config.secagg != "none" and space_of(config.attack) is Space.WIRE:
        raise ConfigError(
            f"`attack` is {config.attack} but `secagg` is {config.secagg}",
            why="it forges replies of the clear wire, which a masked round does not have",
            fix="choose an attack on updates or data, or --secagg none",
        )
    timed = [name for name, _ in kinds if name in _NEED_A_NETWORK]
    if timed and config.grid != "deployment":
        raise ConfigError(
            f"`attack` is {timed[0]} but `grid` is {config.grid}",
            why="it misuses time or connections, which this grid does not have",
            fix="choose --grid deployment",
        )


def _steps(setting: str, text: str) -> tuple[Step, ...]:
    try:
        steps = parse(text)
    except ConfigError as error:
        raise ConfigError(f"`{setting}` is {text!r}: {error.what}", why=error.why, fix=error.fix) from None
    known = _NAMES[setting]
    for name, _ in steps:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"`{setting}` is {text!r}: there is no {setting} `{name}`", fix=fix)
    return steps
