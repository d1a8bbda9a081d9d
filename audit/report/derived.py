"""The files that follow from the document alone: drawn when a bundle is written, and again to verify it."""

from __future__ import annotations

from audit.report.document import Document
from audit.report.mlbom import ml_bom
from audit.report.page import page
from audit.report.sarif import sarif
from audit.report.shape import canonical

__all__ = ["BOM", "DOCUMENT", "PAGE", "SARIF", "derived_files"]

DOCUMENT, PAGE, SARIF, BOM = "document.json", "report.html", "findings.sarif", "model.cdx.json"


def derived_files(document: Document) -> dict[str, bytes]:
    """Name to bytes; equal for equal documents and an equal `renderer_sha256`."""
    return {
        DOCUMENT: document.to_bytes(),
        PAGE: page(document).encode(),
        SARIF: canonical(sarif(document)),
        BOM: canonical(ml_bom(document)),
    }
