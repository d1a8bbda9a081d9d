"""Write all reports of a comparison into its folder, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secure_fl.lab.report.exports import cells_csv, document, tables_tex
from secure_fl.lab.report.page import page
from secure_fl.lab.results import Results
from secure_fl.runs.atomic import write_atomic, writing

__all__ = ["FILES", "write_manifest", "write_reports"]

FILES = ("report.html", "report.json", "cells.csv", "tables.tex")


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write `manifest.json`; raises SecureFLError where the folder cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "manifest.json", _json(manifest))
    return folder / "manifest.json"


def write_reports(folder: Path, results: Results, manifest: Mapping[str, Any]) -> list[Path]:
    """Write the manifest and, beside it, the page, JSON, CSV and LaTeX; returns the files in the order of `FILES`.

    Raises:
        SecureFLError: the folder cannot be written.
    """
    write_manifest(folder, manifest)
    contents = {
        "report.html": page(results, manifest).encode(),
        "report.json": _json(document(results, manifest)),
        "cells.csv": cells_csv(results).encode(),
        "tables.tex": tables_tex(results.findings).encode(),
    }
    for name in FILES:
        write_atomic(folder / name, contents[name])
    return [folder / name for name in FILES]


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
