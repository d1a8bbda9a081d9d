"""What a user installs: the wheel holds what it must, the pins are complete, and Flower accepts the bundle."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from secure_fl import __version__
from secure_fl.config import flower_defaults
from tests.structure import imports, module_name
from tools.flower_config import with_settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("secure_fl", "attacks", "defenses", "audit", "webui")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {_normal(name): version for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_flower_may_override_exactly_our_settings(project: dict[str, Any]) -> None:
    written = project["tool"]["flwr"]["app"]["config"]
    assert written == flower_defaults(), "run: python -m tools.flower_config"
    # 1 and 1.0 are equal, but Flower refuses an override of another type than the default.
    assert {key: type(value) for key, value in written.items()} == {k: type(v) for k, v in flower_defaults().items()}


def test_a_setting_that_changed_is_written_where_flower_looks() -> None:
    before = "[tool.other]\nlr = 3\n\n[tool.flwr.app.config]\nlr = 0.1\nold = true\n\n[tool.next]\nx = 1\n"
    after = tomllib.loads(with_settings(before, {"lr": 1e-8, "name": 'a "b"', "on": False, "n": 7}))["tool"]
    assert after["flwr"]["app"]["config"] == {"lr": 1e-8, "name": 'a "b"', "on": False, "n": 7}
    assert after["other"] == {"lr": 3} and after["next"] == {"x": 1}


def test_a_project_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="found 0 tables"):
        with_settings("[project]\n", {})


def test_the_version_is_stated_alike_in_both_places(project: dict[str, Any]) -> None:
    assert project["project"]["version"] == __version__


def test_every_requirement_has_a_pin_that_satisfies_it(project: dict[str, Any], pins: dict[str, str]) -> None:
    extras = project["project"]["optional-dependencies"].values()
    wanted = [Requirement(text) for text in [*project["project"]["dependencies"], *(t for e in extras for t in e)]]
    assert [str(r) for r in wanted if not r.specifier.contains(pins.get(_normal(r.name), "0"))] == []


# Libraries that only an extra brings, and that we use where they are.
OPTIONAL = ("ray", "dp-accounting", "llvmlite", "hyperscan", "fpdf2")


def test_what_we_import_is_declared_and_explained(project: dict[str, Any]) -> None:
    ours = {*PACKAGES, "benchmarks", "tools"}
    imported = (
        {
            name.split(".")[0]
            for package in PACKAGES
            for path in (ROOT / package).rglob("*.py")
            for _, name in imports(module_name(ROOT, path), path.read_text(encoding="utf-8"))
        }
        - ours
        - sys.stdlib_module_names
    )
    by_module = metadata.packages_distributions()
    extras = project["project"]["optional-dependencies"]
    declared = {
        _normal(Requirement(text).name) for text in [*project["project"]["dependencies"], *extras["sim"], *extras["ui"]]
    }
    used = {_normal(by_module.get(module, [module])[0]) for module in imported} - {*OPTIONAL}
    assert used - declared == set(), "imported and not declared"
    # The digits are read from scikit-learn's data file; importing it would take two seconds.
    assert declared - used == {"scikit-learn"}, "declared and not imported"
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    wanted = declared | {_normal(Requirement(text).name) for text in extras["test"]}
    assert {name for name in wanted if f"| {name} " not in explained} == set()


def test_pins_are_exact_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+")
    assert [line for line in lines if not line.startswith("#") and not pin.fullmatch(line)] == []


def test_the_wheel_holds_every_package_with_its_types_and_presets(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {f"secure_fl/presets/{each.name}" for each in (ROOT / "secure_fl" / "presets").glob("*.toml")} <= names
    pages = {"store/migrations/0001_foundation.sql", "api/openapi.yaml", "auth/common_passwords.txt", "static/app.css"}
    assert {f"webui/{each}" for each in pages} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == set(PACKAGES)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_flower_builds_its_bundle_from_this_folder() -> None:
    from flwr.cli.build import build_fab_from_files

    files: dict[str, bytes | Path] = {
        path.relative_to(ROOT).as_posix(): path
        for top in (*PACKAGES, "LICENSE", "pyproject.toml")
        for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    bundle, metadata = build_fab_from_files(files)
    assert metadata.fab_format_version == 1
    assert metadata.flwr_version_target == "1.41.0"
    assert len(bundle) < 10_000_000  # what Flower takes; that nothing needless is in it is judged below
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".py")}
    assert modules == _reached_from("secure_fl/app/client_app.py", "secure_fl/app/server_app.py")


def _reached_from(*starts: str) -> set[str]:
    """The files of ours that these import, directly or not, now or when a function of theirs is called."""
    reached: set[str] = set()
    waiting = list(starts)
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            module = module_name(ROOT, ROOT / file)
            for _, name in imports(module, (ROOT / file).read_text(encoding="utf-8")):
                waiting += _files_of(name)
    return reached


def _files_of(name: str) -> list[str]:
    """The file of a dotted name, which may end in what the file defines, and of each package around it."""
    parts = name.split(".")
    paths = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    found = [f"{path}{end}" for path in paths for end in ("/__init__.py", ".py")]
    return [each for each in found if (ROOT / each).is_file()]
