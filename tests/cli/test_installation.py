"""What `doctor` says of the installation: versions against those that are declared, and PyTorch's two halves."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from secure_fl.cli.installation import DISTRIBUTION, importing, packages, requirements, torch_builds

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


def installed(versions: dict[str, str]) -> object:
    def version_of(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    return version_of


def test_the_name_and_the_requirements_are_those_of_the_project() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert {*map(Requirement, PROJECT["dependencies"])} <= {*map(Requirement, requirements())}


def test_this_installation_is_known_to_work() -> None:
    (found,) = packages()
    assert found.level == "ok", found


def test_missing_and_unknown_versions_fail_with_what_to_install() -> None:
    declared = ["flwr>=1.41,<1.42", "torch>=2.13,<3", "rich>=14", "ray>2; extra == 'sim'"]
    found = packages(declared, version_of=installed({"flwr": "1.42.0", "rich": "14.0"}))  # type: ignore[arg-type]
    assert [(each.level, each.found) for each in found] == [
        ("fail", "flwr 1.42.0 is not known to work"),
        ("fail", "torch is missing"),
    ]
    assert found[0].fix == "pip install 'flwr<1.42,>=1.41'"


def test_local_version_labels_and_prereleases_are_no_reason_to_fail() -> None:
    (found,) = packages(["torch>=2.13,<3"], version_of=lambda name: "2.15.0+cu132")
    assert found.level == "ok"
    (found,) = packages(["torch>=2.13,<3"], version_of=lambda name: "2.16.0.dev20261101")
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("torch", "torchvision", "fits"),
    [
        ("__version__ = '2.15.0+cu132'", "__version__ = '0.29.2+cu132'", True),
        ("__version__ = '2.15.0+cpu'\ncuda: Optional[str] = None", "__version__ = '0.29.2+cpu'", True),
        ("__version__ = '2.15.0'\ncuda: Optional[str] = '13.2'", "__version__ = '0.29.2+cu132'", True),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None", "__version__ = '0.28.0+cu130'", False),
        ("__version__ = '2.15.0+cu132'", "__version__ = '0.29.2+cu118'", False),
    ],
)
def test_torch_and_torchvision_must_be_built_for_the_same(
    torch: str, torchvision: str, fits: bool, tmp_path: Path
) -> None:
    for name, text in (("torch", torch), ("torchvision", torchvision)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "version.py").write_text(text)
    found = torch_builds(lambda name: tmp_path / name)
    assert [each.level for each in found] == ([] if fits else ["fail"])


def test_what_is_not_installed_is_a_matter_for_packages() -> None:
    assert torch_builds(lambda name: None) == []
    assert torch_builds() == []


def test_an_import_that_works_that_fails_and_that_takes_too_long() -> None:
    with importing(20.0, code="pass") as outcome:
        assert (outcome().level, "work together" in outcome().found) == ("ok", True)
    with importing(20.0, code="raise ImportError('operator torchvision::nms does not exist')") as outcome:
        found = outcome()
    assert (found.level, found.found) == (
        "fail",
        "cannot be imported: ImportError: operator torchvision::nms does not exist",
    )
    with importing(0.0, code="import threading; threading.Event().wait()") as outcome:
        found = outcome()
    assert (found.level, "takes longer" in found.found) == ("ok", True)
