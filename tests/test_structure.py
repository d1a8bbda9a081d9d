"""The house keeps its shape: imports point down, public names are declared, nothing unpickles.

Each check runs over the whole tree, and once over a small bad example to show that it can fail.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import structure

ROOT = Path(__file__).resolve().parent.parent
# Flower loads these by the names that they have inside their own bundle, not as modules of ours.
BUNDLES = ("benchmarks/stock_flower/app/",)


def modules() -> dict[str, str]:
    """Dotted name to text of each module outside the tests."""
    paths = [path for package in structure.PACKAGES for path in (ROOT / package).rglob("*.py")]
    kept = [path for path in paths if not path.relative_to(ROOT).as_posix().startswith(BUNDLES)]
    return {structure.module_name(ROOT, path): path.read_text(encoding="utf-8") for path in sorted(kept)}


def text_files() -> dict[str, str]:
    """Path to text of every file that is, or could be, committed; by a walk where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        names = listed.stdout.decode().rstrip("\0").split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [
            path.relative_to(ROOT).as_posix()
            for path in ROOT.rglob("*")
            if not path.relative_to(ROOT).parts[0].startswith((".venv", ".git", "runs", "federation"))
        ]
    files = {}
    for name in names:
        try:
            files[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue  # a picture, a folder, or deleted but still in the index
    return files


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    found = modules()
    assert len(found) > 20, "the walk found next to nothing, so the checks would pass on nothing"
    return found


def faults(check: Callable[[str, str], list[str]], files: dict[str, str]) -> list[str]:
    return [fault for name, text in files.items() for fault in check(name, text)]


def test_imports_point_down_and_libraries_stay_in_their_rooms(tree: dict[str, str]) -> None:
    assert faults(structure.import_faults, tree) == []


@pytest.mark.parametrize(
    ("module", "line", "culprit"),
    [
        ("defenses.krum", "import secure_fl.errors", "secure_fl"),
        ("audit.report", "from secure_fl.runs import record", "secure_fl"),
        ("secure_fl.cli.run", "import webui", "webui"),
        ("secure_fl.data.tree", "from secure_fl.training.seeds import derive_seed", "secure_fl.training"),
        ("secure_fl.data.tree", "from ..training import seeds", "secure_fl.training"),
        ("secure_fl.config", "from secure_fl import cli", "secure_fl.cli"),
        ("secure_fl.runs.index", "def late():\n    from secure_fl.app.server_app import app", "secure_fl.app"),
        ("secure_fl.runs.index", "import importlib\nimportlib.import_module('secure_fl.app')", "secure_fl.app"),
        ("secure_fl.training.local", "from flwr.app import Message", "flwr"),
        ("audit.decoder", "import flwr", "flwr"),
        ("secure_fl.app.serve", "import flask", "flask"),
    ],
)
def test_an_import_that_points_up_is_found(module: str, line: str, culprit: str) -> None:
    (fault,) = structure.import_faults(module, line)
    assert culprit in fault


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("secure_fl.cli.run", "from secure_fl.federation.launch import execute"),
        ("secure_fl.runs.index", "from secure_fl import __version__"),
        ("audit.decode", "import flwr"),
        ("audit.decode.objects", "import flwr"),
        ("webui.app", "import flask"),
        ("attacks.scale", "from attacks.base import Attack"),
    ],
)
def test_an_import_that_points_down_is_allowed(module: str, line: str) -> None:
    assert structure.import_faults(module, line) == []


def test_every_public_module_declares_its_names(tree: dict[str, str]) -> None:
    public = {name: text for name, text in tree.items() if not name.rpartition(".")[2].startswith("_") or "__i" in name}
    assert faults(structure.export_faults, public) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def shown(): ...", "no single"),
        ("__all__ = ['ghost']", "ghost"),
        ("__all__ = ['b', 'a']\na = b = 1", "not sorted"),
        ("__all__ = ['a', 'a']\na = 1", "not sorted"),
        ("__all__ = ['Kind', 'LIMIT']\nLIMIT = 1\nclass Kind: ...", "not sorted"),
    ],
)
def test_a_wrong_list_of_names_is_found(text: str, complaint: str) -> None:
    (fault,) = structure.export_faults("secure_fl.example", text)
    assert complaint in fault


def test_nothing_reads_pickle_or_unsafe_yaml(tree: dict[str, str]) -> None:
    assert faults(structure.unsafe_faults, tree) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text)",
    ],
)
def test_an_unsafe_reader_is_found(text: str) -> None:
    assert len(structure.unsafe_faults("secure_fl.example", text)) == 1


def test_safe_readers_are_left_alone() -> None:
    assert structure.unsafe_faults("x", "np.load(path, allow_pickle=False)\nyaml.safe_load(text)\njson.load(f)") == []


def test_no_file_is_over_500_lines() -> None:
    assert faults(structure.length_faults, {n: t for n, t in text_files().items() if n.endswith(".py")}) == []


def test_a_file_that_is_too_long_is_found() -> None:
    assert structure.length_faults("long.py", "\n" * 500) == ["long.py has 501 lines, over 500"]


def test_no_file_names_a_machine_or_a_registry() -> None:
    # The tests hold bad examples; the licence and the lists of numbers are other people's text.
    files = {n: t for n, t in text_files().items() if not n.startswith(("tests/", ".ci/"))}
    assert "pyproject.toml" in files
    assert faults(structure.place_faults, files) == []


@pytest.mark.parametrize(
    "text",
    [
        'HOME = "/root/federation"',
        "data lies in /work/shared",
        "path=/tmp/run.log",
        "see `/home/anna/fl`",
        "pip install --index-url X",
        "https://mirror.example/simple/torch",
        'url = "https://pypi.org/project"',
    ],
)
def test_a_place_that_only_we_know_is_found(text: str) -> None:
    assert len(structure.place_faults("README.md", text)) == 1


def test_ordinary_text_names_no_place() -> None:
    assert (
        structure.place_faults("README.md", "runs/ tests/tmp/x network/root/a https://www.python.org/downloads/") == []
    )
