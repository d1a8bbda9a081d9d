"""`secure-fl classify`: a real model file and real image files in, five guesses for each image out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secure_fl.cli.classify import bar
from secure_fl.config import RunConfig
from secure_fl.runs import RunRecord

CLASSES = ("deer", "horse", "truck", "frog", "cat", "a class whose name is far too long for a line")
SIDE_PX = 16


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from secure_fl.models import ModelCard, ModelSpec, build_model, save_model

    spec = ModelSpec.of(RunConfig(model="light_cnn"), classes=len(CLASSES), image_size_px=SIDE_PX)
    card = ModelCard(spec, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, run_id="20260101-000000-abcd", round=3)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_model(spec, seed=0), card)
    return path


@pytest.fixture
def picture(home: Path) -> Callable[..., str]:
    """`picture("a.png")` writes a colourful picture into the current folder and gives its name."""

    def write(name: str, size: tuple[int, int] = (40, 24)) -> str:
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / name)
        return name

    return write


def a_run(new_record: Callable[..., RunRecord], status: str, model: bytes | None) -> RunRecord:
    record = new_record()
    record.append("run-started", pid=1, resumed_from_round=None)
    if model is not None:
        (record.folder / "model.safetensors").write_bytes(model)
    record.append("run-finished", status=status)
    return record


def test_each_image_gets_its_guesses_best_first(cli: Any, model_file: Path, picture: Callable[..., str]) -> None:
    names = [picture("a.png"), picture("b.jpg", (400, 300)), picture("c.webp", (16, 16))]
    data = cli.data("classify", "--model", str(model_file), *names)
    assert [each["image"] for each in data["images"]] == names
    for each in data["images"]:
        shares = [guess["probability"] for guess in each["predictions"]]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-9
        assert {guess["label"] for guess in each["predictions"]} <= set(CLASSES)
    assert data["model"] == {
        "file": str(model_file),
        "architecture": "light_cnn",
        "image_size_px": SIDE_PX,
        "classes": list(CLASSES),
        "run_id": "20260101-000000-abcd",
        "round": 3,
    }


def test_an_image_gets_the_same_guesses_alone_and_among_others(
    cli: Any, model_file: Path, picture: Callable[..., str]
) -> None:
    one, other = picture("a.png"), picture("b.png", (100, 100))
    together = cli.data("classify", "--model", str(model_file), other, one)["images"][1]
    alone = cli.data("classify", "--model", str(model_file), one)["images"][0]
    assert [each["label"] for each in together["predictions"]] == [each["label"] for each in alone["predictions"]]


def test_top_asks_for_more_or_fewer_but_never_more_than_there_are(
    cli: Any, model_file: Path, picture: Callable[..., str]
) -> None:
    name = picture("a.png")
    for top, expected in ((1, 1), (6, 6), (100, 6)):
        (image,) = cli.data("classify", "--model", str(model_file), name, "--top", str(top))["images"]
        assert len(image["predictions"]) == expected
    assert cli("classify", name, "--top", "0").exit_code == 2


def test_the_page_has_a_bar_and_a_percentage_a_guess_and_fits(
    cli: Any, model_file: Path, picture: Callable[..., str]
) -> None:
    lines = cli("classify", "--model", str(model_file), picture("a.png"), "--top", "6").stdout.splitlines()
    assert lines[0] == "a.png"
    assert len(lines) == 7
    assert all(line.endswith(" %") and len(line) <= 80 for line in lines[1:])
    assert sum(float(line.split()[-2]) for line in lines[1:]) == pytest.approx(100, abs=0.5)


def test_the_newest_run_that_succeeded_gives_the_model(
    cli: Any, model_file: Path, picture: Callable[..., str], new_record: Callable[..., RunRecord]
) -> None:
    content = model_file.read_bytes()
    wanted = a_run(new_record, "succeeded", content)
    failed = a_run(new_record, "failed", content)
    without = a_run(new_record, "interrupted", None)
    name = picture("a.png")
    assert cli.data("classify", name)["model"]["file"] == str(wanted.folder / "model.safetensors")
    chosen = cli.data("classify", name, "--run", failed.id)
    assert chosen["model"]["file"] == str(failed.folder / "model.safetensors")
    error = cli.error("classify", name, "--run", without.id)
    assert (error["exit_code"], error["hint"]) == (4, f"secure-fl runs resume {without.id}")


def test_a_bad_image_is_named_and_nothing_is_classified(
    cli: Any, model_file: Path, home: Path, picture: Callable[..., str]
) -> None:
    good = picture("good.png")
    (home / "empty.png").touch()
    (home / "page.jpg").write_text("<html>")
    whole = (home / good).read_bytes()
    (home / "torn.png").write_bytes(whole[: len(whole) // 2])
    for name in ("empty.png", "page.jpg", "torn.png"):
        result = cli("classify", "--model", str(model_file), good, name)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert name in result.stderr.splitlines()[0]
    error = cli.error("classify", "--model", str(model_file), "page.jpg", "empty.png", good)
    assert "page.jpg" in error["message"]
    assert "empty.png" in error["why"]


def test_a_picture_that_claims_too_many_pixels_is_refused_by_its_header(cli: Any, model_file: Path, home: Path) -> None:
    Image.new("1", (6000, 6000)).save(home / "bomb.png")
    assert (home / "bomb.png").stat().st_size < 20_000
    error = cli.error("classify", "--model", str(model_file), "bomb.png")
    assert (error["exit_code"], error["error_code"]) == (2, "DATA_INVALID")
    assert "bomb.png is too large" in error["message"]


def test_what_is_no_file_is_refused_by_name(cli: Any, model_file: Path, home: Path) -> None:
    (home / "folder").mkdir()
    assert cli.error("classify", "--model", str(model_file), "absent.png")["exit_code"] == 4
    error = cli.error("classify", "--model", str(model_file), "folder")
    assert (error["exit_code"], error["message"]) == (2, "folder is a folder")


def test_a_file_that_is_no_model_is_refused(cli: Any, home: Path, picture: Callable[..., str]) -> None:
    name = picture("a.png")
    (home / "model.pt").write_bytes(b"PK\x03\x04 what torch.save writes")
    for file in (name, "model.pt"):
        assert cli.error("classify", "--model", file, name)["error_code"] == "MODEL_FILE_INVALID"


def test_a_file_name_cannot_steer_the_terminal(cli: Any, model_file: Path, picture: Callable[..., str]) -> None:
    result = cli("classify", "--model", str(model_file), picture("a\x1b[31m[b].png"))
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "[b].png" in result.stdout


def test_a_bar_is_as_long_as_its_share_to_an_eighth() -> None:
    assert bar(0.0, 10) == ""
    assert bar(1.0, 10) == "█" * 10
    assert bar(0.5, 10) == "█" * 5
    assert bar(0.0625, 10) == "▋"
    assert all(len(bar(share / 1000, 30)) <= 30 for share in range(1001))


def test_a_model_that_came_of_a_simulated_attack_is_refused_unless_a_flag_says_so(
    cli: Any, model_file: Path, picture: Callable[..., str], home: Path
) -> None:
    from secure_fl.models import SIMULATION_MARK, load_model, save_model

    network, card = load_model(model_file)
    marked = replace(card, extra={SIMULATION_MARK: "backdoor_patch by 1 of 5 sites"})
    save_model(home / "marked.safetensors", network, marked)
    asked = ("classify", "--model", "marked.safetensors", picture("a.png"))
    error = cli.error(*asked)
    assert (error["exit_code"], error["error_code"]) == (2, "MODEL_FILE_INVALID")
    assert error["message"] == "marked.safetensors is for study only"
    assert "backdoor_patch by 1 of 5 sites" in error["why"] and "--allow-simulated" in error["hint"]
    assert cli.data(*asked, "--allow-simulated")["images"]


def test_a_run_without_an_attack_does_not_launder_the_mark_of_its_starting_weights(
    cli: Any, model_file: Path, home: Path
) -> None:
    from secure_fl.models import SIMULATION_MARK, load_model, save_model

    network, card = load_model(model_file)
    save_model(home / "marked.safetensors", network, replace(card, extra={SIMULATION_MARK: "dba by 2 of 5 sites"}))
    error = cli.error("run", "--preset", "smoke", "--grid", "local", "--weights", "marked.safetensors")
    assert "for study only" in error["message"] and "dba by 2 of 5 sites" in error["why"]
    assert not (home / "runs").exists()
