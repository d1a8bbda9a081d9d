from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_fl.config import RunConfig
from secure_fl.config_sources import ResolvedConfig
from secure_fl.errors import SecureFLError
from secure_fl.runs import RunRecord
from secure_fl.runs.creation import random_token

RESOLVED = ResolvedConfig(RunConfig(seed=7, grid="local"), {"seed": "flag", "lr": "default"})
ENVIRONMENT: dict[str, Any] = {
    "secure_fl": "0.1.0",
    "packages": {"flwr": "1.41.0"},
    "git": {"commit": "0" * 40, "dirty": False},
}


def create(home: Path, *, token: Callable[[], str] = lambda: "00ff", **extra: Any) -> RunRecord:
    return RunRecord.create(
        home, RESOLVED, environment=ENVIRONMENT, clock=lambda: 1_795_452_241.25, token=token, **extra
    )


def test_the_id_is_the_time_in_utc_and_a_token(tmp_path: Path) -> None:
    record = create(tmp_path)
    assert record.id == "20261123-164401-00ff"
    assert record.folder == tmp_path / "runs" / record.id


def test_a_new_record_begins_with_its_creation(tmp_path: Path) -> None:
    (event,) = create(tmp_path).events()
    assert (event.kind, event.time) == ("run-created", "2026-11-23T16:44:01.250Z")
    assert (event["run_id"], event["seed"], event["grid"]) == ("20261123-164401-00ff", 7, "local")
    assert event["config_digest"] == RESOLVED.config.digest()
    assert event["versions"] == {"secure_fl": "0.1.0", "flwr": "1.41.0"}
    assert event["git"] == {"commit": "0" * 40, "dirty": False}


def test_settings_origins_and_command_are_kept(tmp_path: Path) -> None:
    record = create(tmp_path, command=("secure-fl", "run", "--seed", "7"))
    document = json.loads((record.folder / "config.json").read_text(encoding="utf-8"))
    assert document["settings"] == RESOLVED.config.to_mapping()
    assert document["origins"]["seed"] == "flag"
    assert document["command"] == ["secure-fl", "run", "--seed", "7"]
    assert record.environment == ENVIRONMENT


def test_without_an_environment_given_it_is_found_out(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, RESOLVED)
    assert record.environment is not None
    assert record.environment["packages"]["flwr"] == record.events()[0]["versions"]["flwr"]


def test_folders_and_files_can_be_read_by_all_and_written_by_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        record = create(tmp_path)
    finally:
        os.umask(before)
    assert record.folder.stat().st_mode & 0o777 == 0o755
    for path in record.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644, path.name


def test_two_runs_of_one_second_get_different_ids(tmp_path: Path) -> None:
    tokens = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    first, second = create(tmp_path, token=tokens.__next__), create(tmp_path, token=tokens.__next__)
    assert (first.id[-4:], second.id[-4:]) == ("aaaa", "bbbb")
    assert len(first.events()) == 1


def test_an_id_that_another_process_is_about_to_use_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".creating-20261123-164401-aaaa").mkdir(parents=True)
    tokens = iter(["aaaa", "bbbb"])
    assert create(tmp_path, token=tokens.__next__).id.endswith("bbbb")


def test_when_no_id_is_free_it_says_so(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(SecureFLError, match="no free run id"):
        create(tmp_path)


def test_a_creation_that_fails_leaves_nothing_that_looks_like_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(SecureFLError, match="No space left"):
        create(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_home_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(SecureFLError, match="cannot write"):
        create(tmp_path / "home")


def test_tokens_are_four_hex_digits_and_differ() -> None:
    tokens = {random_token() for _ in range(50)}
    assert len(tokens) > 40
    assert all(len(each) == 4 and int(each, 16) >= 0 for each in tokens)
