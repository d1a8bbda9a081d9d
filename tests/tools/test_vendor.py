"""What we ship of others is what we fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tools.vendor import PACKAGES, Package, manifest_faults

_ROOT = Path(__file__).resolve().parents[2]
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


@each_package
def test_every_file_is_the_one_that_was_fetched(package: Package) -> None:
    assert manifest_faults(_ROOT, package) == []


@each_package
def test_the_licence_lies_beside_the_code(package: Package) -> None:
    manifest = json.loads((_ROOT / package.folder / "MANIFEST.json").read_bytes())
    licences = [_ROOT / package.folder / name for name in manifest["files"] if name.endswith("LICENSE")]
    assert licences and all(each.stat().st_size > 500 for each in licences)


@each_package
def test_an_altered_and_an_added_file_are_named(package: Package, tmp_path: Path) -> None:
    shutil.copytree(_ROOT / package.folder, tmp_path / package.folder)
    script = next(each for each in (tmp_path / package.folder).iterdir() if each.suffix == ".js")
    script.write_bytes(script.read_bytes().replace(b"a", b"b", 1))
    (script.parent / "stray.js").write_text("1", encoding="utf-8")

    assert manifest_faults(tmp_path, package) == [
        f"{script.name} is not the file that was fetched",
        "stray.js is in no manifest",
    ]


def test_the_scripts_of_a_page_stay_below_95_kilobytes_together() -> None:
    scripts = (_ROOT / "webui/static").rglob("*.js")
    assert sum(each.stat().st_size for each in scripts) <= 95_000


def test_the_stylesheet_stays_below_25_kilobytes() -> None:
    assert (_ROOT / "webui/static/app.css").stat().st_size <= 25_000
