"""The audit on paper: the page printed by Chromium where there is one, else a plain document by fpdf2, else none.

A PDF is a convenience. It is signed with the rest, but it cannot be drawn again to the byte, so a verifier compares
only its digest; the page and `document.json` are what counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from audit.report.document import Document
from audit.report.page import page
from audit.report.words import visible

__all__ = ["NO_PDF", "Pdf", "chromium", "make_pdf", "plain_pdf", "printed_pdf"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 120


@dataclass(frozen=True)
class Pdf:
    """The file, or None; `note` says how it was made, or why it was not."""

    content: bytes | None
    note: str


NO_PDF = Pdf(None, "no PDF: neither Chromium nor fpdf2 was found (pip install 'securefl-vision[pdf]')")


def make_pdf(document: Document) -> Pdf:
    """The best PDF that this machine can make."""
    reasons = []
    makers: tuple[tuple[str, Callable[[Document], bytes]], ...] = (
        ("printed by Chromium", printed_pdf),
        ("set by fpdf2, without figures", plain_pdf),
    )
    for name, maker in makers:
        try:
            return Pdf(maker(document), name)
        except ImportError:
            continue
        except (OSError, subprocess.SubprocessError, ValueError) as why:
            reasons.append(f"{name}: {why}")
    return Pdf(None, "; ".join([NO_PDF.note, *reasons]))


def chromium() -> str | None:
    """Path of a Chromium, if one is on the path."""
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


def printed_pdf(document: Document) -> bytes:
    """The page as Chromium prints it; raises OSError where there is no Chromium, or where it makes nothing."""
    browser = chromium()
    if browser is None:
        raise FileNotFoundError("no Chromium")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "report.html"), Path(folder, "report.pdf")
        # Paper does not unfold.
        source.write_text(page(document).replace("<details>", '<details open="">'), encoding="utf-8")
        # Chromium's sandbox refuses to run as root; the page holds no script and its policy lets nothing be fetched.
        rootless = [] if os.getuid() else ["--no-sandbox"]
        options = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-pdf-header-footer", *rootless]
        profile = f"--user-data-dir={folder}/profile"
        subprocess.run(  # noqa: S603 - found on the path, arguments are ours
            [browser, *options, profile, f"--print-to-pdf={target}", source.as_uri()],
            check=True,
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
        return target.read_bytes()


def plain_pdf(document: Document) -> bytes:
    """Every value of the document, section by section, in the fonts that each PDF reader has.

    Those fonts know Latin-1 only: other characters are named or replaced. Raises ImportError without fpdf2.
    """
    from fpdf import FPDF
    from fpdf.enums import WrapMode

    paper = FPDF()
    paper.set_title(_latin(f"Audit of {document.run.title}"))
    paper.set_creation_date(datetime.fromisoformat(document.run.started))
    paper.add_page()
    for kind, text in _lines(document):
        bold, height = {"title": ("B", 18), "heading": ("B", 13), "line": ("", 9)}[kind]
        paper.set_font("Helvetica", style=bold, size=height)
        paper.multi_cell(0, height * 0.5, _latin(text), new_x="LMARGIN", new_y="NEXT", wrapmode=WrapMode.CHAR)
    return bytes(paper.output())


def _lines(document: Document) -> Iterator[tuple[str, str]]:
    yield "title", f"{document.verdict.value}: {document.run.title}"
    yield "line", document.reason
    for name, section in document.to_mapping().items():
        if isinstance(section, dict | list):
            yield "heading", name.replace("_", " ").capitalize()
            for text in _flat(section, ""):
                yield "line", text
    yield "line", f"Examination {document.examination_sha256}"


def _flat(value: Any, at: str) -> Iterator[str]:
    """`sessions 3 site: clinic-north`; pixels are left out, they are in `document.json`."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "pixels":
                yield from _flat(each, f"{at} {key}".strip())
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        yield from _rows(value, at)
    elif isinstance(value, list):
        yield from ([f"{at}: " + "; ".join(map(str, value))] if value else [])
    elif value not in ("", None):
        yield f"{at}: {value}"


def _rows(values: Sequence[Any], at: str) -> Iterator[str]:
    if at.endswith("points"):
        yield f"{at}: {len(values)} points"
        return
    for number, each in enumerate(values, 1):
        yield from _flat(each, f"{at} {number}".strip())


_NAMES = {"ε": "epsilon", "σ": "sigma", "δ": "delta", "μ": "mu", "χ": "chi", "→": "->", "←": "<-", "≥": ">=", "≤": "<=",
          "−": "-", "–": "-", "—": "-", "⁻": "-", "⁵": "5", "\N{COMBINING CIRCUMFLEX ACCENT}": ""}  # fmt: skip


def _latin(text: str) -> str:
    known = "".join(_NAMES.get(letter, letter) for letter in visible(text))
    return known.encode("latin-1", "replace").decode("latin-1")
