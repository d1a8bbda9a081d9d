"""A scenario: everything that decides the numbers of one experiment, in one frozen object with a hash.

Published comparisons fail to repeat because a table's settings are spread over flags, defaults and code. Here a TOML
file is resolved into a *manifest* that holds every value, and `digest` is the manifest's SHA-256: equal digests, equal
numbers. Names and folders are no part of it, because they change nothing; `ENGINE` is, because a new engine may.

One `seed` gives five independent streams: data, init (first weights), batches, attack, defense. So two scenarios that
differ in their defense alone train the same honest clients on the same batches: comparisons are paired.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from secure_fl.compositions import Step, parse, spell
from secure_fl.config import Scalar, key_of
from secure_fl.errors import ConfigError, NotFoundError
from secure_fl.protection import refuse_group_size

__all__ = ["ENGINE", "Scenario"]

ENGINE = 1
"""Raised whenever the same scenario would give other numbers than before."""

_LABELS = ("name", "teaches", "data_dir")  # change nothing that is measured
# Settings that came later: where secure aggregation is off they are no part of the manifest, so that digests last.
_SECAGG = ("secagg", "secagg_group_size", "secagg_clip")
_CHOICES = {
    "secagg": ("none", "full", "grouped"),
    "partition": ("iid", "dirichlet", "shards", "quantity"),
    "weighting": ("equal", "samples"),
    "augment": ("none", "flip", "flip-crop", "flip-pad"),
    "poisoning": ("once", "each-batch"),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "samples": (0, math.inf), "test_samples": (0, math.inf), "root_samples": (0, math.inf), "image_size": (0, 512),
    "alpha": (0.01, 1e6), "classes_per_site": (1, math.inf), "min_size": (1, math.inf), "val_fraction": (0.0, 0.5),
    "pixel_mean": (0.0, 1.0), "pixel_std": (0.0, 10.0), "clients": (1, 1000), "byzantine": (0, 999),
    "attackers": (-1, 1000), "rounds": (1, 100_000), "local_epochs": (1, 1000), "batch_size": (1, 65536),
    "lr": (1e-8, 100.0), "momentum": (0.0, 0.9999), "weight_decay": (0.0, 1.0), "grad_clip": (0.0, 1e9),
    "secagg_group_size": (0, 1000), "secagg_clip": (1e-6, 1e6),
    "evaluate_every": (1, 100_000), "seed": (0, 2**31 - 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All settings of one simulated federation. Construction validates; keys are kebab-case in TOML.

    Settings that `RunConfig` has too mean the same there. The others:

    clients, byzantine: n, and the f that the defense has to tolerate.
    attackers: how many clients attack; -1: as many as `byzantine`. Which ones is drawn from the seed.
    attack: what they do, at most one attack on data, one on updates, one on the wire: `backdoor_patch+scaled`.
    defense: the rule, after its pre-aggregators; `fedavg` is none, `lab.museum` has some that are meant to fail.
    secagg: what the coordinator sees, as in a run (`lab.grouping`); the rule then decides over means of groups.
    weighting: `samples` weights the rows that a rule keeps by their number of images, as FedAvg and Flower do.
    poisoning: whether attackers change their images `once`, or in `each-batch` after augmentation.
    augment: `flip-pad` is a crop out of the image with 4 black px around it, and a flip.
    root_samples: training images that the coordinator keeps for itself (FLTrust).
    pixel_mean, pixel_std: normalisation of all channels; std 0: the data set's own.
    evaluate_every: rounds between two tests; the last round is always tested.
    """

    name: str = ""
    teaches: str = ""
    dataset: str = "digits"
    data_dir: str = ""
    samples: int = 0
    test_samples: int = 0
    root_samples: int = 100
    image_size: int = 0
    partition: str = "iid"
    alpha: float = 0.5
    classes_per_site: int = 2
    min_size: int = 10
    val_fraction: float = 0.0
    pixel_mean: float = 0.0
    pixel_std: float = 0.0
    model: str = "light_cnn"
    clients: int = 10
    byzantine: int = 0
    attackers: int = -1
    attack: str = ""
    defense: str = "mean"
    secagg: str = "none"
    secagg_group_size: int = 0
    secagg_clip: float = 5.0
    weighting: str = "equal"
    poisoning: str = "once"
    rounds: int = 10
    local_epochs: int = 1
    batch_size: int = 16
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    augment: str = "none"
    evaluate_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each.name, getattr(self, each.name), type(each.default)))
        if self.attackers < 0:
            object.__setattr__(self, "attackers", self.byzantine)
        object.__setattr__(self, "attack", spell(parse(self.attack)) if self.attack.strip() else "")
        object.__setattr__(self, "defense", spell(parse(self.defense)))
        _refuse_contradictions(self)

    @property
    def attack_steps(self) -> tuple[Step, ...]:
        """The attacks by name, with their parameters; none where nobody attacks."""
        return parse(self.attack) if self.attack and self.attackers else ()

    @property
    def defense_steps(self) -> tuple[Step, ...]:
        """The steps of the defense, in order."""
        return parse(self.defense)

    def manifest(self) -> dict[str, Scalar]:
        """Every setting that decides a number, by kebab-case key, and the version of the engine."""
        hidden = _LABEL_KEYS if self.secagg != "none" else _LABEL_KEYS | _SECAGG_KEYS
        return {"engine": ENGINE, **{key: value for key, value in self.to_mapping().items() if key not in hidden}}

    def digest(self) -> str:
        """SHA-256 (hex) over the manifest as canonical JSON."""
        text = json.dumps(self.manifest(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_mapping(self) -> dict[str, Scalar]:
        """All settings by kebab-case key, in the order of declaration."""
        return {key_of(name): value for name, value in asdict(self).items()}

    def changed(self, **values: Scalar) -> Scenario:
        """The same scenario but for `values` (snake-case), checked like any other."""
        attackers = {"attackers": -1} if self.attackers == self.byzantine and "attackers" not in values else {}
        return Scenario.from_mapping({**self.to_mapping(), **attackers, **values})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Scenario:
        """Build from kebab- or snake-case keys; those of a manifest are understood.

        Raises:
            ConfigError: a key is unknown, a value is refused, or the manifest is of another engine.
        """
        known = {each.name for each in fields(cls)}
        chosen: dict[str, Any] = {}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name == "engine":
                _refuse_engine(value)
            elif name not in known:
                raise _unknown(key, known)
            else:
                chosen[name] = value
        return cls(**chosen)

    @classmethod
    def load(cls, path: Path) -> Scenario:
        """Read a TOML file; without a `name` in it, the scenario is called as the file.

        Raises:
            NotFoundError: there is no such file.
            ConfigError: it is not TOML, or as `from_mapping`; the message names the file.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFoundError(f"cannot read scenario {path}", why=error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML", why=str(error)) from None
        try:
            return cls.from_mapping({"name": path.stem, **table})
        except ConfigError as error:
            raise ConfigError(f"{error.what} (in {path})", why=error.why, fix=error.fix) from None


_LABEL_KEYS = frozenset(key_of(name) for name in _LABELS)
_SECAGG_KEYS = frozenset(key_of(name) for name in _SECAGG)


def _checked(name: str, value: Any, wanted: type[Any]) -> Any:
    """`value` as the declared type and in its range, or a refusal that says what would be accepted."""
    key = key_of(name)
    if isinstance(value, str) and wanted is not str:  # from `-c key=value`
        with suppress(ValueError):
            value = wanted(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, wanted):
        words = {int: "a whole number", float: "a number", str: "text"}[wanted]
        raise ConfigError(f"`{key}` is {value!r}", fix=f"give {words}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ConfigError(f"`{key}` is {value!r}", fix=f"choose one of: {', '.join(_CHOICES[name])}")
    if name in _RANGES:
        low, high = _RANGES[name]
        if not low <= value <= high:  # NaN is in no range
            raise ConfigError(f"`{key}` is {value}", fix=f"give a value of {low:g} or more, and at most {high:g}")
    return value


def _refuse_contradictions(scenario: Scenario) -> None:
    n, f, attackers = scenario.clients, scenario.byzantine, scenario.attackers
    if not f < n:
        raise ConfigError(f"`byzantine` is {f} but `clients` is {n}", fix="give more clients than Byzantine ones")
    if attackers >= n:
        raise ConfigError(f"`attackers` is {attackers} but `clients` is {n}", why="nobody would be left to attack")
    if scenario.secagg == "grouped":
        refuse_group_size(scenario.secagg_group_size, sites=n)
    elif scenario.secagg_group_size:
        raise ConfigError(
            f"`secagg-group-size` is {scenario.secagg_group_size} but `secagg` is {scenario.secagg}",
            fix="give -c secagg=grouped",
        )
    if scenario.secagg != "none" and scenario.weighting == "samples":
        raise ConfigError(
            f"`weighting` is samples but `secagg` is {scenario.secagg}", why="numbers of images are masked, too"
        )
    if scenario.image_size and scenario.image_size < 8:
        raise ConfigError(f"`image-size` is {scenario.image_size}", fix="give 0, or at least 8 px")


def _refuse_engine(version: Any) -> None:
    if version != ENGINE:
        raise ConfigError(f"the manifest is of engine {version}, this is engine {ENGINE}", why="numbers would differ")


def _unknown(key: str, known: set[str]) -> ConfigError:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), [key_of(each) for each in known], n=1)
    return ConfigError(f"unknown setting `{key}`", fix=f"did you mean `{near[0]}`?" if near else "")
