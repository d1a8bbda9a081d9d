from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.data.conftest import Files, encoded, noise, split_tree


@pytest.fixture
def pets(home: Path) -> Callable[[Files], Path]:
    """Write files into HOME/pets."""

    def write(files: Files) -> Path:
        for name, content in files.items():
            (home / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
            (home / "pets" / name).write_bytes(content)
        return home / "pets"

    return write


# --- show


def test_show_draws_who_has_what(cli: CommandLine) -> None:
    result = cli("data", "show", env={"COLUMNS": "80"})
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and result.stderr == ""
    assert lines[0] == "digits  1,438 training and 359 test images, 10 classes, 8 px scaled to 16 px"
    assert lines[1] == "dealt to 5 sites by dirichlet (alpha 0.5), seed 0"
    assert lines[3].split() == [*"0123456789", "images"]
    assert [line.split()[0] for line in lines[4:11]] == [
        "site-0",
        "site-1",
        "site-2",
        "site-3",
        "site-4",
        "all",
        "test",
    ]
    assert max(map(len, lines)) <= 80
    assert "each site keeps 10 % of its images for validation, 144 in all" in lines


def test_show_takes_the_settings_of_run(cli: CommandLine) -> None:
    data = cli.data(
        "data", "show", "--partition", "shards", "--classes-per-site", "4", "--sites", "3", "-c", "samples=500"
    )
    assert data["partition"]["kind"] == "shards" and data["dataset"]["train"]["images"] == 500
    assert [sum(count > 0 for count in site["counts"]) for site in data["sites"]] == [4, 4, 4]


def test_show_and_run_deal_alike(cli: CommandLine) -> None:
    from secure_fl.config import RunConfig
    from secure_fl.data import describe_data

    assert cli.data("data", "show", "--seed", "3") == json.loads(json.dumps(describe_data(RunConfig(seed=3))))


def test_show_refuses_what_run_would_refuse(cli: CommandLine) -> None:
    envelope = cli.error("data", "show", "--sites", "500")
    assert envelope["error_code"] == "DATA_INVALID" and envelope["exit_code"] == 2
    assert "1,438 images are too few for 500 sites" in envelope["message"]


def test_show_says_how_many_files_were_left_out(cli: CommandLine, pets: Callable[[Files], Path]) -> None:
    folder = pets(split_tree(20) | {"train/cat/empty.png": b""})
    flags = ["--dataset", str(folder), "--min-size", "1"]
    assert "empty.png is empty" in cli("data", "show", *flags).stderr
    shown = cli("data", "show", *flags, "--skip-bad-images").stdout
    assert "1 file left out: `secure-fl data check` names it" in shown


# --- check


def test_check_of_sound_images_says_so(cli: CommandLine, pets: Callable[[Files], Path]) -> None:
    result = cli("data", "check", str(pets(split_tree())))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "all 18 images of pets can be used: 12 training, 6 test, 2 classes\n"


def test_check_names_every_bad_file_and_ends_with_2(cli: CommandLine, pets: Callable[[Files], Path]) -> None:
    bad = {
        "train/cat/broken.png": encoded(noise(1))[:500],
        "train/dog/fake.jpg": b"hello",
        "test/dog/empty.png": b"",
        "loose.png": encoded(noise(2)),
    }
    folder = pets(split_tree() | bad)
    result = cli("data", "check", str(folder))
    assert result.exit_code == 2
    assert {line.split("  ")[0] for line in result.stdout.splitlines()} == {str(folder / name) for name in bad}
    assert "error: 4 files of pets cannot be used" in result.stderr and "--skip-bad-images" in result.stderr
    envelope = cli.error("data", "check", str(folder))
    assert envelope["exit_code"] == 2 and envelope["data"]["train_images"] == 12
    assert {each["name"] for each in envelope["data"]["bad"]} == {str(folder / name) for name in bad}


def test_check_finds_test_images_that_were_trained_on(cli: CommandLine, pets: Callable[[Files], Path]) -> None:
    files = split_tree()
    folder = pets(files | {"test/cat/copy.png": files["train/cat/00.png"]})
    assert cli.data("data", "check", str(folder))["test_images_also_in_train"] == 1
    assert "1 test image is a training image too" in cli("data", "check", str(folder)).stdout


def test_check_knows_named_data_sets(cli: CommandLine) -> None:
    data = cli.data("data", "check", "digits")
    assert (data["train_images"], data["test_images"], data["bad"]) == (1438, 359, [])
    assert "no CIFAR-10 in" in cli.error("data", "check", "cifar10", "--data-dir", "nowhere")["message"]


def test_check_of_what_is_no_data_set_is_an_error(cli: CommandLine, home: Path) -> None:
    (home / "cat.png").write_bytes(encoded(noise(1)))
    assert "is neither a folder nor an archive" in cli.error("data", "check", "cat.png")["message"]
    assert "no data set `nowhere`" in cli.error("data", "check", "nowhere")["message"]


def test_a_file_name_cannot_steer_the_terminal(cli: CommandLine, pets: Callable[[Files], Path]) -> None:
    result = cli("data", "check", str(pets(split_tree() | {"train/cat/\x1b[2J.png": b"x"})))
    assert result.exit_code == 2 and "\x1b" not in result.stdout + result.stderr
