"""`secure-fl classify`: what a trained model sees on images, with its five best guesses.

All images pass the same gate as training data before the model sees the first of them; one that
cannot be used is an error that names it, so that a result is never shorter than the question.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from secure_fl.cli.output import current, examples, home, printable, shown_path
from secure_fl.errors import DataError, ModelFileError, NotFoundError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from secure_fl.models import ModelCard

__all__ = ["app"]

BAR_COLUMNS = 30

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(
    epilog=examples(
        "secure-fl classify picture.png",
        "secure-fl classify picture.png --run latest --top 3",
    )
)
def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, WebP or BMP files")],
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="use the model of this run: an id, its start, or latest")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", metavar="FILE", help="use this model file")] = None,
    top: Annotated[int, typer.Option("--top", metavar="INT", help="how many guesses to show", min=1)] = 5,
    allow_simulated: Annotated[
        bool, typer.Option("--allow-simulated", help="use the model even if an attack was simulated on its training")
    ] = False,
) -> None:
    """Say what is on each image, most probable class first.

    Without --run and --model, the newest run under HOME that succeeded gives the model.
    Percentages are the model's own; it has not been told how often it is wrong.
    """
    from secure_fl.models import load_model, refuse_simulated
    from secure_fl.training.evaluation import classify as guesses_of

    if run is not None and model is not None:
        raise click.UsageError("--run and --model exclude each other")
    file = model if model is not None else _model_of(run)
    network, card = load_model(file)
    if not allow_simulated:
        try:
            refuse_simulated(shown_path(file), card)
        except ModelFileError as error:
            raise ModelFileError(error.what, why=error.why, fix="to study it all the same: --allow-simulated") from None
    pixels = _decoded(images, card.spec.image_size_px)
    answers = [
        {
            "image": str(image),
            "predictions": [{"label": each.label, "probability": each.probability} for each in row],
        }
        for image, row in zip(images, guesses_of(network, card, pixels, top_k=top), strict=True)
    ]
    current().detail(f"model {shown_path(file)}: {card.spec.architecture}, run {card.run_id}, round {card.round}")
    current().result({"model": _about(file, card), "images": answers}, lambda console: _bars(console, answers))


def _model_of(run: str | None) -> Path:
    """The model file of a run, or of the newest run that succeeded."""
    from secure_fl.runs.index import RunIndex

    index = RunIndex(home())
    if run is not None:
        file: Path = index.find(run) / "model.safetensors"
        if not file.exists():
            raise NotFoundError(
                f"run {file.parent.name} has no model yet", fix=f"secure-fl runs resume {file.parent.name}"
            )
        return file
    for row in index.list():
        file = index.folder / row.id / "model.safetensors"
        if row.status == "succeeded" and file.exists():
            return file
    raise NotFoundError(
        f"no run under {home()} has succeeded yet",
        fix="train one with `secure-fl run --preset demo`, or give --model FILE",
    )


def _decoded(images: list[Path], size_px: int) -> npt.NDArray[np.uint8]:
    """All images as (n, size_px, size_px, 3) uint8; every one that cannot be used is named."""
    import numpy as np

    from secure_fl.data.images import decode_square

    pixels, errors = [], []
    for image in images:
        try:
            pixels.append(decode_square(_bytes(image), size_px, name=str(image)))
        except DataError as error:
            errors.append(error)
    if errors:
        others = [error.what for error in errors[1:]]
        raise DataError(errors[0].what, why="; ".join(filter(None, (errors[0].why, *others))), fix=errors[0].fix)
    return np.stack(pixels)


def _bytes(image: Path) -> bytes:
    from secure_fl.data.images import MAX_FILE_BYTES

    try:
        with image.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)  # the gate refuses what is longer
    except IsADirectoryError:
        raise DataError(f"{image} is a folder", fix=f"name the files: {image}/*") from None
    except OSError as error:
        raise NotFoundError(f"cannot read {image}", why=error.strerror or str(error)) from None


def _about(file: Path, card: ModelCard) -> dict[str, Any]:
    return {
        "file": file,
        "architecture": card.spec.architecture,
        "image_size_px": card.spec.image_size_px,
        "classes": card.classes,
        "run_id": card.run_id,
        "round": card.round,
    }


def _bars(console: Console, answers: list[dict[str, Any]]) -> None:
    from rich.text import Text

    longest = max(len(each["label"]) for answer in answers for each in answer["predictions"])
    width = min(longest, 30)
    for answer in answers:
        console.print(Text(printable(answer["image"]), style="bold"), soft_wrap=True)
        for place, each in enumerate(answer["predictions"]):
            style = "green" if place == 0 else ""
            label = printable(each["label"])
            shown = label if len(label) <= width else label[: width - 1] + "…"
            line = Text(f"  {shown:<{width}}  ", style=style)
            line.append(f"{bar(each['probability'], BAR_COLUMNS):<{BAR_COLUMNS}}", style=style or "cyan")
            console.print(line.append(f"{100 * each['probability']:6.1f} %"), soft_wrap=True)


def bar(share: float, columns: int) -> str:
    """`share` in [0, 1] as a bar of at most `columns` characters, to an eighth of a character."""
    eighths = round(share * columns * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
