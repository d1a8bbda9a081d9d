"""`secure-fl federation`: sites on other machines.

coordinator$ secure-fl federation provision --sites 5 --host fl.example.org
coordinator$ secure-fl run --sites 5 -c remote-sites=5 -c host=0.0.0.0 -c port=9443
site-3$      secure-fl federation site --kit ./site-3 --address fl.example.org:9443 --data-dir /images
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_fl.cli.output import current, examples, home

__all__ = ["app"]

app = typer.Typer(
    rich_markup_mode="rich", no_args_is_help=True, help="Keys and certificates, and sites on other machines."
)


@app.command(
    "provision",
    epilog=examples(
        "secure-fl federation provision --sites 3 --host fl.example.org",
        "secure-fl federation provision --new-kit site-2",
    ),
)
def provision_command(
    sites: Annotated[
        int | None,
        typer.Option("--sites", min=1, max=1000, help="number of sites; default: those of the roster, 5 at first"),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="name or address by which sites reach the coordinator; repeatable"),
    ] = None,
    new_kit: Annotated[
        list[str] | None,
        typer.Option("--new-kit", metavar="SITE", help="another kit for a site that lost its own; repeatable"),
    ] = None,
) -> None:
    """Make the authority, the coordinator's certificate and one start-up kit a site; keep what exists.

    A site of the roster whose kit is not here has it with it, and is left as it is. With --new-kit it gets another,
    with new keys; those of the lost one are refused from the next run on.
    """
    from secure_fl.federation.kits import kit_is_here
    from secure_fl.federation.pki import provision

    keys = provision(home() / "federation", sites=sites, hosts=host or [], new_kits=new_kit or [])
    names = [entry.name for entry in keys.roster.entries]
    here = [name for name in names if kit_is_here(keys.kit(name))]
    kits = [str(keys.kit(name)) for name in here]
    elsewhere = [name for name in names if name not in here]
    lines = [f"{len(names)} sites are in the roster {keys.roster_file}", *(f"  {kit}" for kit in kits)]
    if kits:
        lines.append("Bring each kit to its site over a channel that you trust, and remove the copy here:")
        lines.append("whoever has a kit can speak as that site.")
    if elsewhere:
        lines.append(f"Not here, and left as they are: {', '.join(elsewhere)}")
    current().result(
        {"folder": str(keys.folder), "roster": str(keys.roster_file), "kits": kits, "elsewhere": elsewhere},
        "\n".join(lines),
    )


@app.command("revoke", epilog=examples("secure-fl federation revoke site-2"))
def revoke_command(site: Annotated[str, typer.Argument(help="name of the site, as in the roster")]) -> None:
    """Take a site out of every later run; its certificate and keys are refused from then on."""
    from secure_fl.federation.pki import revoke

    roster = revoke(home() / "federation", site)
    left = [entry.name for entry in roster.entries if not entry.revoked]
    current().result({"revoked": site, "admitted": left}, f"{site} is revoked; admitted: {', '.join(left) or 'none'}")


@app.command("site", epilog=examples("secure-fl federation site --kit site-0 --address fl.example.org:9443"))
def site_command(
    kit: Annotated[Path, typer.Option("--kit", help="this site's start-up kit", metavar="DIR")],
    address: Annotated[str, typer.Option("--address", help="the coordinator, HOST:PORT")],
    dataset: Annotated[str, typer.Option("--dataset", help="this site's images, whatever the coordinator says")] = "",
    data_dir: Annotated[str, typer.Option("--data-dir", help="folder of a named data set", metavar="DIR")] = "",
    weights: Annotated[
        str, typer.Option("--weights", help="this site's copy of the weights file", metavar="FILE")
    ] = "",
    index: Annotated[int, typer.Option("--index", help="index in the roster; default: from the kit's name")] = -1,
    privacy_budget: Annotated[
        float, typer.Option("--privacy-budget", help="ε that all runs on these images may spend; 0: no own limit")
    ] = 0.0,
    privacy_delta: Annotated[float, typer.Option("--privacy-delta", help="δ of --privacy-budget")] = 1e-5,
    secagg_fewest: Annotated[
        int,
        typer.Option("--secagg-fewest", help="fewest sites in a sum that shows ours; 0: also take part in the clear"),
    ] = 0,
) -> None:
    """Take part in a federation from this machine, until Ctrl-C or until the coordinator is gone."""
    from secure_fl.errors import ConfigError
    from secure_fl.federation.kits import kit_node_config

    name = kit.resolve().name
    number = name.rpartition("-")[2]
    if index < 0 and not number.isdigit():
        raise ConfigError(f"cannot tell the site's index from the kit's name `{name}`", fix="give --index")
    own = {"dataset": dataset, "data-dir": data_dir, "weights": weights}
    node_config: dict[str, str | int | float | bool] = {
        "partition-id": index if index >= 0 else int(number),
        **kit_node_config(kit.resolve()),
        "privacy-ledger": str(kit / "privacy-ledger.jsonl"),
        **{key: value for key, value in own.items() if value},
        **({"privacy-budget": privacy_budget, "privacy-delta": privacy_delta} if privacy_budget else {}),
        **({"secagg-fewest": secagg_fewest} if secagg_fewest else {}),
    }
    from secure_fl.federation.quiet import quiet_flower

    quiet_flower()
    from secure_fl.app.client_app import app as client_app
    from secure_fl.federation.site import SiteSettings, run_site

    current().note(f"{name} joins {address}; Ctrl-C leaves")
    run_site(SiteSettings(address=address, kit=str(kit), name=name, node_config=node_config), client_app)
