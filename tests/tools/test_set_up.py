"""`./demo` and `./test` set the environment up once, whatever interrupts them; only pip itself is replaced here.

The environments are real; what would be installed into them (2.7 GB) is not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure import imports
from tools.set_up import SetUpError, is_current, main, run_pip, set_up

ROOT = Path(__file__).resolve().parent.parent.parent


class Installer:
    """In pip's place: notes what was asked for, and can fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: BaseException | None = None

    def __call__(self, python: Path, requirement: str, log: Path) -> None:
        assert python.exists() and log.parent.is_dir()
        self.asked.append(requirement)
        if self.fails:
            raise self.fails


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, in a path with a space, with an environment that pip has never touched."""
    root = tmp_path_factory.mktemp("a checkout")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    set_up(root, "", install=Installer())
    return root


@pytest.fixture
def root(environment: Path) -> Path:
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, environment)
    (environment / ".venv" / "set-up.json").unlink(missing_ok=True)
    return environment


def test_the_second_call_installs_nothing(root: Path) -> None:
    pip = Installer()
    assert set_up(root, "", install=pip) is True
    assert set_up(root, "", install=pip) is False
    assert pip.asked == ["."]


def test_the_tests_bring_the_rest_along_and_the_demo_keeps_them(root: Path) -> None:
    pip = Installer()
    set_up(root, "", install=pip)
    set_up(root, "test", install=pip)
    assert set_up(root, "", install=pip) is False
    assert pip.asked == [".", ".[test]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_are_installed(root: Path, name: str) -> None:
    pip = Installer()
    set_up(root, "", install=pip)
    with (root / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert not is_current(root, "")
    assert set_up(root, "", install=pip) is True


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SetUpError("no network")])
def test_a_set_up_that_was_cut_short_is_done_again(root: Path, interruption: BaseException) -> None:
    pip = Installer()
    pip.fails = interruption
    with pytest.raises(type(interruption)):
        set_up(root, "", install=pip)
    assert not is_current(root, "")
    pip.fails = None
    assert set_up(root, "", install=pip) is True


def test_an_update_that_was_cut_short_does_not_pass_for_the_state_before(root: Path) -> None:
    pip = Installer()
    set_up(root, "", install=pip)
    pip.fails = SetUpError("no network")
    with pytest.raises(SetUpError):
        set_up(root, "test", install=pip)
    assert not is_current(root, "")


def test_the_next_set_up_waits_for_an_installer_that_outlived_its_own(root: Path) -> None:
    children = []

    def killed(python: Path, requirement: str, log: Path) -> None:
        children.append(subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        set_up(root, "", install=killed)
    folder = os.open(root, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        children[0].communicate(b"\n")
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(folder)


def test_an_environment_that_was_moved_is_made_anew(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved, symlinks=True)
    assert set_up(moved, "", install=Installer()) is True
    assert str(moved) in (moved / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8")


def test_a_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    set_up(tmp_path, "", install=Installer())
    assert is_current(tmp_path, "")


def test_pip_failing_shows_its_last_words_and_the_log(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(SetUpError, match=r"no-such-folder[\s\S]*whole log: .*pip\.log"):
        run_pip(root / ".venv" / "bin" / "python", "./no-such-folder", tmp_path / "pip.log")


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("tools.set_up.set_up", interrupted)
    monkeypatch.chdir(ROOT)
    try:
        assert main([]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "again to go on" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["demo", "test"])
def test_a_machine_without_a_new_enough_python_gets_a_clear_line(script: str, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program in ("sh", "dirname"):
        (bin_folder / program).symlink_to(shutil.which(program) or program)
    old = bin_folder / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")  # what `sys.exit(version < 3.11)` gives on an old one
    old.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON"} | {"PATH": str(bin_folder)}
    done = subprocess.run([ROOT / script], env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 69
    assert done.stderr.startswith("error: no Python 3.11 or newer was found\n  fix: ")
    assert len(done.stderr.splitlines()) == 2


def test_setting_up_needs_nothing_but_the_standard_library() -> None:
    text = (ROOT / "tools" / "set_up.py").read_text(encoding="utf-8")
    used = {name.split(".")[0] for _, name in imports("tools.set_up", text)}
    assert "json" in used and used <= sys.stdlib_module_names


@pytest.mark.parametrize("script", ["demo", "test", "tools/setup.sh", ".ci/run"])
def test_the_scripts_are_well_formed(script: str) -> None:
    shell = "bash" if script == ".ci/run" else "sh"
    assert subprocess.run([shell, "-n", ROOT / script], capture_output=True).returncode == 0
