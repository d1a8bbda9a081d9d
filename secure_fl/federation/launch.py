"""Run (or resume) a run record on the grid that its config names; one entry point for all grids."""

from __future__ import annotations

from pathlib import Path

from secure_fl.adversity import remembers
from secure_fl.errors import ConfigError, FederationError, SecureFLError
from secure_fl.federation.quiet import quiet_flower
from secure_fl.runs import ResourceSampler, RunRecord

__all__ = ["execute"]


def execute(record: RunRecord, home: Path) -> None:
    """Run `record` to its end and draw its plots; the outcome is the record's `run-finished` event.

    A stop request (`record.request_stop()`) ends it after the running round; whoever resumes a run clears
    an old request first (`record.clear_stop()`). KeyboardInterrupt stops it at once: every process is
    ended, the interruption is recorded, and the exception goes on.

    Raises:
        ConfigError: it cannot be resumed; nothing has been written.
        SecureFLError: the run failed, with the reason that its record states.
    """
    quiet_flower()
    with record.driving():
        _refuse_forgetting(record)
        _drive(record, home)


def _refuse_forgetting(record: RunRecord) -> None:
    """A rule with a memory cannot go on in another process as if nothing had happened."""
    checkpoint, defense = record.last_checkpoint(), record.config.defense
    if checkpoint is not None and checkpoint.round > 0 and remembers(defense):
        raise ConfigError(
            f"run {record.id} cannot be resumed",
            why=f"{defense} remembers the rounds before, and a record does not hold what it remembers",
            fix="start the run again",
        )


def _drive(record: RunRecord, home: Path) -> None:
    before = len(record.events())
    try:
        with ResourceSampler(record.folder / "resources.jsonl"):
            _on_grid(record, home)
    except KeyboardInterrupt:
        _record_end(record, before, "interrupted", None)
        raise
    except SecureFLError as error:
        _record_end(record, before, "failed", error)
        _draw(record)
        raise
    except Exception as error:
        _record_end(record, before, "failed", FederationError(f"{type(error).__name__}: {error}"))
        raise
    _draw(record)
    _raise_recorded_failure(record, before)


def _on_grid(record: RunRecord, home: Path) -> None:
    match record.config.grid:
        case "deployment":
            from secure_fl.federation.deployment import deploy

            deploy(record, home)
        case "local":
            from secure_fl.federation.simulation import run_locally

            run_locally(record)
        case "ray":
            from secure_fl.federation.simulation import run_on_ray

            run_on_ray(record)
        case other:
            raise ConfigError(f"no grid `{other}`")


def _draw(record: RunRecord) -> None:
    from secure_fl.runs.plots import draw_plots

    draw_plots(record)


def _outcome(record: RunRecord, before: int) -> dict[str, object] | None:
    """The fields of the `run-finished` event that this execution wrote, if it got that far."""
    for event in reversed(record.events()[before:]):
        if event.kind == "run-finished":
            return dict(event.fields)
    return None


def _record_end(record: RunRecord, before: int, status: str, error: SecureFLError | None) -> None:
    """Record an end that the round loop had no chance to record."""
    if _outcome(record, before) is not None:
        return
    rounds = record.rounds()
    last = rounds[-1] if rounds else None
    record.append(
        "run-finished",
        status=status,
        round=last.round if last else 0,
        loss=last.loss if last else None,
        accuracy=last.accuracy if last else None,
        seconds=None,
        model_sha256=None,
        error=None if error is None else {"code": error.code, "what": error.what, "why": error.why, "fix": error.fix},
    )


def _raise_recorded_failure(record: RunRecord, before: int) -> None:
    """The round loop runs in another process; give its error to our caller."""
    outcome = _outcome(record, before)
    if outcome is None:
        error = FederationError("the coordinator ended without an outcome", fix=f"see {record.folder / 'logs'}")
        _record_end(record, before, "failed", error)
        raise error
    told = outcome["error"]
    if isinstance(told, dict):
        raise _as_exception(told)


def _as_exception(told: dict[str, str]) -> SecureFLError:
    """The recorded error as the class with its code, so that the exit code is right."""
    classes = {each.code: each for each in SecureFLError.__subclasses__()}
    return classes.get(told["code"], FederationError)(told["what"], why=told["why"], fix=told["fix"])
