"""`secure-fl privacy`: how much noise a budget needs, and what the sites' images have cost so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_fl.cli.output import current, examples, home, printable, shown_path
from secure_fl.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from secure_fl.privacy.accounting import Epsilon
    from secure_fl.privacy.ledger import Ledger, Spending

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", help="Plan a privacy budget, and show what is spent.")

# Who derives what is shown; PLD belongs to the tests' extra, so that what is spent does not depend on it.
_TWO = ("prv", "rdp")
_LABELS = {
    "prv": "PRV, an upper bound; what is held against the budget",
    "rdp": "Rényi, an upper bound; looser",
    "pld": "PLD, Google's, to compare with",
}


@app.callback()
def privacy() -> None:
    """Plan a privacy budget, and show what is spent."""


@app.command(
    epilog=examples(
        "secure-fl privacy plan --epsilon 8 --samples 5000 --batch-size 64 --steps 500",
        "secure-fl privacy plan --epsilon 2 --samples 50000 --batch-size 512 --steps 500 --sites 10",
    )
)
def plan(
    epsilon: Annotated[float, typer.Option("--epsilon", metavar="ε", help="what each image may cost, over all steps")],
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="images of the site; of several, the least")],
    batch_size: Annotated[float, typer.Option("--batch-size", metavar="B", help="expected images in a step")],
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="steps in all: rounds times steps in a round")],
    delta: Annotated[float, typer.Option("--delta", metavar="δ", help="has to be below one over the samples")] = 1e-5,
    sites: Annotated[
        int, typer.Option("--sites", metavar="N", help="noise in shares of so many sites, whose samples these are")
    ] = 0,
    colluders: Annotated[int, typer.Option("--colluders", metavar="N", help="how many of them may collude")] = 0,
) -> None:
    """Say how much noise DP-SGD needs to keep a budget, and what it then costs by each accountant.

    With --sites, for dp-sgd=distributed under secagg=full: also how much of it each site adds. Nothing is trained and
    nothing is spent.
    """
    from secure_fl.privacy.planning import plan as planned
    from secure_fl.privacy.planning import shares_of

    found = planned(epsilon=epsilon, delta=delta, samples=samples, batch_size=batch_size, steps=steps)
    shares = shares_of(found.noise_multiplier, sites=sites, colluders=colluders) if sites else None

    def draw(console: Console) -> None:
        console.print(f"noise multiplier σ  [bold]{found.noise_multiplier:.4f}[/bold]")
        console.print(f"sample rate q       {found.sample_rate:.6g}  ({batch_size:g} of {samples:,} images)")
        console.print(f"steps               {steps:,}\n")
        if shares is not None:
            console.print(
                f"each of {sites} sites adds σ = [bold]{shares.each:.4f}[/bold]; {shares.honest} honest ones stay"
            )
            console.print(f"with all alive, σ = {shares.all_alive:.4f} in the sum\n")
        for name, each in found.epsilon.items():
            console.print(f"ε by {name.upper()}  {each.value:8.4f}  [dim]{each.note or _LABELS[name]}[/dim]")
        console.print(f"\nat δ = {delta:g}; unit: one image; adjacency: add or remove it; sampling: Poisson, each step")

    current().result(found.to_mapping() | ({"shares": shares.to_mapping()} if shares is not None else {}), draw)


@app.command(epilog=examples("secure-fl privacy spent", "secure-fl --format json privacy spent --delta 1e-6"))
def spent(
    delta: Annotated[float, typer.Option("--delta", metavar="δ", help="the δ at which ε is derived")] = 1e-5,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="only this site's ledger")] = "",
) -> None:
    """Show what each site's images have cost, over all runs, from the ledgers on this machine.

    Sites on other machines keep their own. Steps that were entered and then not taken count too.
    """
    if not 0 < delta < 1:
        raise ConfigError(f"δ is {delta}", fix="give --delta a number between 0 and 1")
    output, folder = current(), home() / "federation" / "privacy"
    rows = [row for path in _ledgers(folder, site) for row in _rows(path, delta)]
    if rows or output.machine:
        output.result({"delta": delta, "spent": rows}, lambda console: _draw(console, rows, delta))
    else:
        output.note(f"no privacy is spent in {shown_path(folder)}; runs with --dp-epsilon spend it")


def _ledgers(folder: Path, site: str) -> list[Path]:
    """The ledgers, or the one of `site`; raises NotFoundError if it has none."""
    found = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    if not site:
        return list(found.values())
    if site not in found:
        names = ", ".join(found) or "none"
        raise NotFoundError(f"{site!r} has no ledger in {shown_path(folder)}", why=f"ledgers there: {names}")
    return [found[site]]


def _rows(path: Path, delta: float) -> list[dict[str, Any]]:
    """What a ledger says of each data fingerprint, in the order in which they first occur."""
    from secure_fl.privacy.ledger import Ledger

    ledger: Ledger = Ledger(path)
    by_data: dict[str, list[Spending]] = {}
    for each in ledger.spendings():
        by_data.setdefault(each.data, []).append(each)
    return [_row(path.stem, data, spendings, delta) for data, spendings in by_data.items()]


def _row(site: str, data: str, spendings: list[Spending], delta: float) -> dict[str, Any]:
    from secure_fl.privacy.accounting import epsilon

    costs: dict[str, Epsilon] = {name: epsilon((each.event for each in spendings), delta, name) for name in _TWO}
    return {
        "site": site,
        "data": data,
        "units": sorted({each.unit for each in spendings}),
        "events": len(spendings),
        "steps": sum(each.event.steps for each in spendings),
        "epsilon": {name: each.value for name, each in costs.items()},
        "notes": {name: each.note for name, each in costs.items() if each.note},
        "runs": list(dict.fromkeys(each.run for each in spendings)),
        "test_rng": any(each.test_rng for each in spendings),
    }


def _draw(console: Console, rows: list[dict[str, Any]], delta: float) -> None:
    table: RenderableType = _table(rows, console.width)
    console.print(table)
    for row in rows:
        for name, note in row["notes"].items():
            console.print(f"{row['site']}, {name.upper()}: {printable(note)}", markup=False)
    for row in rows:
        if row["test_rng"]:
            console.print(f"{row['site']}: [bold]not private[/bold]: some noise came from a seed (insecure-test-rng)")
    console.print(f"\nε at δ = {delta:g}, over all runs, for adding or removing one unit (an image, or a client)")
    console.print("Each row stands for itself: nobody's ε is the sum over sites.")


def _table(rows: list[dict[str, Any]], width: int) -> RenderableType:
    from secure_fl.cli.columns import Column, cut, fitted

    return fitted(
        [
            Column("site", [printable(row["site"]) for row in rows]),
            Column("data", [_short(row["data"]) for row in rows], rank=2),
            Column("unit", [", ".join(printable(each) for each in row["units"]) for row in rows], rank=5),
            Column("events", [f"{row['events']:,}" for row in rows], rank=4, is_number=True),
            Column("steps", [f"{row['steps']:,}" for row in rows], rank=3, is_number=True),
            Column("ε (PRV)", [f"{row['epsilon']['prv']:.3f}" for row in rows], is_number=True),
            Column("ε (RDP)", [f"{row['epsilon']['rdp']:.3f}" for row in rows], rank=1, is_number=True),
            Column("runs", [cut(printable(", ".join(row["runs"])), 60) for row in rows], rank=6),
        ],
        width,
    )


def _short(fingerprint: str) -> str:
    """The first digits of a fingerprint, after its kind if it has one."""
    return printable(fingerprint.rpartition(":")[2][:12])
