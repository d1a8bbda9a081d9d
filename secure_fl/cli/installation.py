"""The checks of `secure-fl doctor` on what is installed: versions, and whether PyTorch can be imported.

Which versions are known to work is declared once, in pyproject.toml; a checkout has that file, an
installed package carries the same in its metadata. Versions are read from metadata, so that nothing
heavy is imported here. The import of PyTorch is tried in a child process, within a time limit.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from secure_fl.cli.checks import Check

__all__ = ["DISTRIBUTION", "importing", "packages", "requirements", "torch_builds"]

DISTRIBUTION = "securefl-vision"
_IMPORT = "import torch, torchvision.models; torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))"


def packages(declared: list[str] | None = None, *, version_of: Callable[[str], str] = metadata.version) -> list[Check]:
    """Every library is there, in a version that is known to work."""
    from packaging.requirements import Requirement

    wrong, found = [], []
    for each in map(Requirement, requirements() if declared is None else declared):
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            version = version_of(each.name)
        except metadata.PackageNotFoundError:
            wrong.append(Check("packages", "fail", f"{each.name} is missing", f"pip install '{each}'"))
            continue
        found.append(f"{each.name} {version}")
        if not each.specifier.contains(version, prereleases=True):
            wrong.append(
                Check("packages", "fail", f"{each.name} {version} is not known to work", f"pip install '{each}'")
            )
    foremost = [each for each in found if each.split()[0] in ("flwr", "torch", "torchvision")]
    return wrong or [Check("packages", "ok", f"{len(found)} in known good versions; {', '.join(foremost)}")]


def requirements() -> list[str]:
    """The libraries that we declare: by pyproject.toml in a checkout, by our metadata where installed."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}) if file.exists() else {}
    if project.get("name") == DISTRIBUTION:
        declared: list[str] = project["dependencies"]
        return declared
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def torch_builds(locate: Callable[[str], Path | None] | None = None) -> list[Check]:
    """torch and torchvision were built for the same thing (both CPU, or the same CUDA).

    A torchvision built for CUDA beside a CPU-only torch dies on import: `torchvision::nms does not exist`.
    """
    builds = {name: _build(folder) for name in ("torch", "torchvision") if (folder := (locate or _folder)(name))}
    if len(builds) < 2 or builds["torch"] == builds["torchvision"]:
        return []
    words = " and ".join(f"{name} is built for {build or 'the CPU only'}" for name, build in builds.items())
    return [
        Check(
            "pytorch", "fail", words, "reinstall both from one source: pip install --force-reinstall torch torchvision"
        )
    ]


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # of a top-level package: located, not imported
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _build(folder: Path) -> str:
    """`cu132` from the text of version.py, or nothing for a CPU build."""
    text = (folder / "version.py").read_text(encoding="utf-8") if (folder / "version.py").exists() else ""
    found = re.search(r"\+(cu\d+|rocm[\d.]+)", text) or re.search(r"^cuda.*=\s*'(\d+)\.(\d+)'", text, re.MULTILINE)
    if found is None:
        return ""
    return found[1] if found.lastindex == 1 else f"cu{found[1]}{found[2]}"


@contextmanager
def importing(limit_s: float, code: str = _IMPORT) -> Iterator[Callable[[], Check]]:
    """Try the import in a child process while the block runs; the yielded function waits and tells.

    It waits at most until `limit_s` after the start. The child is gone when the block ends.
    """
    began = time.monotonic()
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def outcome() -> Check:
        try:
            _, errors = child.communicate(timeout=max(0.1, limit_s - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            return Check(
                "pytorch", "ok", f"not tried to the end: its import takes longer than {limit_s:.0f} s just now"
            )
        if child.returncode == 0:
            return Check(
                "pytorch", "ok", f"torch and torchvision work together (imported in {time.monotonic() - began:.1f} s)"
            )
        last = (errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return Check(
            "pytorch", "fail", f"cannot be imported: {last}", "pip install --force-reinstall torch torchvision"
        )

    try:
        yield outcome
    finally:
        child.kill()
        child.communicate()
