"""Where a run stands: round, time left, accuracy, and what has been spent of its privacy."""

from __future__ import annotations

from dataclasses import dataclass

from secure_fl.cli.progress_view import RunView, sparkline
from secure_fl.runs import RunStatus
from webui.reading.records import Run

__all__ = ["Progress", "SiteState", "progress_of"]

_PHASES = {"starting": "starting", "waiting for sites": "waiting for sites", "training": "sites are training"}


@dataclass(frozen=True)
class SiteState:
    """What a site is doing in the round that runs: waiting, training, replied, late, rejected, missing or gone."""

    name: str
    state: str


@dataclass(frozen=True)
class Progress:
    """For the card of a run. share: of all rounds, 0 … 1; left_s: None before the first round and after the last.

    epsilon, limit: of the first promise of privacy; None in a run without.
    """

    status: RunStatus
    phase: str
    round: int
    rounds: int
    share: float
    left_s: float | None
    active_s: float
    accuracy: float | None
    loss: float | None
    epsilon: float | None
    limit: float | None
    delta: float | None
    trend: str
    sites: tuple[SiteState, ...]
    simulation: str

    @property
    def replied(self) -> int:
        """Sites that have answered in this round."""
        return sum(each.state == "replied" for each in self.sites)


def progress_of(run: Run, *, now_s: float) -> Progress:
    """`now_s`: seconds since 1970."""
    view = RunView(run.config.rounds)
    for event in run.events:
        view.apply(event, now=event.epoch_s)
    summary, is_running = run.summary, run.status is RunStatus.RUNNING
    last = summary.last
    promise = view.privacy[0] if view.privacy else {}
    simulation = summary.start.get("simulation")
    return Progress(
        status=run.status,
        phase=_phase(view) if is_running else run.status.value,
        round=view.round if is_running else view.done,
        rounds=run.config.rounds,
        share=view.share(),
        left_s=view.seconds_left(now=now_s) if is_running else None,
        active_s=summary.active_s,
        accuracy=last.accuracy if last else None,
        loss=last.loss if last else None,
        epsilon=(view.epsilon[max(view.epsilon)] if view.epsilon else 0.0) if promise else None,
        limit=promise.get("epsilon"),
        delta=promise.get("delta"),
        trend=sparkline([view.accuracy[each] for each in sorted(view.accuracy)]),
        sites=tuple(SiteState(name, state) for name, state in view.sites.items()),
        simulation=simulation["attack"] if simulation else "",
    )


def _phase(view: RunView) -> str:
    if view.phase == "training" and view.round_began is None:
        return "evaluating"
    return _PHASES.get(view.phase, view.phase)
