"""`secure-fl data`: what a data set holds, which site would get what, and whether every image can be used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from secure_fl.cli.config_flags import DATA_FLAGS, with_settings
from secure_fl.cli.output import Output, current, examples, printable
from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from secure_fl.data import BadImage, ImageSource

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", help="Show a data set, and which site holds what.")


@app.callback()
def data() -> None:
    """Show a data set, and which site holds what."""


@app.command(
    epilog=examples(
        "secure-fl data show",
        "secure-fl data show --partition shards --classes-per-site 4 --sites 3",
        "secure-fl data show --alpha 0.1 --seed 7",
    )
)
@with_settings(*DATA_FLAGS, "classes-per-site", "min-size", "samples")
def show(resolved: ResolvedConfig) -> None:
    """Show who would hold what: images by site and class, as `run` deals them with the same settings.

    Only labels are read; no image is decoded and nothing is trained.
    """
    from secure_fl.cli.data_chart import draw_partition
    from secure_fl.data import describe_data

    described = describe_data(resolved.config)
    current().result(described, lambda console: draw_partition(console, described, resolved.config))


@app.command(epilog=examples("secure-fl data check digits"))
def check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="a folder, archive or .npz, or the name of a data set")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="folder that holds the files of a named data set")
    ] = None,
) -> None:
    """Decode every image, and name each one that cannot be used.

    Ends with exit code 2 if there is any: `run` would stop at the first of them, or leave them out
    with --skip-bad-images. Also counts images of the test set that are in the training set too.
    """
    from secure_fl.data import open_dataset

    output = current()
    pair = open_dataset(RunConfig(dataset=path, data_dir=str(data_dir or ""), skip_bad_images=True))
    with _progress(output, len(pair.train) + len(pair.test)) as advance:
        found = [_examined(source, advance) for source in (pair.train, pair.test)]
    report = {
        "dataset": pair.name,
        "classes": list(pair.train.classes),
        "train_images": len(found[0].digests),
        "test_images": len(found[1].digests),
        "test_images_also_in_train": _shared(*found),
        "bad": [{"name": each.name, "problem": each.problem} for split in found for each in split.bad],
    }
    if report["bad"]:
        _refuse(output, report)
    output.result(report, lambda console: _print_verdict(console, report))


class _Examined(NamedTuple):
    """What was found in one split: SHA-256 of each good file, and the bad ones."""

    digests: list[bytes]
    bad: list[BadImage]


def _examined(source: ImageSource, advance: Callable[[], None]) -> _Examined:
    good, bad = [], list(source.left_out)
    for index, verdict in enumerate(source.examine(range(len(source)))):
        advance()
        if verdict is None:
            good.append(index)
        else:
            bad.append(verdict)
    return _Examined(source.digests(good), bad)


def _shared(train: _Examined, test: _Examined) -> int:
    """How many test images are, byte for byte, training images too."""
    known = set(train.digests)
    return sum(each in known for each in test.digests)


def _refuse(output: Output, report: dict[str, Any]) -> None:
    """Name the bad files on stdout (in the error envelope for a program) and end with exit code 2."""
    bad = report["bad"]
    if not output.machine:
        output.result(report, lambda console: _print_bad(console, bad))
    error = DataError(
        f"{len(bad):,} {'file' if len(bad) == 1 else 'files'} of {report['dataset']} cannot be used",
        why=f"{report['train_images']:,} training and {report['test_images']:,} test images are sound",
        fix="repair or remove what is named above, or run with --skip-bad-images",
    )
    output.error(error, data=report)
    raise typer.Exit(error.exit_code)


def _print_bad(console: Console, bad: list[dict[str, str]]) -> None:
    from rich.text import Text

    for each in bad:
        console.print(Text(printable(each["name"])).append(f"  {printable(each['problem'])}", "red"), soft_wrap=True)


def _print_verdict(console: Console, report: dict[str, Any]) -> None:
    from rich.markup import escape

    images = report["train_images"] + report["test_images"]
    console.print(
        f"[green]all {images:,} images of {escape(printable(report['dataset']))} can be used[/green]: "
        f"{report['train_images']:,} training, {report['test_images']:,} test, {len(report['classes'])} classes",
        soft_wrap=True,
    )
    if shared := report["test_images_also_in_train"]:
        what = "test image is a training image too" if shared == 1 else "test images are training images too"
        console.print(f"[yellow]{shared:,} {what}[/yellow]: accuracy will flatter", soft_wrap=True)


@contextmanager
def _progress(output: Output, images: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr if a person is watching; yields what to call after each image."""
    if output.quiet or output.machine or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=output.console(sys.stderr), transient=True) as progress:
        task = progress.add_task("decoding", total=images)
        yield lambda: progress.advance(task)
