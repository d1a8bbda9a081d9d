"""`secure-fl audit`: exit codes that tell nothing found, found, and could not look."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from audit.capture.pcap import LINKTYPE_ETHERNET, PcapWriter
from secure_fl.cli.main import app


def scan(*arguments: str | Path) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["audit", "scan", *map(str, arguments)])
    return told.exit_code, told.output


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "picture.jpg"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).save(path)
    return path


def test_a_file_without_pictures_answers_zero(tmp_path: Path) -> None:
    (tmp_path / "update").write_bytes(np.random.default_rng(0).normal(0, 1, 5000).astype(np.float32).tobytes())
    code, told = scan(tmp_path / "update")
    assert (code, told.strip()) == (0, "nothing found in 1 files, 20,000 bytes")


def test_a_picture_answers_three_with_its_place(picture: Path) -> None:
    hidden = picture.with_name("hidden")
    hidden.write_bytes(b"\0" * 1000 + picture.read_bytes())
    code, told = scan(hidden)
    assert code == 3 and "image/jpeg at 1,000" in told and str(hidden) in told


def test_a_folder_is_searched_to_its_last_file(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir()
    (tmp_path / "in" / "deep" / "other").write_bytes(picture.read_bytes())
    code, told = scan(tmp_path / "in")
    assert code == 3 and told.count("found     image/jpeg") == 2


def test_what_could_not_be_searched_answers_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    code, told = scan(tmp_path)
    assert code == 1 and "not followed" in told


def test_a_capture_that_breaks_off_answers_one(tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    with path.open("wb") as stream:
        PcapWriter(stream, LINKTYPE_ETHERNET).write(0, b"\0" * 60)
    path.write_bytes(path.read_bytes()[:-5])
    code, told = scan(path)
    assert code == 1 and "capture/format" in told


@pytest.mark.parametrize("arguments", [["none"], ["here", "--key-log", "none"]])
def test_a_missing_file_answers_four(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"x")
    code, told = scan(*arguments)
    assert code == 4 and "Traceback" not in told


def test_a_key_log_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"CLIENT_RANDOM zz zz\n")
    code, told = scan(tmp_path / "keys", "--key-log", tmp_path / "keys")
    assert code == 4 and "key log" in told


def test_a_program_gets_every_finding(picture: Path) -> None:
    told = CliRunner().invoke(app, ["--format", "json", "audit", "scan", str(picture)])
    data = json.loads(told.stdout)["data"]
    assert data["findings"] == 1 and data["scans"][0]["findings"][0]["rule"] == "image/jpeg"


def test_keys_are_made_private(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["audit", "keys", str(tmp_path / "auditor")])
    assert told.exit_code == 0 and "open.pub" in told.output
    assert stat.S_IMODE(os.stat(tmp_path / "auditor" / "open.key").st_mode) == 0o600


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["audit", "keys", str(tmp_path / "auditor")])
    key = str(tmp_path / "auditor" / "sign.pub")
    for bundle, code in ((tmp_path / "none", 4), (tmp_path, 1)):
        told = CliRunner().invoke(app, ["audit", "verify", str(bundle), "--key", key])
        assert told.exit_code == code and "Traceback" not in told.output
