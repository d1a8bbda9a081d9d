"""Make `.venv` hold what `constraints.txt` pins, and do nothing when it already does.

Called by `./demo` and `./test` through tools/setup.sh, before anything is installed: standard library
only. Three promises. The stamp that says "done" is written last, so an interrupted set-up is simply done
again. Two set-ups at a time take turns (a lock on the folder itself, which leaves no file behind). An
environment that was moved or half made is made anew, because its scripts name their old place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SetUpError", "is_current", "main", "run_pip", "set_up"]

STAMP = "set-up.json"
LOG = "set-up.log"
# Measured on Linux, where PyTorch brings its CUDA libraries along (3 min 20 s on a fast line); smaller elsewhere.
FIRST_TIME = "setting up .venv, once: about 2.7 GB to download on Linux, 6 GB on disk, some minutes"


class SetUpError(Exception):
    """The environment could not be made; the text is for the user."""


def set_up(root: Path, extra: str, *, install: Callable[[Path, str, Path], None]) -> bool:
    """Bring `root/.venv` up to date for `extra` ("" or a name of [project.optional-dependencies]).

    `install(python, requirement, log)` does the installing. Returns whether there was anything to do.

    Raises:
        SetUpError: no environment could be created, or the installation failed.
    """
    venv = root / ".venv"
    if is_current(root, extra):
        return False
    with _alone(root):
        if is_current(root, extra):
            return False  # somebody else did it while we waited
        done = _extras_done(root)
        print("updating .venv" if (venv / STAMP).exists() else FIRST_TIME, file=sys.stderr)
        (venv / STAMP).unlink(missing_ok=True)
        if not _usable(venv):
            _create(venv)
        extras = {*done, extra} - {""}
        install(venv / "bin" / "python", f".[{','.join(sorted(extras))}]" if extras else ".", venv / LOG)
        _write_stamp(root, extras | {""})
    return True


def is_current(root: Path, extra: str) -> bool:
    """Whether the last complete set-up was of these very pins, at this place, with this extra."""
    return _usable(root / ".venv", quick=True) and extra in _extras_done(root)


def run_pip(python: Path, requirement: str, log: Path) -> None:
    """Install `requirement` and what it needs, editable; pip's own words go to `log`."""
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", "-c", "constraints.txt", "-e", requirement]
    environ = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    with log.open("w", encoding="utf-8") as file, _Progress() as progress:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            close_fds=False,  # it inherits the lock: should we be killed, the next set-up waits for it
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is PIPE
        try:
            for line in process.stdout:
                file.write(line)
                progress.see(line)
        except KeyboardInterrupt:
            process.terminate()
            raise
        finally:
            status = process.wait()
    if status:
        raise SetUpError(f"pip could not install the dependencies (status {status})\n{_tail(log)}\n  whole log: {log}")


class _Progress:
    """One line that is rewritten on a terminal; elsewhere a line for each large download."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._collected = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def see(self, line: str) -> None:
        """Tell what pip does, by one line of its output."""
        first, _, rest = line.strip().partition(" ")
        self._collected += first == "Collecting"
        if self._terminal and first in ("Collecting", "Downloading", "Installing"):
            text = f"  {time.monotonic() - self._began:4.0f} s, package {self._collected}: {first.lower()} {rest}"
            print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)
        elif not self._terminal and first == "Downloading" and _megabytes(rest) > 100:
            print(f"  downloading {rest}", file=sys.stderr, flush=True)
        elif not self._terminal and first == "Installing" and rest.startswith("collected"):
            print(f"  installing {rest.count(',') + 1} packages", file=sys.stderr, flush=True)


def _megabytes(text: str) -> float:
    """The size at the end of pip's "name.whl (871.0 MB)"; 0 if there is none."""
    size, _, unit = text.rpartition("(")[2].rstrip(")").partition(" ")
    try:
        return float(size) * {"kB": 1e-3, "MB": 1.0, "GB": 1e3}.get(unit, 0.0)
    except ValueError:
        return 0.0


def _state(root: Path) -> str:
    """Digest of all that decides what is installed."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def _extras_done(root: Path) -> set[str]:
    """Extras of the last complete set-up; empty when there was none or it was of something else."""
    try:
        stamp = json.loads((root / ".venv" / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return set(stamp["extras"]) if stamp["state"] == _state(root) else set()


def _write_stamp(root: Path, extras: set[str]) -> None:
    path = root / ".venv" / STAMP
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"state": _state(root), "extras": sorted(extras)}), encoding="utf-8")
    draft.replace(path)


def _usable(venv: Path, *, quick: bool = False) -> bool:
    """Whether the environment was made at this very place and (unless `quick`) its Python and pip work."""
    try:
        made = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    commands = [line for line in made.splitlines() if line.startswith("command = ")]
    if commands and not commands[0].endswith(f" {venv}"):
        return False
    python = venv / "bin" / "python"
    if quick:
        return python.exists()
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0


def _create(venv: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True)
    if made.returncode:
        words = (made.stdout + made.stderr).strip()
        raise SetUpError(
            f"{sys.executable} could not create {venv}\n{words}\n  fix on Debian or Ubuntu: apt install python3-venv"
        )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the lock on `root`; the system lets go of it however this process and pip end."""
    folder = os.open(root, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this folder", file=sys.stderr)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join("  " + line for line in log.read_text(encoding="utf-8").splitlines()[-lines:])


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 ready, 1 could not be set up, 130 interrupted."""
    root = Path(__file__).resolve().parent.parent
    os.chdir(root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C, and take pip along
    try:
        set_up(root, arguments[0] if arguments else "", install=run_pip)
    except SetUpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
