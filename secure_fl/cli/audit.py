"""`secure-fl audit`: search files and captures for pictures, verify a signed report, make an auditor's keys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_fl.cli.output import current, examples, printable, shown_path
from secure_fl.errors import IntegrityError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from audit.files import FileScan
    from audit.findings import BlindSpot, Finding
    from audit.verify import Verification

__all__ = ["app"]

app = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Search captures and files for pictures, and verify what an audit signed.",
)

_FOUND, _COULD_NOT = 3, 1
_SHOWN = 50


@app.command("scan", epilog=examples("secure-fl audit scan update.bin"))
def scan_command(
    path: Annotated[Path, typer.Argument(help="a file, or a folder with all that is below it", metavar="FILE|DIR")],
    key_log: Annotated[
        Path | None, typer.Option("--key-log", help="secrets of the TLS sessions in captures (NSS)", metavar="FILE")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="server port in captures; 0: all", min=0, max=65535)] = 0,
) -> None:
    """Search for pictures, by validated structure and through gzip, zlib, zstd, base64 and hex.

    Captures (pcap, pcapng) are decoded first. Exit code 0: nothing was found, and all could be searched; 3: something
    was found; 1: nothing was found, but not all could be searched.
    """
    from audit.files import scan_files

    if not path.exists():
        raise NotFoundError(f"{path} does not exist", fix="give a file or a folder")
    scans = list(scan_files(path, secrets=_secrets(key_log), port=port))
    found = sum(len(each.findings) for each in scans)
    unseen = sum(len(each.blind_spots) for each in scans)
    data = {"files": len(scans), "bytes": sum(each.bytes for each in scans), "findings": found, "unseen": unseen}
    rows = [{**asdict(each), "path": str(each.path)} for each in scans if each.findings or each.blind_spots]
    current().result({**data, "scans": rows}, lambda console: _draw_scans(console, scans, data))
    if found or unseen:
        raise typer.Exit(_FOUND if found else _COULD_NOT)


@app.command("verify", epilog=examples("secure-fl audit verify runs/RUN/audit --key federation/auditor/sign.pub"))
def verify_command(
    bundle: Annotated[Path, typer.Argument(help="the folder of an audit", metavar="BUNDLE")],
    key: Annotated[Path, typer.Option("--key", help="the auditor's public signing key", metavar="PUB")],
    recheck: Annotated[
        bool, typer.Option("--recheck", help="also decrypt and search the capture again, and compare")
    ] = False,
    opening_key: Annotated[
        Path | None, typer.Option("--opening-key", help="the auditor's private key, for --recheck", metavar="KEY")
    ] = None,
) -> None:
    """Say whether a report is, to the byte, the one that was signed. Needs no access to the federation.

    Exit code 0: it is (and with --recheck, its capture tells the same); 1: it is not; the verdict itself is printed
    and does not change the code.
    """
    from audit.verify import verify_bundle
    from secure_fl.federation.auditor import read_opening_key, read_verifying_key

    if not bundle.is_dir():
        raise NotFoundError(f"{bundle} is not the folder of an audit", fix="it lies in the run's folder, as `audit`")
    verification = verify_bundle(bundle, read_verifying_key(key))
    if not verification.ok or verification.document is None:
        raise IntegrityError(
            f"{bundle} is not what was signed with this key",
            why="; ".join(verification.problems[:5]),
            fix="get the bundle and the key again, each by its own way",
        )
    differences: tuple[str, ...] = ()
    if recheck:
        from secure_fl.audited.recheck import recheck_bundle

        if opening_key is None:
            raise NotFoundError("--recheck needs the auditor's private key", fix="--opening-key FILE")
        differences = recheck_bundle(bundle, verification.document, read_opening_key(opening_key))
        if differences:
            raise IntegrityError(f"{bundle}: its capture tells otherwise", why="; ".join(differences[:5]))
    _tell_verified(bundle, verification, recheck=recheck)


@app.command("check", epilog=examples("secure-fl audit check"))
def check_command() -> None:
    """Say whether packets can be captured here, which an audited run needs. Exit code 0: they can; 4: not, and why."""
    from audit.capture.account import CaptureUnavailable
    from audit.capture.packet_socket import BLOCK_BYTES, PacketRing

    try:
        PacketRing("lo", 1, 2 * BLOCK_BYTES).close()
    except CaptureUnavailable as unavailable:
        raise NotFoundError(
            "a run here cannot be audited",
            why=unavailable.reason,
            fix="sudo, or a network namespace of your own: unshare --user --map-root-user --net",
        ) from None
    current().result({"capture": True}, "packets can be captured here: runs can be audited")


@app.command("keys", epilog=examples("secure-fl audit keys ./auditor"))
def keys_command(
    folder: Annotated[Path, typer.Argument(help="where the keys go; existing ones are kept", metavar="DIR")],
) -> None:
    """Make an auditor's keys on a machine of the auditor's own.

    Give the coordinator open.pub (`secure-fl run --audit -c auditor=open.pub`): it can then seal the sessions'
    secrets to you, and cannot open them again.
    """
    from secure_fl.federation.auditor import auditor_keys

    keys = auditor_keys(folder)
    data = {"recipient": str(keys.recipient), "opening_key": str(keys.opening_key), "folder": str(folder)}
    current().result(data, f"keys in {shown_path(folder)}: give away open.pub and sign.pub, and nothing else")


def _secrets(path: Path | None) -> Mapping[bytes, Mapping[str, bytes]]:
    if path is None:
        return {}
    from audit.capture.keylog import KeyLogError, read_key_log

    try:
        return read_key_log(path)
    except (OSError, KeyLogError) as error:
        raise NotFoundError(f"cannot read the key log {path}", why=str(error)) from None


def _draw_scans(console: Console, scans: list[FileScan], data: Mapping[str, Any]) -> None:
    findings: list[Finding] = [finding for each in scans for finding in each.findings]
    blind_spots: list[BlindSpot] = [spot for each in scans for spot in each.blind_spots]
    for finding in findings[:_SHOWN]:
        where = finding.place.path or finding.place.message
        through = f" through {' in '.join(finding.via)}" if finding.via else ""
        _line(console, f"found     {finding.rule}{through} at {finding.place.offset:,} of {where}: {finding.message}")
    for spot in blind_spots[:_SHOWN]:
        _line(console, f"not seen  {spot.rule}: {spot.message} {spot.place.path}")
    hidden = max(0, len(findings) - _SHOWN) + max(0, len(blind_spots) - _SHOWN)
    if hidden:
        _line(console, f"… and {hidden} more; --format json lists all")
    result = f"{data['findings']} findings" if data["findings"] else "nothing found"
    unseen = f", {data['unseen']} places not searched" if data["unseen"] else ""
    _line(console, f"{result} in {data['files']:,} files, {data['bytes']:,} bytes{unseen}")


def _tell_verified(bundle: Path, verification: Verification, *, recheck: bool) -> None:
    document = verification.document
    assert document is not None  # noqa: S101  the caller has looked
    data = {"bundle": bundle, "verdict": document.verdict, "run": document.run.id, "rechecked": recheck}
    lines = [
        f"signed    every byte of {shown_path(bundle)}/ is what the holder of this key signed",
        *(f"note      {each}" for each in verification.notes),
        *(["rechecked its capture, decrypted and searched again, tells the same"] if recheck else []),
        f"verdict   {document.verdict} for run {document.run.id}",
    ]
    current().result(data, "\n".join(printable(each) for each in lines))


def _line(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True)
