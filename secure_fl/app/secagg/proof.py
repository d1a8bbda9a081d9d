"""What a run's record proves of its secure sums, to whoever has the roster; no federation and no secrets are needed.

`secure_fl.secagg.evidence` judges the slots; here they are read from the record's events, held against the run's own
settings and id, and against the rounds: one that moved the model must have sums, over exactly the sites that it names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from secure_fl.errors import IntegrityError
from secure_fl.runs import RunRecord
from secure_fl.secagg.evidence import Fault, SlotEvidence, judge
from secure_fl.secagg.terms import Policy

__all__ = ["SumsProof", "prove_sums", "recorded_roster"]


@dataclass(frozen=True)
class SumsProof:
    """slots: attempts at sums; summed: those that gave one; faults: what an honest site would not have agreed to."""

    slots: int
    summed: int
    faults: tuple[Fault, ...]


def prove_sums(record: RunRecord, roster: Mapping[int, bytes]) -> SumsProof:
    """Judge all secure sums of a run. roster: index to Ed25519 public key (32 bytes).

    Raises:
        SecAggError: an event is no evidence at all. IntegrityError: the record cannot be read.
    """
    events = [each for each in record.events() if each.kind == "secagg-slot"]
    slots = [SlotEvidence.from_mapping(each.fields) for each in events]
    summed = [slot for slot, each in zip(slots, events, strict=True) if each["outcome"] == "summed"]
    faults = judge(slots, roster, _policy(record))
    faults += [
        Fault(f"round {slot.terms.slot.round}", "the sum is of another run")
        for slot in slots
        if slot.terms.slot.run != record.id
    ]
    return SumsProof(len(slots), len(summed), (*faults, *_rounds_without(record, summed)))


def recorded_roster(record: RunRecord) -> dict[int, bytes]:
    """The identity keys by which the coordinator says that it judged; the sites' own roster is the one to trust.

    Raises:
        IntegrityError: the record has none.
    """
    try:
        keys = record.summary().start["secagg"]["roster"]
        return {int(index): bytes.fromhex(key) for index, key in keys.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise IntegrityError(f"run {record.id} does not say whose keys its sites have") from None


def _policy(record: RunRecord) -> Policy:
    """What the sites were asked to accept, by the run's settings."""
    config = record.config
    return Policy(
        fewest=config.secagg_group_size if config.secagg == "grouped" else config.sites,
        rings=frozenset({int(config.secagg_bits)}),
        largest_clip=config.secagg_clip,
        colluders=config.secagg_colluders,
    )


def _rounds_without(record: RunRecord, summed: list[SlotEvidence]) -> list[Fault]:
    """Rounds that moved the model by other sites than those of one attempt's sums (a group may have been rejected)."""
    names = {event.get("index"): event["site"] for event in record.events() if event.kind == "site-joined"}
    sums: dict[tuple[int, int], list[set[str]]] = defaultdict(list)
    for slot in summed:
        where = slot.terms.slot
        sums[where.round, where.attempt].append({names.get(index, f"site {index}") for index in slot.survivors})
    faults = []
    for event in record.events():
        if event.kind != "round-finished" or not (accepted := {*event.get("accepted", ())}):
            continue
        attempts = [groups for (number, _), groups in sums.items() if number == event["round"]]
        if not any(accepted == set().union(*(each for each in groups if each <= accepted)) for groups in attempts):
            faults.append(Fault(f"round {event['round']}", "its sites are not those of its sums"))
    return faults
