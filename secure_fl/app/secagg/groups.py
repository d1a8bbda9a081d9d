"""Grouping in real runs: two queries before the first round, a transcript in the run's folder and in every share order.

    query.secagg_commit   run, size, sites     ←  commitment
    query.secagg_reveal   run, commitments     ←  reveal

The transcript proves itself (`secagg.grouping`), so it may lie with the coordinator: a resumed run goes on with the
groups that it has, and a site whose process was started anew finds its own signatures in it. Sites that were absent
from the draw are in no group and sit the run out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict

from secure_fl.app.courier import Courier, is_lost
from secure_fl.app.identity import Roster
from secure_fl.app.membership import EventSink, Member
from secure_fl.app.messages import record_of
from secure_fl.config import RunConfig
from secure_fl.protection import threshold_of
from secure_fl.runs.atomic import write_atomic
from secure_fl.secagg.convening import Convener, Participant
from secure_fl.secagg.errors import Malformed, SecAggError, SecondGrouping, TooFewMembers, WrongGroup
from secure_fl.secagg.grouping import Commitment, Groups, Plan, Reveal, Transcript, groups_of
from secure_fl.secagg.terms import Terms

__all__ = ["COMMIT", "REVEAL", "Draw", "GroupMember", "Grouped", "form_groups", "groups_on_record"]

COMMIT, REVEAL = "query.secagg_commit", "query.secagg_reveal"

_RECORD, _TRIP_S = "secagg", 60.0


@dataclass(frozen=True)
class Draw:
    """What a site is asked to take part in: groups of at least `size` among the first `sites` sites of its roster."""

    run: str
    size: int
    sites: int

    @property
    def plan(self) -> Plan:
        """What the core needs of it; raises Malformed."""
        try:
            return Plan(self.run, self.size)
        except ValueError as error:
            raise Malformed("a draw of no run, or into no groups", why=str(error)) from None

    @property
    def fewest(self) -> int:
        """Sites without which nobody takes part: whoever leaves others out chooses."""
        return threshold_of(self.sites)


@dataclass(frozen=True)
class Grouped:
    """Groups by roster index, each ascending, and the transcript that they follow from."""

    members: tuple[tuple[int, ...], ...]
    proof: bytes


# -- the coordinator


def groups_on_record(keys: Mapping[int, bytes], draw: Draw, *, folder: Path) -> Grouped:
    """The groups that an earlier life of the run has formed among these identities; none where it had not come so far.

    A simulated federation has new identities in each life: its sites have drawn nothing yet, and do so now.

    Raises:
        SecAggError: the file was altered.
    """
    path = folder / _file_of(keys)
    if not path.exists():
        return Grouped((), b"")
    proof = path.read_bytes()
    return Grouped(groups_of(Transcript.from_bytes(proof), keys, fewest=draw.fewest).members, proof)


def form_groups(
    courier: Courier,
    members: list[Member],
    keys: Mapping[int, bytes],
    draw: Draw,
    *,
    folder: Path,
    events: EventSink,
) -> Grouped:
    """Draw the run's groups among `members`, and keep the transcript in `folder`.

    keys: Ed25519 public keys by roster index, of all sites of the run.

    Raises:
        SecAggError: too few sites commit themselves, or one withholds: a run under another name may draw again.
    """
    convener = Convener(draw.plan, keys, fewest=draw.fewest)

    def committed(index: int, reply: Message) -> None:
        convener.take_commitment(index, Commitment.from_bytes(_bytes(reply, "commitment")))

    def revealed(index: int, reply: Message) -> None:
        convener.take_reveal(index, Reveal.from_bytes(_bytes(reply, "reveal")))

    asked = ConfigRecord({"run": draw.run, "size": draw.size, "sites": draw.sites})
    _ask(courier, members, COMMIT, asked, committed, events)
    said = convener.close_commitments()
    shown = ConfigRecord({"run": draw.run, "commitments": [each.to_bytes() for each in said]})
    indexes = {each.index for each in said}
    _ask(courier, [each for each in members if each.entry.index in indexes], REVEAL, shown, revealed, events)
    transcript, groups = convener.close()
    proof = transcript.to_bytes()
    file = _file_of(keys)
    digest = write_atomic(folder / file, proof)
    names = {member.entry.index: member.name for member in members}
    told = [[names[index] for index in group] for group in groups.members]
    events.append("groups-formed", groups=told, transcript_sha256=digest, file=file)
    return Grouped(groups.members, proof)


def _file_of(keys: Mapping[int, bytes]) -> str:
    identities = hashlib.sha256(b"".join(keys[index] for index in sorted(keys))).hexdigest()
    return f"groups-{identities[:12]}.transcript"


def _ask(
    courier: Courier,
    members: list[Member],
    kind: str,
    content: ConfigRecord,
    take: Callable[[int, Message], None],
    events: EventSink,
) -> None:
    messages = {
        member: Message(RecordDict({_RECORD: content}), dst_node_id=member.node_id, message_type=kind, group_id="0")
        for member in members
    }
    for sent, reply in courier.arrivals(courier.send(messages, round=0), timeout_s=_TRIP_S):
        if is_lost(reply):
            events.append("reply-missing", round=0, site=sent.member.name, reason="unreachable")
            continue
        try:
            if reply.has_error():
                raise SecAggError(reply.error.reason or "no reason given")
            take(sent.member.entry.index, reply)
        except SecAggError as error:
            events.append("reply-rejected", round=0, site=sent.member.name, reason=error.code, detail=str(error)[:500])


def _bytes(message: Message, name: str) -> bytes:
    value = record_of(message, _RECORD, ConfigRecord).get(name)
    if not isinstance(value, bytes):
        raise Malformed(f"a message without `{name}`")
    return value


# -- the site


class GroupMember:
    """A site in the draws of its runs, one a run: what it has drawn and agreed to is remembered as long as it lives."""

    def __init__(self, index: int, sign: Callable[[bytes], bytes]) -> None:
        self._index, self._sign = index, sign
        self._runs: dict[str, tuple[Draw, Participant]] = {}

    def commit(self, message: Message, roster: Roster, *, fewest: int) -> Commitment:
        """Our commitment to the draw that the coordinator proposes.

        Raises:
            TooFewMembers: the groups have fewer than `fewest` sites.
            SecAggError: as `Participant.commit`.
        """
        record = record_of(message, _RECORD, ConfigRecord)
        run, size, sites = record.get("run"), record.get("size"), record.get("sites")
        if not isinstance(run, str) or type(size) is not int or type(sites) is not int:
            raise Malformed("an order to commit without run, size or sites")
        if size < fewest:
            raise TooFewMembers(f"groups of {size} sites", why=f"we hide among at least {fewest}")
        draw = Draw(run, size, sites)
        return self._participant(draw, roster).commit(draw.plan)

    def reveal(self, message: Message) -> Reveal:
        """What we had drawn, over the commitments that the coordinator shows; raises SecAggError."""
        record = record_of(message, _RECORD, ConfigRecord)
        run, said = record.get("run"), record.get("commitments")
        if not isinstance(run, str) or run not in self._runs or not isinstance(said, list):
            raise Malformed("an order to reveal for no draw of ours")
        commitments = [Commitment.from_bytes(each) for each in said if isinstance(each, bytes)]
        return self._runs[run][1].reveal(commitments)

    def check(self, terms: Terms, proof: bytes, config: RunConfig, roster: Roster) -> None:
        """Refuse to be added up with others than those of the group that we compute from the transcript.

        Raises:
            WrongGroup: another group, or another run or size than was drawn for.
            SecAggError: as `Participant.groups`.
        """
        draw = Draw(terms.slot.run, config.secagg_group_size, config.sites)
        read = Transcript.from_bytes(proof)
        if read.plan != draw.plan:
            raise WrongGroup(f"groups of {read.plan.size} in run {read.plan.run}", why=f"the terms are of {draw.plan}")
        groups: Groups = self._participant(draw, roster).groups(proof)
        whole = groups.members[groups.of(self._index)]
        groups.check(self._index, terms.slot.group, terms.members, fewest=threshold_of(len(whole)))

    def _participant(self, draw: Draw, roster: Roster) -> Participant:
        if draw.run not in self._runs:
            keys = {each.index: bytes.fromhex(each.identity_key) for each in roster.first(draw.sites).entries}
            site = Participant(self._index, self._sign, keys, fewest=draw.fewest, random=os.urandom)
            self._runs[draw.run] = draw, site
        ours, participant = self._runs[draw.run]
        if ours.sites != draw.sites:
            raise SecondGrouping(f"a draw among {draw.sites} sites", why=f"ours in this run is among {ours.sites}")
        return participant
