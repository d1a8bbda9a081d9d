"""`secure-fl run`: resolve the settings, refuse early, record the run, show it, and report how it ended.

`drive` is everything after the record exists, and is what `secure-fl runs resume` calls too.

Stopping: the first Ctrl-C (or SIGTERM) asks the run to finish its round and save; the second raises
KeyboardInterrupt, upon which the grid ends all its processes. Both end in exit code 130 and print
the command that goes on from the last finished round.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from secure_fl.cli.config_flags import RUN_FLAGS, with_settings
from secure_fl.cli.output import current, examples, home, shown_path
from secure_fl.cli.progress import Follower, PlainScreen, Screen, StreamScreen
from secure_fl.cli.progress_view import RunView, duration, percent, plural
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import BudgetError, FederationError, InterruptedRunError, NotFoundError, SecureFLError

if TYPE_CHECKING:
    from rich.console import Console

    from secure_fl.runs import RunRecord

__all__ = ["Execute", "app", "drive"]

Execute = Callable[["RunRecord", Path], None]

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    epilog=examples(
        "secure-fl run --preset smoke --grid local",
        "secure-fl run --preset smoke --grid local --sites 2 -c momentum=0.5",
    )
)
@with_settings(*RUN_FLAGS)
def run(resolved: ResolvedConfig) -> None:
    """Train one model over all sites, and record the run under HOME/runs.

    Every setting without a flag of its own is set by [cyan]-c key=value[/cyan];
    [cyan]secure-fl config show[/cyan] lists them all.
    """
    from secure_fl.runs import RunRecord

    resolved = _anchored(resolved)
    _refuse_early(resolved.config)
    record = RunRecord.create(home(), resolved, command=["secure-fl", *sys.argv[1:]])
    drive(record, home())


def _anchored(resolved: ResolvedConfig) -> ResolvedConfig:
    """The same settings with absolute paths: a run may be resumed from another folder."""
    from secure_fl.data import DATASETS

    config = resolved.config
    paths = {
        "dataset": config.dataset,
        "data_dir": config.data_dir,
        "weights": config.weights,
        "auditor": config.auditor,
    }
    names = {"", "torchvision", *DATASETS}
    absolute = {key: str(Path(path).expanduser().absolute()) for key, path in paths.items() if path not in names}
    return replace(resolved, config=config.changed(absolute))


def _refuse_early(config: RunConfig) -> None:
    """Raise what would end the run anyway, before anything is written."""
    from secure_fl.data import site_sizes

    if config.weights not in ("", "torchvision") and not Path(config.weights).is_file():
        raise NotFoundError(f"no weights file {config.weights}", fix="give --weights FILE, or leave it out")
    site_sizes(config)
    if config.auditor:
        from secure_fl.federation.auditor import read_recipient

        read_recipient(Path(config.auditor))
    if config.weights not in ("", "torchvision") and not config.attack:
        _refuse_simulated_start(config.weights)


def _refuse_simulated_start(weights: str) -> None:
    """A run without an attack must not launder the mark of one: its model would carry no mark."""
    from secure_fl.models import card_of, refuse_simulated

    card = card_of(weights)
    if card is not None:
        refuse_simulated(weights, card)


def launch(record: RunRecord, home: Path) -> None:
    """`federation.launch.execute`, imported only now."""
    from secure_fl.federation.launch import execute

    execute(record, home)


def drive(record: RunRecord, home: Path, *, execute: Execute = launch) -> None:
    """Run or resume `record` to its end, with progress; prints the result.

    Raises:
        typer.Exit: the run failed or was interrupted; the error is already printed.
    """
    output, view = current(), RunView(total=record.config.rounds)
    output.note(_headline(record))
    record.clear_stop()
    try:
        with _following(record, view), _stop_signals(record, view):
            execute(record, home)
        _check_outcome(record, view, home)
    except KeyboardInterrupt:
        _end(_interrupted(record, view, home), record, view)
    except SecureFLError as error:
        _end(error, record, view)
    except Exception:
        output.note(f"the record is in {shown_path(record.folder)}/")
        raise
    output.result(summary(record, view), lambda console: _outcome(console, record, view))


def summary(record: RunRecord, view: RunView) -> dict[str, Any]:
    """What a program gets: paths, and accuracy and loss by round (index 0: the initial model)."""
    rounds = sorted(view.accuracy)
    finished = view.finished
    return {
        "run_id": record.id,
        "run_dir": record.folder,
        "status": finished["status"] if finished else record.status(),
        "rounds": view.done,
        "accuracy": [view.accuracy[number] for number in rounds],
        "loss": [view.loss[number] for number in rounds],
        "final_accuracy": view.accuracy[rounds[-1]] if rounds else None,
        "final_loss": view.loss[rounds[-1]] if rounds else None,
        "seconds": finished.get("seconds") if finished else None,
        "model_file": _existing(record.folder / "model.safetensors"),
        "model_sha256": finished.get("model_sha256") if finished else None,
        "model_file_sha256": finished.get("model_file_sha256") if finished else None,
        "epsilon": [view.epsilon[number] for number in sorted(view.epsilon)],
        "privacy": list(view.privacy),
        "audit": _audit(record, view),
        "config_digest": record.config.digest(),
    }


@contextmanager
def _following(record: RunRecord, view: RunView) -> Iterator[None]:
    with Follower(record.follow().poll, view, _screen(), note=current().note):
        yield


def _screen() -> Screen:
    output = current()
    if output.format == "jsonl":
        return StreamScreen(output)
    if output.quiet or not sys.stderr.isatty():
        return PlainScreen(output)
    from secure_fl.cli.live import LiveScreen

    return LiveScreen(output, output.console(sys.stderr))


@contextmanager
def _stop_signals(record: RunRecord, view: RunView) -> Iterator[None]:
    """First SIGINT or SIGTERM: finish the round; SIGINT after that: KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if not view.stopping:
            view.stopping = True
            record.request_stop()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _headline(record: RunRecord) -> str:
    config = record.config
    dataset = Path(config.dataset).name or config.dataset
    counts = (f"{config.sites} {plural('site', config.sites)}", f"{config.rounds} {plural('round', config.rounds)}")
    return " · ".join((record.id, dataset, config.model, *counts, config.grid))


def _outcome(console: Console, record: RunRecord, view: RunView) -> None:
    """The last lines: where things are, then how it ended."""
    from rich.markup import escape

    folder = escape(shown_path(record.folder))
    seconds = (view.finished and view.finished.get("seconds")) or sum(view.seconds.values())
    last = max(view.accuracy)
    scores = f"accuracy {percent(view.accuracy[last])}, {last} {plural('round', last)}, {duration(seconds)}"
    for line in view.privacy:
        spoiled = f"  [bold red]NOT PRIVATE[/]: {escape(str(line['not_private']))}" if "not_private" in line else ""
        promise = f"(ε = {line['epsilon']:.2f}, δ = {line['delta']:g}) for each {line['unit']}, {line['accountant']}"
        assumed = f"; assuming that {line['assumes']}" if "assumes" in line else ""
        console.print(
            f"{'privacy':<10} {promise}; against {line['protects_against']}{assumed}{spoiled}", soft_wrap=True
        )
    if view.audit is not None:
        told = view.audit
        console.print(f"{'audit':<10} [bold green]{told['verdict']}[/]: {escape(told['reason'])}", soft_wrap=True)
        console.print(f"{'report':<10} {folder}/{told['bundle']}/report.html", soft_wrap=True)
    for title, name in (("model", "model.safetensors"), ("plots", "plots")):
        if (record.folder / name).exists():
            console.print(f"{title:<10} {folder}/{name}", soft_wrap=True)
    console.print(f"[bold green]succeeded:[/] {scores} · {folder}/", soft_wrap=True)


def _check_outcome(record: RunRecord, view: RunView, home: Path) -> None:
    """Raise what the record says, unless the run succeeded."""
    match view.finished and view.finished["status"]:
        case "succeeded":
            _check_audit(record, view)
        case "interrupted":
            raise _interrupted(record, view, home)
        case other:
            raise FederationError(f"run {record.id} ended as {other or 'unfinished'}", why="its record says no more")


def _check_audit(record: RunRecord, view: RunView) -> None:
    """Raise if the run was to be audited and did not pass: the gate is closed unless the verdict is PASS."""
    if not record.config.audit:
        return
    told = view.audit
    if told is None:
        raise BudgetError("the audit did not come to a verdict", fix=f"see {shown_path(record.folder / 'logs')}")
    if told["verdict"] != "PASS":
        raise BudgetError(
            f"the audit's verdict is {told['verdict']}",
            why=told["reason"],
            fix=f"read {shown_path(record.folder / told['bundle'] / 'report.html')}",
        )


def _audit(record: RunRecord, view: RunView) -> dict[str, Any] | None:
    """What a program gets of the audit; None for a run without."""
    if view.audit is None:
        return None
    told = view.audit
    return {"verdict": told["verdict"], "reason": told["reason"], "bundle": record.folder / told["bundle"]}


def _interrupted(record: RunRecord, view: RunView, home: Path) -> InterruptedRunError:
    place = [] if home == Path.cwd() else ["--home", str(home)]
    return InterruptedRunError(
        f"run {record.id} was stopped; {view.done} of {view.total} rounds are finished and saved",
        fix=shlex.join(["secure-fl", *place, "runs", "resume", record.id]),
    )


def _end(error: SecureFLError, record: RunRecord, view: RunView) -> NoReturn:
    output = current()
    logs = record.folder / "logs"
    output.error(error, data=summary(record, view))
    if not isinstance(error, InterruptedRunError):
        place = logs if logs.is_dir() else record.folder
        output.note(f"failed: the record is in {shown_path(record.folder)}/, logs in {shown_path(place)}/")
    raise typer.Exit(error.exit_code)


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
