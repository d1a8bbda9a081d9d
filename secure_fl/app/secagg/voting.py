"""What the coordinator makes of the sums of a round: one mean, or a vote of a robust rule over the means of groups.

Each sum is first held against the longest that honest sites can make it (`secagg.norms`). In groups a longer one is
turned away, and counts as one of the f that the rule tolerates; if there is one sum only, the round is undone. A group
without a sum may be honest, and lowers nothing. Rules are unweighted, because each group's weight is its members'
claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from defenses.guard import l2_norm
from secure_fl.app.membership import EventSink
from secure_fl.app.secagg.rounds import GroupSum, Part
from secure_fl.app.strategy import Aggregator, Offer
from secure_fl.config import RunConfig
from secure_fl.errors import QuorumError
from secure_fl.secagg.norms import longest_mean

__all__ = ["Verdict", "Voting"]

Vector = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Verdict:
    """What came of the sums.

    step: (d,); accepted: sites, by roster index, whose sums were not turned away; facts: for `round-finished`.
    """

    step: Vector
    accepted: tuple[int, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Voting:
    """The rule of a run in which only sums are seen. names: of the sites, by roster index."""

    config: RunConfig
    aggregator: Aggregator
    names: Mapping[int, str]

    def judge(
        self,
        round: int,
        parts: Sequence[Part],
        sums: Sequence[GroupSum],
        *,
        reference: Vector | None,
        events: EventSink,
    ) -> Verdict:
        """The step that the sums make. reference: the coordinator's own update, where the rule compares with one.

        Raises:
            QuorumError: too few groups have a sum.
        """
        fair = [each for each in sums if not self._too_long(round, parts[each.group], each, events)]
        if self.config.secagg == "full":
            return self._whole(round, sums[0], fair, events)
        opened = {each.group for each in sums}
        for part in parts:
            if part.slot.group not in opened:
                reason = str(part.failure or "no sum")
                events.append("group-missing", round=round, group=part.slot.group, sites=self._of(part), reason=reason)
        turned_away = sorted(opened - {each.group for each in fair})
        caught = min(len(turned_away), self.config.byzantine)
        if not fair or len(fair) + caught < self.config.quorum_voters:
            raise QuorumError(
                f"round {round}: {len(fair)} usable sums of groups, {self.config.quorum_voters} are needed",
                why=f"of {len(parts)} groups {len(opened)} gave a sum",
                fix="`secure-fl runs show` names the sites; then `runs resume`",
            )
        made = self.aggregator.judge(
            Offer(
                round=round,
                updates=[each.update for each in fair],
                samples=[each.weight for each in fair],
                sites=[each.group for each in fair],
                refused=turned_away,
                reference=reference,
            )
        )
        kept = [each for each, let_in in zip(fair, made.kept, strict=True) if let_in]
        weights = (
            None if made.weights is None else {f"group {g.group}": w for g, w in zip(fair, made.weights, strict=True)}
        )
        return Verdict(
            made.step,
            tuple(index for each in fair for index in each.sites),
            {
                "kept": [self.names[index] for each in kept for index in each.sites],
                "kept_groups": [each.group for each in kept],
                "group_weights": weights,
            },
        )

    def _whole(self, round: int, only: GroupSum, fair: Sequence[GroupSum], events: EventSink) -> Verdict:
        if fair:
            return Verdict(only.update, only.sites, {})
        events.append("round-rolled-back", round=round, reason="the sum is longer than honest sites can make it")
        return Verdict(np.zeros_like(only.update), (), {})

    def _too_long(self, round: int, part: Part, found: GroupSum, events: EventSink) -> bool:
        most = longest_mean(
            self.config.secagg_clip,
            coordinates=part.terms.words,
            members=len(part.terms.members),
            scale=part.layout.codec.scale,
            weight=found.weight,
        )
        norm = l2_norm(found.update)
        if norm <= most:
            return False
        detail = f"its mean has norm {norm:.4g}, and {most:.4g} is the most that its members can reach"
        sites = [self.names[index] for index in found.sites]
        events.append("group-rejected", round=round, group=found.group, sites=sites, reason="norm", detail=detail)
        return True

    def _of(self, part: Part) -> list[str]:
        return [self.names[index] for index in part.terms.members]
