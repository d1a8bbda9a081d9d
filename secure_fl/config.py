"""Every setting of a run, in one frozen object.

A setting is declared once, here: its default, range, unit and one line of help. Command-line flags,
`-c key=value`, environment variables, TOML files, Flower's run config and the documentation are all
derived from these declarations (`secure_fl.config_sources` merges them by precedence).

Keys are kebab-case outside Python (Flower's convention) and snake_case inside. `RunConfig` checks
each value, then each combination, and refuses with the key, the value, and what would be accepted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from typing import Any

from secure_fl.compositions import FEDAVG
from secure_fl.errors import ConfigError
from secure_fl.settings import Scalar, checked, key_of, setting

__all__ = ["GROUPS", "RunConfig", "Scalar", "flower_defaults", "key_of", "setting_fields"]

# What `quorum` is where it is not set.
_QUORUM = 0.6

GROUPS = ("data", "model", "training", "privacy", "secagg", "defense", "federation", "audit", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """All settings of one run. Construction validates; a RunConfig that exists is usable."""

    # data
    dataset: str = setting(
        "digits",
        "digits, cifar10, fashion-mnist, or a path: image folder, .tar archive, MedMNIST .npz",
        "data",
    )
    data_dir: str = setting("", "folder that holds the files of a named dataset", "data")
    download: bool = setting(False, "allow cifar10 to be downloaded into data-dir", "data")
    samples: int = setting(0, "use only this many training images, over all sites; 0: all", "data", low=0)
    test_samples: int = setting(0, "use only this many test images; 0: all", "data", low=0)
    image_size: int = setting(
        0, "side of the square that images are resized to; 0: by dataset", "data", low=0, high=512, unit="px"
    )
    skip_bad_images: bool = setting(False, "leave unreadable images out (and count them) instead of stopping", "data")
    partition: str = setting(
        "dirichlet",
        "how images are dealt to sites",
        "data",
        choices=("iid", "dirichlet", "shards", "quantity"),
    )
    alpha: float = setting(
        0.5, "concentration of dirichlet and quantity; smaller is more skewed", "data", low=0.01, high=1e6
    )
    classes_per_site: int = setting(2, "classes that each site holds under shards", "data", low=1)
    min_size: int = setting(10, "fewest images that a site may get", "data", low=1, unit="images")
    val_fraction: float = setting(
        0.1, "share of each site's images kept for its own validation", "data", low=0.0, high=0.5
    )

    # model
    model: str = setting("mobilenet_v2", "architecture", "model", choices=("mobilenet_v2", "light_cnn", "tanh_cnn"))
    norm: str = setting("group", "normalisation layers", "model", choices=("group", "batch", "frozen-batch"))
    group_size: int = setting(16, "channels in a group under norm=group", "model", low=1, high=1024, unit="channels")
    stem: str = setting(
        "auto",
        "first layers: imagenet halves the image early, small-images does not",
        "model",
        choices=("auto", "imagenet", "small-images"),
    )
    width: float = setting(1.0, "width multiplier of MobileNetV2", "model", low=0.1, high=2.0)
    dropout: float = setting(0.2, "dropout before the classifier", "model", low=0.0, high=0.9)
    train_part: str = setting(
        "all",
        "what is trained: all layers, or the classifier alone (head), on features that are computed once",
        "model",
        choices=("all", "head"),
    )
    weights: str = setting("", "start from a .safetensors file, or `torchvision` to download; empty: scratch", "model")

    # training
    rounds: int = setting(6, "federated rounds", "training", low=1, high=100_000)
    local_epochs: int = setting(2, "passes over its images that a site makes in a round", "training", low=1, high=1000)
    batch_size: int = setting(16, "images in a local step", "training", low=1, high=65536, unit="images")
    lr: float = setting(0.02, "learning rate of local SGD", "training", low=1e-8, high=100.0)
    lr_schedule: str = setting(
        "constant",
        "learning rate by round: constant, or falling in a line from lr towards 0 after the last round",
        "training",
        choices=("constant", "linear"),
    )
    momentum: float = setting(0.9, "momentum of local SGD; starts anew each round", "training", low=0.0, high=0.9999)
    grad_clip: float = setting(
        1.0, "L2 norm to which a batch's gradient is scaled down; 0: no limit", "training", low=0.0, high=1e9
    )
    weight_decay: float = setting(0.0, "L2 penalty of local SGD", "training", low=0.0, high=1.0)
    average: float = setting(
        0.0,
        "weight of the past in a running average of the global models, which is what is evaluated and saved; 0: none",
        "training",
        low=0.0,
        high=0.9999,
    )
    augment: str = setting(
        "none", "random changes of training images", "training", choices=("none", "flip", "flip-crop")
    )

    # privacy
    dp_epsilon: float = setting(
        0.0, "privacy budget ε of the run, for each image (or site, by dp-unit); 0: no privacy", "privacy", low=0.0
    )
    dp_delta: float = setting(
        1e-5, "δ that goes with dp-epsilon; below one over a site's images", "privacy", low=1e-15, high=0.1
    )
    dp_unit: str = setting(
        "sample",
        "whom ε protects: sample: each image, by DP-SGD at its site; client: each site, by the coordinator, or under "
        "secagg=full by the sites together; or both",
        "privacy",
        choices=("sample", "client", "both"),
    )
    dp_sample_rate: float = setting(
        0.1, "probability with which an image enters a step of DP-SGD", "privacy", low=1e-6, high=1.0
    )
    dp_clip: float = setting(1.0, "L2 norm to which each image's gradient is clipped", "privacy", low=1e-6, high=1e6)
    dp_client_clip: float = setting(
        1.0, "L2 norm to which each site's update is clipped under dp-unit=client", "privacy", low=1e-6, high=1e6
    )
    dp_noise_multiplier: float = setting(
        0.0, "noise of DP-SGD, in units of dp-clip; 0: the least that keeps dp-epsilon", "privacy", low=0.0, high=1e6
    )
    dp_views: int = setting(
        1, "augmented views of an image, averaged before its gradient is clipped", "privacy", low=1, high=64
    )
    dp_sgd: str = setting(
        "local",
        "who adds the noise of DP-SGD: local: each site enough for itself; distributed: each site a share, so that the "
        "sum over all sites, which is all that anybody sees, has enough (needs secagg=full)",
        "privacy",
        choices=("local", "distributed"),
    )
    insecure_test_rng: bool = setting(
        False, "draw privacy's randomness from `seed`: repeatable, and not private", "privacy"
    )

    # secure aggregation
    secagg: str = setting(
        "none",
        "secure aggregation: none: the coordinator sees each update; full: only the sum over all sites; "
        "grouped: only the sum of each group of sites, over which a robust rule decides",
        "secagg",
        choices=("none", "full", "grouped"),
    )
    secagg_group_size: int = setting(
        0, "sites in a group under secagg=grouped: its sum is all that is seen of them", "secagg", low=0, unit="sites"
    )
    secagg_clip: float = setting(
        5.0, "L2 norm to which a site scales its update down before it is masked", "secagg", low=1e-6, high=1e6
    )
    secagg_bits: str = setting(
        "32", "bits of a masked number on the wire; 16 halves the traffic", "secagg", choices=("16", "32")
    )
    secagg_colluders: int = setting(
        0, "sites that are assumed to tell the coordinator all that they know", "secagg", low=0, unit="sites"
    )
    validation_gate: float = setting(
        0.0,
        "undo a round after which accuracy on the coordinator's root images fell by more than this; 0: keep all",
        "secagg",
        low=0.0,
        high=1.0,
    )

    # defense
    defense: str = setting(
        FEDAVG,
        "how updates are combined: fedavg, or a robust rule after any pre-aggregators, e.g. nnm+trimmed_mean",
        "defense",
    )
    byzantine: int = setting(0, "how many of the sites the rule assumes to be hostile (f)", "defense", low=0)
    root_samples: int = setting(
        0,
        "test images kept from testing: the coordinator trains on them (fltrust) or judges rounds by them "
        "(validation-gate)",
        "defense",
        low=0,
    )
    attack: str = setting(
        "", "simulated attack, e.g. alie or backdoor_patch; kinds on the wire can be joined by +", "defense"
    )
    attackers: int = setting(0, "how many sites (the last ones) carry the attack out", "defense", low=0)

    # federation
    grid: str = setting(
        "deployment",
        "deployment: real processes over TLS; local: in this process; ray: Flower's simulation",
        "federation",
        choices=("deployment", "local", "ray"),
    )
    sites: int = setting(5, "number of sites", "federation", low=1, high=1000)
    remote_sites: int = setting(
        0,
        "how many of the sites (the last ones) are started elsewhere, by `secure-fl federation site`",
        "federation",
        low=0,
    )
    quorum: float = setting(
        0.0,
        "share of sites whose replies a round needs; 0: 0.6, or more if the defense does",
        "federation",
        low=0.0,
        high=1.0,
    )
    round_timeout_s: float = setting(
        900.0, "longest that a round waits for its sites", "federation", low=1.0, high=86400.0, unit="s"
    )
    join_timeout_s: float = setting(
        180.0, "longest that the coordinator waits for sites to join", "federation", low=1.0, high=86400.0, unit="s"
    )
    sample_cap: int = setting(
        100_000, "largest sample count that a site's reply may claim", "federation", low=1, unit="images"
    )
    max_update_norm: float = setting(
        1e4, "an update with a larger L2 norm is turned away", "federation", low=1e-6, high=1e12
    )
    host: str = setting("127.0.0.1", "address on which remote sites reach the coordinator", "federation")
    port: int = setting(0, "port for the sites; 0: any free one", "federation", low=0, high=65535)
    allow_stock_supernodes: bool = setting(
        False, "let sites in that cannot show a client certificate (node key only)", "federation"
    )

    # audit
    audit: bool = setting(
        False, "capture all that crosses the wire, account for it, and write a signed report", "audit"
    )
    auditor: str = setting(
        "", "the auditor's public key (X25519, PEM), to which session secrets are sealed; empty: one made here", "audit"
    )

    # run
    seed: int = setting(0, "seed of partition, initial weights, batches and dropout", "run", low=0, high=2**31 - 1)
    threads: int = setting(1, "CPU threads of each site's training", "run", low=1, high=256)
    device: str = setting("cpu", "where to train: cpu or cuda", "run", choices=("cpu", "cuda"))

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, checked(each, getattr(self, each.name)))
        _refuse_contradictions(self)

    @property
    def quorum_sites(self) -> int:
        """Number of sites that a round needs: ceil(quorum · sites), at least one."""
        return self._quorum_of(self.sites) if self.secagg == "grouped" else self.quorum_voters

    @property
    def quorum_voters(self) -> int:
        """Of the `voters`, sites or groups, how many a round needs: ceil(quorum · voters), at least one."""
        chosen = self._quorum_of(self.voters)
        return chosen if self.quorum else max(chosen, self._fewest_voters)

    def _quorum_of(self, count: int) -> int:
        return max(1, math.ceil((self.quorum or _QUORUM) * count - 1e-9))

    @property
    def _fewest_voters(self) -> int:
        """The least number of vectors that the defense can decide over."""
        if self.defense == FEDAVG:
            return 1
        from secure_fl.adversity import fewest_replies  # numpy: not for a command line that only prints its help

        return fewest_replies(self.defense, sites=self.voters, byzantine=self.byzantine)

    @property
    def dp_at_sites(self) -> bool:
        """Whether sites train by DP-SGD."""
        return self.dp_epsilon > 0 and self.dp_unit in ("sample", "both")

    @property
    def dp_of_sites(self) -> bool:
        """Whether the coordinator clips and noises the sites' updates."""
        return self.dp_epsilon > 0 and self.dp_unit in ("client", "both")

    @property
    def dp_distributed(self) -> bool:
        """Whether noise is added in shares at the sites, so that only their sum holds enough (distributed DP)."""
        return self.secagg == "full" and (self.dp_of_sites or (self.dp_at_sites and self.dp_sgd == "distributed"))

    @property
    def dp_withholds(self) -> bool:
        """Whether privacy holds against the coordinator, so that nothing measured on images may leave a site."""
        return self.dp_at_sites or self.dp_distributed

    @property
    def secagg_groups(self) -> int:
        """How many sums a round of secure aggregation opens; 0 without it."""
        return {"none": 0, "full": 1, "grouped": self.sites // max(1, self.secagg_group_size)}[self.secagg]

    @property
    def voters(self) -> int:
        """How many vectors the defense decides over: one a site, or one a group."""
        return self.secagg_groups if self.secagg == "grouped" else self.sites

    @property
    def dp_steps(self) -> int:
        """Steps of DP-SGD in a round: as many as draw each image `local_epochs` times on average, at least one.

        One under dp-sgd=distributed, where each round is one step that all sites take together.
        """
        return 1 if self.dp_sgd == "distributed" else max(1, round(self.local_epochs / self.dp_sample_rate))

    def lr_in(self, round: int) -> float:
        """The learning rate of a round, 1 .. rounds."""
        return self.lr * (1 - (round - 1) / self.rounds) if self.lr_schedule == "linear" else self.lr

    def to_mapping(self) -> dict[str, Scalar]:
        """All settings by kebab-case key, in the order of declaration (Flower's run config)."""
        return {key_of(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build from kebab- or snake-case keys.

        Raises:
            ConfigError: a key is unknown (the nearest known one is named), or a value is refused.
        """
        known = {each.name for each in fields(cls)}
        chosen = {}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in known:
                raise unknown_key(key)
            chosen[name] = value
        return cls(**chosen)

    def changed(self, values: Mapping[str, Any]) -> RunConfig:
        """The same settings but for `values`, checked like any other; raises as `from_mapping` does."""
        return self.from_mapping({**self.to_mapping(), **{key_of(key): value for key, value in values.items()}})

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of all settings; equal configs have equal digests."""
        text = json.dumps(self.to_mapping(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def setting_fields() -> tuple[Field[Any], ...]:
    """The declarations, for those who derive flags, forms or documentation from them."""
    return fields(RunConfig)


def flower_defaults() -> dict[str, Scalar]:
    """What `[tool.flwr.app.config]` must hold, so that `flwr run` accepts each key as an override."""
    return RunConfig().to_mapping()


def unknown_key(key: str) -> ConfigError:
    """The refusal of a key that no setting has, naming the nearest one."""
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), [key_of(f.name) for f in fields(RunConfig)], n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`secure-fl config show` lists all settings"
    return ConfigError(f"unknown setting `{key}`", fix=hint)


def _refuse_contradictions(config: RunConfig) -> None:
    """Combinations that cannot give what their parts promise."""
    if config.image_size and config.image_size < 8:
        raise ConfigError(f"`image-size` is {config.image_size}", fix="give 0, or at least 8 px")
    if config.remote_sites > config.sites:
        raise ConfigError(
            f"`remote-sites` is {config.remote_sites} but `sites` is {config.sites}", fix="give at least as many sites"
        )
    if config.remote_sites and config.grid != "deployment":
        raise ConfigError(
            f"`remote-sites` is {config.remote_sites} but `grid` is {config.grid}", fix="choose --grid deployment"
        )
    if config.audit and config.grid != "deployment":
        raise ConfigError(
            f"`audit` is set but `grid` is {config.grid}",
            why="nothing crosses a wire there that could be captured",
            fix="choose --grid deployment",
        )
    if config.audit and config.allow_stock_supernodes:
        raise ConfigError(
            "`audit` is set but `allow-stock-supernodes` is too",
            why="a stock SuperNode fetches the app as an archive, in which an audit cannot tell code from pictures",
            fix="choose one of them",
        )
    if config.auditor and not config.audit:
        raise ConfigError("`auditor` is set but `audit` is not", fix="give --audit")
    if config.norm == "frozen-batch" and not config.weights:
        raise ConfigError(
            "`norm` is frozen-batch but `weights` is empty",
            why="frozen statistics of an untrained network carry no information",
            fix="give --weights FILE, or choose norm=group",
        )
    if config.train_part == "head" and not config.weights:
        raise ConfigError(
            "`train-part` is head but `weights` is empty",
            why="features of an untrained network carry little information",
            fix="give --weights FILE",
        )
    if config.train_part == "head" and config.augment != "none":
        raise ConfigError(
            f"`train-part` is head but `augment` is {config.augment}",
            why="features are computed once for each image",
            fix="leave augment at none, or train all layers",
        )
    if config.model != "mobilenet_v2" and config.weights == "torchvision":
        raise ConfigError(
            f"`weights` is torchvision but `model` is {config.model}", fix="torchvision has MobileNetV2 only"
        )
    if config.model != "mobilenet_v2" and config.norm != "group":
        raise ConfigError(
            f"`norm` is {config.norm} but `model` is {config.model}", fix=f"{config.model} has group norm only"
        )
    if config.dp_at_sites and config.norm == "batch":
        raise ConfigError(
            "`norm` is batch but `dp-epsilon` is set",
            why="BatchNorm mixes the images of a batch, so that no image's influence can be bounded",
            fix="choose norm=group or norm=frozen-batch",
        )
    if config.dp_at_sites and config.weight_decay:
        raise ConfigError(
            f"`weight-decay` is {config.weight_decay:g} but `dp-epsilon` is set",
            why="DP-SGD here has no weight decay; noise already regularises",
            fix="leave weight-decay at 0",
        )
    if config.dp_views > 1 and config.augment == "none":
        raise ConfigError(
            f"`dp-views` is {config.dp_views} but `augment` is none", why="all views would be the same", fix="--augment"
        )
    if not config.dp_epsilon:
        for key, value in (("dp-noise-multiplier", config.dp_noise_multiplier), ("dp-views", config.dp_views - 1)):
            if value:
                raise ConfigError(f"`{key}` is set but `dp-epsilon` is 0", fix="give --dp-epsilon")
        if config.insecure_test_rng:
            raise ConfigError("`insecure-test-rng` is set but `dp-epsilon` is 0", fix="give --dp-epsilon")
    secagg_set = config.secagg != "none" or config.secagg_group_size or config.secagg_colluders
    if secagg_set or config.validation_gate or config.dp_sgd != "local":
        from secure_fl.protection import refuse_protection

        refuse_protection(config)
    if config.defense != FEDAVG or config.byzantine or config.root_samples or config.attack or config.attackers:
        from secure_fl.adversity import refuse_adversity

        refuse_adversity(config)
