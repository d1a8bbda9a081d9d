"""`secure-fl runs`: what was run, how it went, and what to do with it now.

Each command finds one record, calls the service that does the work (`secure_fl.runs`), and hands the
result to `Output`; how it looks is in `runs_view`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fl.cli.output import current, examples, home, shown_path
from secure_fl.errors import IntegrityError, NotFoundError, SecureFLError

if TYPE_CHECKING:
    from secure_fl.runs import RunRecord

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", help="List, show, export, resume and delete runs.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, the beginning of it, or `latest`")]


@app.callback()
def runs() -> None:
    """List, show, export, resume and delete runs."""


@app.command("list", epilog=examples("secure-fl runs list", "secure-fl --format json runs list --last 5"))
def list_runs(
    last: Annotated[int, typer.Option("--last", min=0, help="only this many, the newest; 0: all")] = 0,
) -> None:
    """List all runs, the newest first."""
    from secure_fl.cli.runs_view import list_document, listing
    from secure_fl.runs.index import RunIndex

    index, output = RunIndex(home()), current()
    rows = index.list()
    rows = rows[:last] if last else rows
    for line in (*index.notes, *(f"{row.id} is damaged: {row.note}" for row in rows if row.note)):
        output.note(f"note: {line}")
    if rows or output.machine:
        data = {"runs": list_document(rows), "notes": index.notes}
        output.result(data, lambda console: console.print(listing(rows, console.width)))
    else:
        output.note(f"no runs yet in {shown_path(index.folder)}; start one: secure-fl run --preset demo")


@app.command(epilog=examples("secure-fl runs show latest", "secure-fl --format json runs show latest"))
def show(run: Run) -> None:
    """Show one run: its rounds, its sites, who did not count and why, and its files."""
    from secure_fl.cli.runs_view import Page, detail
    from secure_fl.runs.export import run_document

    record = _open(run)
    summary, files = record.summary(), _files(record.folder)
    data = {**run_document(record, summary), "run_dir": record.folder, "files": dict(files)}
    page = Page(record.id, data["status"], shown_path(record.folder), record.config, summary, files)
    current().result(data, lambda console: console.print(detail(page, console.width)))


@app.command(
    epilog=examples("secure-fl runs export latest --to csv", "secure-fl runs export latest --to json --out exported")
)
def export(
    run: Run,
    to: Annotated[str, typer.Option("--to", metavar="csv|json", help="csv: two tables; json: everything")] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="where to write [RUN's folder/export]")
    ] = None,
) -> None:
    """Write a run's numbers for other tools: rounds.csv and sites.csv, or run.json."""
    from secure_fl.runs.export import ExportFormat
    from secure_fl.runs.export import export as write

    if to not in list(ExportFormat):
        raise typer.BadParameter(f"{to!r} is not one of csv, json", param_hint="--to")
    record = _open(run)
    files = write(record, ExportFormat(to), out)
    current().result({"run_id": record.id, "files": files}, "\n".join(shown_path(each) for each in files))


@app.command(epilog=examples("secure-fl runs delete latest --yes"))
def delete(
    run: Run, yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask; needed without a terminal")] = False
) -> None:
    """Delete a run: its record, checkpoints and model."""
    from secure_fl.cli.columns import size_text
    from secure_fl.runs.index import RunIndex
    from secure_fl.runs.rows import RunStatus

    index, output = RunIndex(home()), current()
    row = index.row(run)
    size_bytes = sum(size for _, size in _files(index.folder / row.id))
    if not yes and row.status != RunStatus.RUNNING:
        output.confirm(f"delete run {row.id} ({row.status}, {row.round} rounds, {size_text(size_bytes)})?")
    index.delete(row.id)
    output.result({"run_id": row.id, "deleted": True}, f"deleted {row.id}, {size_text(size_bytes)} freed")


@app.command(epilog=examples("secure-fl runs verify latest"))
def verify(
    run: Run,
    roster: Annotated[
        Path | None,
        typer.Option(help="The sites' roster, by which to check the signatures of secure aggregation.", dir_okay=False),
    ] = None,
) -> None:
    """Check that nothing in a record was altered: the chain of events, and every file that it names.

    What this cannot see: a chain that was rewritten as a whole, or cut at its end. Keep the last hash
    somewhere else to see that too. Of a run under secure aggregation, every signature is checked as well:
    by the roster that you give, else by the one in the record.
    """
    record = _open(run)
    found = record.verify()
    for line in found.notes:
        current().note(f"note: {line}")
    data = {"run_id": record.id, "events": found.events, "head": found.head, "files": found.files, "notes": found.notes}
    words = f"verified {record.id}: {found.events} events, {len(found.files)} files\nlast hash {found.head}"
    if record.config.secagg != "none":
        sums = _verify_sums(record, roster)
        data["secure_sums"] = sums
        words += f"\n{sums['summed']} secure sums in {sums['attempts']} attempts, every signature checked"
    current().result(data, words)


def _verify_sums(record: RunRecord, roster: Path | None) -> dict[str, int]:
    """How many secure sums stand; raises IntegrityError where one does not."""
    from secure_fl.app.identity import Roster
    from secure_fl.app.secagg.proof import prove_sums, recorded_roster

    if roster is None:
        keys = recorded_roster(record)
        current().note("note: signatures are checked by the roster in the record; give the sites' own with --roster")
    else:
        keys = {each.index: bytes.fromhex(each.identity_key) for each in Roster.read(roster).entries}
    proof = prove_sums(record, keys)
    if proof.faults:
        first = proof.faults[0]
        raise IntegrityError(
            f"a secure sum of run {record.id} does not stand: {first.slot}: {first.what}",
            why=f"{len(proof.faults)} such faults; sites concerned: {sorted({*first.sites}) or 'none by name'}",
        )
    return {"summed": proof.summed, "attempts": proof.slots}


@app.command(epilog=examples("secure-fl runs plot latest"))
def plot(run: Run) -> None:
    """Draw a run's figures: loss and accuracy by round, CPU and memory over time (PNG and SVG)."""
    from secure_fl.runs.plots import draw_plots

    record = _open(run)
    reasons: list[str] = []
    files = draw_plots(record, note=reasons.append)
    if not files:
        raise NotFoundError(f"run {record.id} has nothing to draw", why="; ".join(reasons))
    for line in reasons:
        current().note(line)
    data = {"run_id": record.id, "files": files, "notes": reasons}
    current().result(data, "\n".join(shown_path(each) for each in files))


@app.command(epilog=examples("secure-fl runs stop latest"))
def stop(run: Run) -> None:
    """Ask a run to finish its round, save, and end. `runs resume` goes on from there."""
    from secure_fl.runs.rows import RunStatus

    record = _open(run)
    status = record.status()
    if status not in (RunStatus.RUNNING, RunStatus.CREATED):
        raise SecureFLError(f"run {record.id} is not running", why=f"it is {status}")
    record.request_stop()
    words = f"asked {record.id} to end after the round that it is in"
    current().result({"run_id": record.id, "status": status, "stop_requested": True}, words)


@app.command(epilog=examples("secure-fl runs resume latest"))
def resume(run: Run) -> None:
    """Go on with an interrupted or failed run, from its last complete round."""
    from secure_fl.cli.run import drive
    from secure_fl.runs.rows import RunStatus

    record = _open(run)
    status = record.status()
    if status is RunStatus.SUCCEEDED:
        raise SecureFLError(f"run {record.id} has finished", why="all its rounds are done", fix="start a new one")
    if status is RunStatus.RUNNING:
        raise SecureFLError(
            f"run {record.id} is running",
            why="two processes would write two histories into one record",
            fix=f"`secure-fl runs stop {record.id}` first",
        )
    checkpoint = record.last_checkpoint()
    if checkpoint is None:
        current().note(f"{record.id} has no complete round; it starts anew")
    elif checkpoint.round < record.rounds()[-1].round:
        current().warn(f"the checkpoints after round {checkpoint.round} are damaged; their rounds are repeated")
    record.clear_stop()
    drive(record, home())


def _open(run: str) -> RunRecord:
    from secure_fl.runs import RunRecord
    from secure_fl.runs.index import RunIndex

    return RunRecord.open(RunIndex(home()).find(run))


def _files(folder: Path) -> list[tuple[str, int]]:
    """What lies in a record: paths inside it, with sizes in bytes; temporary and lock files are left out."""
    found = [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.name.startswith(".")]
    return [(str(each.relative_to(folder)), each.stat().st_size) for each in found if each.name != "lock"]
