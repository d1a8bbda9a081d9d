from __future__ import annotations

import getpass
import json
import platform
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

import secure_fl
from secure_fl.runs.environment import cpu_model, environment, git_state, package_version


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one commit, untouched by the user's own git settings."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    person = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*person, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def test_it_says_what_may_change_a_number() -> None:
    found = environment()
    assert found["secure_fl"] == secure_fl.__version__
    assert found["python"] == platform.python_version()
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["cpu_cores_logical"] == psutil.cpu_count()
    assert found["packages"]["torch"] == package_version("torch") is not None
    json.dumps(found, allow_nan=False)


def test_it_does_not_say_who_or_where() -> None:
    text = json.dumps(environment())
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert package_version("no-such-package-anywhere") is None


def test_a_clean_checkout_is_its_commit(tree: Path) -> None:
    state = git_state(tree)
    assert state is not None
    head = subprocess.run(["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert state == {"commit": head.stdout.strip(), "dirty": False}


@pytest.mark.parametrize("name", ["a.txt", "new.txt"])
def test_changed_and_new_files_make_it_dirty(tree: Path, name: str) -> None:
    (tree / name).write_text("b")
    state = git_state(tree)
    assert state is not None
    assert state["dirty"]


def test_a_checkout_without_commits_has_no_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_state(tmp_path) == {"commit": None, "dirty": False}


def test_a_folder_inside_somebody_elses_checkout_is_none_of_ours(tree: Path) -> None:
    (tree / "inside").mkdir()
    assert git_state(tree / "inside") is None


def test_a_damaged_checkout_and_a_missing_git_are_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_the_processor_is_named_as_the_kernel_does(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Example CPU @ 2 GHz\n")
    assert cpu_model(cpuinfo) == "Example CPU @ 2 GHz"
    assert cpu_model(tmp_path / "none") == (platform.processor() or platform.machine())
