from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from secure_fl.cli.data_chart import MOST_SITES, draw_partition
from secure_fl.config import RunConfig


def described(counts: list[list[int]], names: list[str] | None = None, *, left_out: int = 0) -> dict[str, Any]:
    classes = names or [str(number) for number in range(len(counts[0]))]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    split = {"images": sum(totals), "counts": totals, "left_out": left_out, "fingerprint": "sha256:" + "ab" * 32}
    return {
        "dataset": {
            "name": "pets",
            "classes": classes,
            "image_size_px": 32,
            "native_size_px": 32,
            "train": split,
            "test": split | {"left_out": 0},
        },
        "partition": {"kind": "dirichlet", "seed": 0, "fingerprint": "sha256:" + "cd" * 32},
        "sites": [
            {"site": site, "images": sum(row), "train_images": sum(row), "counts": row}
            for site, row in enumerate(counts)
        ],
    }


def drawn(data: dict[str, Any], width: int = 80, *, encoding: str = "utf-8", **settings: Any) -> list[str]:
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=buffer, width=width, color_system=None)
    draw_partition(console, data, RunConfig(sites=len(data["sites"]), **settings))
    buffer.seek(0)
    return buffer.read().splitlines()


UNEVEN = [[8, 4, 0], [1, 0, 8]]


def test_every_number_is_there_and_blocks_grow_with_it() -> None:
    assert drawn(described(UNEVEN, ["cat", "dog", "emu"]), 60) == [
        "pets  21 training and 21 test images, 3 classes, 32 px",
        "dealt to 2 sites by dirichlet (alpha 0.5), seed 0",
        "",
        "        cat   dog   emu   images",
        "site-0    8█    4▄    ·       12  ██████████████████████████",
        "site-1    1▁    ·     8█       9  ███████████████████▌",
        "all       9     4     8       21",
        "test      9     4     8       21",
        "",
        "sha256  training abababababab  test abababababab  partition cdcdcdcdcdcd",
    ]


def test_long_names_give_way_to_numbers_and_a_legend() -> None:
    lines = drawn(described([[1] * 8] * 2, [f"class of kind {letter}" for letter in "abcdefgh"]), 60)
    assert lines[3].split() == [*"01234567", "images"]
    assert "0 class of kind a   1 class of kind b   2 class of kind c" in lines


@pytest.mark.parametrize("classes", [1, 5, 10, 26, 100, 1000])
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal(classes: int, width: int) -> None:
    rows = [[1 + (site * number) % 977 for number in range(classes)] for site in range(1, 6)]
    chart = drawn(described(rows, [f"name {number}" for number in range(classes)]), width)[3:-2]
    assert max(len(line.rstrip()) for line in chart) <= width


def test_many_classes_are_drawn_as_blocks_and_very_many_are_joined() -> None:
    rows = [[number % 2 for number in range(40)], [1] * 40]
    assert "site-0  " + "·█" * 20 + "      20" in drawn(described(rows), 80)[4]
    assert "one block for 15 neighbouring classes, by height" in drawn(described([[1] * 840] * 2), 80)


def test_of_many_sites_some_are_drawn_and_the_others_counted() -> None:
    lines = drawn(described([[site, 1] for site in range(1, 101)]))
    assert sum(line.startswith("site-") for line in lines) == MOST_SITES
    assert "and 60 more sites; all hold 2 to 101 images" in lines


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    text = "\n".join(drawn(described(UNEVEN), encoding="ascii"))
    assert text.isascii() and "#" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partition": "iid"}, "by iid, seed 0"),
        ({"partition": "quantity", "alpha": 2}, "by quantity (alpha 2), seed 0"),
        ({"partition": "shards", "classes_per_site": 3}, "by shards (3 classes each), seed 0"),
    ],
)
def test_the_heading_names_what_shapes_the_partition(settings: dict[str, Any], words: str) -> None:
    assert drawn(described(UNEVEN), **settings)[1] == f"dealt to 2 sites {words}"


def test_files_that_were_left_out_are_mentioned() -> None:
    assert "3 files left out: `secure-fl data check` names them" in drawn(described(UNEVEN, left_out=3))


def test_markup_in_a_class_name_is_shown_as_it_is() -> None:
    assert "[red]x" in drawn(described(UNEVEN, ["[red]x", "b", "c"]))[3]
