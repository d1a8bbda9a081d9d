"""The parts of an audit's report that a run record already knows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path

from audit.report.limits import AUDITED, NOT_PROVEN, THREAT_MODEL
from audit.report.measurements import Privacy, Spending
from audit.report.sections import (
    DataPart,
    Environment,
    Measure,
    Model,
    Refusal,
    Robustness,
    Run,
    Scope,
    Setting,
)
from secure_fl.audited.secagg import AUDITED as MASKS_AUDITED
from secure_fl.audited.secagg import NOT_PROVEN as MASKS_NOT_PROVEN
from secure_fl.compositions import FEDAVG
from secure_fl.config import RunConfig
from secure_fl.privacy.accounting import epsilon
from secure_fl.privacy.ledger import Ledger
from secure_fl.runs import RunRecord

__all__ = ["environment_part", "model_part", "robustness_part", "run_part", "scope_part", "spent", "unmeasured_privacy"]

_LIBRARIES = ("scapy", "cryptography")
_PINS = Path(__file__).resolve().parents[2] / "constraints.txt"
_SUM_CHECKS = (
    "the identity and signature of each site, under terms, model and keys that all have in common",
    "length and type of the masked vector",
    "each opened share, against what its owner committed itself to",
)
_CHECKS = (
    "finite numbers only",
    "shape, type and architecture of the update",
    "its round, its run and the site's signature",
    "the claimed number of images, against the roster or a cap",
    "the norm of the update, against a cap",
)


def run_part(record: RunRecord, seconds: float) -> Run:
    """Which run it is. `seconds`: how long it took."""
    config, summary = record.config, record.summary()
    started = datetime.fromisoformat(summary.started or summary.created or "1970-01-01T00:00:00+00:00")
    remote = f", {config.remote_sites} of them on other machines" if config.remote_sites else " on one machine"
    return Run(
        id=record.id,
        title=f"{config.model} on {Path(config.dataset).name}",
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        duration_s=round(seconds, 3),
        topology=f"{config.sites} sites{remote} and a coordinator, over TLS 1.3",
        sites=tuple(f"site-{index}" for index in range(config.sites)),
        rounds=max((row.round for row in summary.rounds), default=0),
    )


def scope_part(record: RunRecord, *, indexed: int) -> Scope:
    """What was audited and what not. `indexed`: sites whose pictures were searched for."""
    config, unproven = record.config, list(NOT_PROVEN)
    resumed = record.summary().start.get("resumed_from_round")
    if resumed:
        unproven.append(f"Anything about rounds 1 to {resumed}: the run was resumed after them, and this is its rest.")
    if indexed < config.sites:
        unproven.append(
            f"That no picture of {config.sites - indexed} of the {config.sites} sites was sent as bare pixels: these "
            "sites hold their pictures on other machines, so only the general tests for pictures applied to them."
        )
    unproven.append(
        "That no changed picture was sent as bare pixels: resized, recoded or augmented ones are found by the tests "
        "for what looks like a picture, not by comparison with the sites' own."
    )
    if config.attack:
        unproven.append("Anything about a real federation: this run simulated an attack.")
    if config.secagg != "none":
        unproven += MASKS_NOT_PROVEN
    audited = (*AUDITED, *MASKS_AUDITED) if config.secagg != "none" else AUDITED
    return Scope(audited=audited, threat_model=THREAT_MODEL, not_proven=tuple(unproven))


def robustness_part(record: RunRecord) -> Robustness:
    """How updates were combined, and whom the guard turned away."""
    config = record.config
    by_site: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in record.rounds():
        for each in row.excluded:
            by_site[each.site, f"{each.outcome}: {each.reason}" if each.reason else each.outcome].append(str(row.round))
    tolerates = (
        "none: the mean follows any one site"
        if config.defense == FEDAVG
        else f"{config.byzantine} of {config.sites} hostile sites, by the rule's own assumptions"
        + (f", which each spoil one of {config.secagg_groups} groups" if config.secagg == "grouped" else "")
    )
    return Robustness(
        aggregator=config.defense,
        tolerates=tolerates,
        checks=_CHECKS if config.secagg == "none" else _SUM_CHECKS,
        refusals=tuple(Refusal(site, tuple(rounds), why) for (site, why), rounds in sorted(by_site.items())),
    )


def model_part(record: RunRecord, merkle_roots: Mapping[str, str]) -> Model:
    """The model, before and after, and the data as far as they may be told. `merkle_roots`: by site, where known."""
    config, summary = record.config, record.summary()
    start, end, last = summary.start, summary.end, summary.last
    checkpoints = record.checkpoints()
    joined = {event["site"]: event for event in record.events() if event.kind == "site-joined"}
    measures = (
        [
            Measure("accuracy on the coordinator's test images", f"{last.accuracy:.1%}"),
            Measure("loss on them", f"{last.loss:.4f}"),
        ]
        if last is not None and last.accuracy is not None and last.loss is not None
        else []
    )
    limitations = ["It was measured on the coordinator's test images only."]
    if config.attack:
        limitations.append("It comes from a simulated attack and is not for use.")
    return Model(
        name=f"{config.model} of run {record.id}",
        architecture=config.model,
        parameters=int(start.get("parameters") or 0),
        spec_sha256=str(start.get("spec_digest") or ""),
        sha256_before=checkpoints[0].sha256 if checkpoints else "",
        sha256_after=str(end.get("model_file_sha256") or ""),
        intended_use="classification of images like those that it was trained on; research until validated",
        limitations=tuple(limitations),
        measures=tuple(measures),
        dataset=Path(config.dataset).name,
        classes=len(last.per_class_accuracy) if last is not None else 0,
        data=tuple(
            DataPart(site, int(event["samples"] or 0), str(event["data"]), merkle_roots.get(site, ""))
            for site, event in sorted(joined.items())
        ),
    )


def environment_part(record: RunRecord) -> Environment:
    """Versions, git state and settings of the run."""
    described = record.environment or {}
    git = described.get("git") or {}
    packages = {name: version for name, version in described.get("packages", {}).items() if version}
    audited_with = {name: metadata.version(name) for name in _LIBRARIES}
    settings = record.config.to_mapping()
    return Environment(
        versions={
            "secure-fl": str(described.get("secure_fl")),
            "python": str(described.get("python")),
            **packages,
            **audited_with,
        },
        commit=str(git.get("commit") or ""),
        dirty=bool(git.get("dirty", False)),
        lock_sha256=hashlib.sha256(_PINS.read_bytes()).hexdigest() if _PINS.is_file() else "",
        platform=str(described.get("platform", "")),
        settings=tuple(
            Setting(key, _without_folders(value), str(record.origins.get(key, "default")))
            for key, value in settings.items()
        ),
    )


def spent(record: RunRecord, ledgers: Mapping[str, Path]) -> tuple[Spending, ...]:
    """What each site's ledger says that this run has cost; nothing where there is no differential privacy."""
    config, lines = record.config, []
    for site, path in sorted(ledgers.items()):
        entries = [each for each in Ledger(path).spendings() if each.run == record.id] if path.is_file() else []
        if not entries:
            continue
        first = entries[0].event
        cost = epsilon((each.event for each in entries), config.dp_delta, "prv")
        clipped = config.dp_clip if config.dp_at_sites else config.dp_client_clip
        lines.append(
            Spending(
                site=site,
                unit="site" if entries[0].unit == "client" else "image",
                mechanism=first.mechanism + (" with test randomness: not private" if entries[0].test_rng else ""),
                noise_multiplier=first.noise_multiplier,
                clip=clipped,
                sample_rate=first.sample_rate,
                steps=sum(each.event.steps for each in entries),
                delta=config.dp_delta,
                accountant="PRV",
                epsilon=cost.value,
            )
        )
    return tuple(lines)


def unmeasured_privacy(config: RunConfig) -> Privacy:
    """The section of a run without differential privacy."""
    return Privacy("This run had no differential privacy: nothing bounds what its updates tell.", (), ())


def _without_folders(value: object) -> str:
    """A path by its name alone: where somebody keeps files is nobody's business."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text
