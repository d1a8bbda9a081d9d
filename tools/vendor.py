"""Fetch other people's JavaScript at the one version that we chose, and write down what it was.

    python -m tools.vendor            fetches with `npm pack`
    python -m tools.vendor FOLDER     takes the .tgz files from FOLDER

uPlot is what the Command Center draws charts with; axe-core judges its pages in tests and is never served. Each folder
gets a MANIFEST.json with name, version, licence, and the SHA-256 of every file; tests/tools/test_vendor.py holds the
files to it. Nothing is run that came in a package.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "Package", "main", "manifest_faults"]

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Package:
    """files: path inside the package to the name that it gets in `folder`."""

    name: str
    version: str
    licence: str
    home: str
    folder: str
    files: Mapping[str, str]

    @property
    def archive(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.name}-{self.version}.tgz"


PACKAGES = (
    Package(
        name="uplot",
        version="1.6.32",
        licence="MIT",
        home="https://github.com/leeoniya/uPlot",
        folder="webui/static/vendor",
        files={
            "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
            "dist/uPlot.min.css": "uPlot.min.css",
            "LICENSE": "uPlot.LICENSE",
        },
    ),
    Package(
        name="axe-core",
        version="4.14.1",
        licence="MPL-2.0",
        home="https://github.com/dequelabs/axe-core",
        folder="tests/webui/vendor",
        files={"axe.min.js": "axe.min.js", "LICENSE": "axe.LICENSE"},
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every package's files and manifest."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(given[0]) if given else Path(scratch)
        for package in PACKAGES:
            if not given:
                _fetch(package, folder)
            _unpack(package, folder / package.archive)
    return 0


def manifest_faults(root: Path, package: Package) -> list[str]:
    """Where the files of a package are not those that its manifest names."""
    folder = root / package.folder
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    faults = []
    if (manifest["name"], manifest["version"]) != (package.name, package.version):
        faults.append(f"the manifest is of {manifest['name']} {manifest['version']}")
    for name, told in manifest["files"].items():
        content = (folder / name).read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (told["bytes"], told["sha256"]):
            faults.append(f"{name} is not the file that was fetched")
    present = {each.name for each in folder.iterdir()} - {"MANIFEST.json"}
    return faults + [f"{name} is in no manifest" for name in sorted(present - manifest["files"].keys())]


def _fetch(package: Package, folder: Path) -> None:
    command = ["npm", "pack", "--ignore-scripts", "--silent", f"{package.name}@{package.version}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _unpack(package: Package, archive: Path) -> None:
    folder = _ROOT / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, Any]] = {}
    with tarfile.open(archive) as opened:
        for inside, name in package.files.items():
            member = opened.extractfile(f"package/{inside}")
            if member is None:
                raise FileNotFoundError(f"{archive.name} has no {inside}")
            content = member.read()
            (folder / name).write_bytes(content)
            files[name] = {"from": inside, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "name": package.name,
        "version": package.version,
        "licence": package.licence,
        "home": package.home,
        "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "files": files,
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
