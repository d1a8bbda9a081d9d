"""The audit as one HTML file: no scripts, nothing loaded, readable on a telephone, on paper and in the dark.

A content security policy inside the file forbids what it does not need, so that not even a fault in the escaping
(`markup`) could fetch or run anything. The same document gives the same bytes: a verifier draws the page again.
"""

from __future__ import annotations

from importlib import resources

from audit.findings import Verdict
from audit.report.document import Document
from audit.report.markup import Markup, element, joined
from audit.report.measurements import Outcome
from audit.report.page_context import (
    environment_parts,
    limit_parts,
    model_parts,
    provision_parts,
    robustness_parts,
    verify_parts,
)
from audit.report.page_leakage import leakage_parts, privacy_parts
from audit.report.page_wire import control_parts, finding_parts, search_parts, wire_parts
from audit.report.words import count, duration, epsilon, percent

__all__ = ["page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.INCOMPLETE: "!"}


def page(document: Document) -> str:
    """The whole document as HTML."""
    sections = _sections(document)
    links = (
        element("li", None, element("a", {"href": f"#{anchor}"}, f"{at} {title}"))
        for at, (anchor, title, _) in enumerate(sections, 1)
    )
    body = element(
        "body",
        None,
        element("a", {"class": "skip", "href": "#limits"}, "To the limits and results"),
        element("header", {"id": "verdict"}, *_header(document)),
        element("nav", {"aria-label": "Contents"}, element("ol", None, *links)),
        element("main", None, *(_section(at, *each) for at, each in enumerate(sections, 1))),
        element("footer", None, "secure-fl audit · examination ", element("code", None, document.examination_sha256)),
    )
    head = element(
        "head",
        None,
        Markup('<meta charset="utf-8"/>'),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, f"{document.verdict}: audit of {document.run.title}"),
        element("style", None, Markup(resources.files("audit.report").joinpath("page.css").read_text("utf-8"))),
    )
    return joined(Markup("<!doctype html>\n"), element("html", {"lang": "en"}, head, body), Markup("\n"))


def _sections(document: Document) -> list[tuple[str, str, list[Markup]]]:
    """Anchor, title and parts, in order: limits before results."""
    seen = document.examination
    return [
        ("limits", "Limits first", limit_parts(document.scope)),
        ("wire", "What crossed the wire", wire_parts(seen)),
        ("findings", "Findings", finding_parts(seen.findings)),
        ("controls", "Controls", control_parts(seen)),
        ("searches", "The paper's search beside ours", search_parts(document.searches)),
        ("privacy", "Privacy spent", privacy_parts(document.privacy)),
        ("leakage", "What the model gives away", leakage_parts(document.leakage)),
        ("robustness", "Robustness", robustness_parts(document.robustness)),
        ("model", "Model and data", model_parts(document.model)),
        ("environment", "Environment", environment_parts(document.environment)),
        ("law", "GDPR and HIPAA", provision_parts(document)),
        ("verify", "How to verify this", verify_parts(document)),
    ]


def _section(number: int, anchor: str, title: str, parts: list[Markup]) -> Markup:
    heading = element("h2", {"id": f"h-{anchor}"}, element("span", {"class": "at"}, str(number)), title)
    return element("section", {"id": anchor, "aria-labelledby": f"h-{anchor}"}, heading, *parts)


def _header(document: Document) -> list[Markup]:
    run = document.run
    facts = (run.id, run.started, duration(run.duration_s), count(run.rounds, "round"), run.topology)
    word = element(
        "span",
        {"class": "word"},
        element("span", {"aria-hidden": "true"}, f"{_SIGNS[document.verdict]} "),
        document.verdict.value,
    )
    return [
        element("p", {"class": "eyebrow"}, "Privacy and traffic audit · " + " · ".join(each for each in facts if each)),
        element("h1", None, run.title),
        element("div", {"class": f"verdict {document.verdict.value}"}, word, element("p", None, document.reason)),
        element("div", {"class": "tiles"}, *_tiles(document)),
    ]


def _tiles(document: Document) -> list[Markup]:
    """The five numbers that the verdict rests on, and whether each is as it should be."""
    seen = document.examination
    whole = seen.ledger.captured_bytes
    explained = whole - seen.ledger.unaccounted_bytes
    opened = sum(each.decrypted for each in seen.sessions)
    behaved = sum(each.behaved for each in seen.controls)
    drops = sum(each.kernel_drops for each in seen.captures)
    return [
        _tile(
            "of the bytes accounted for",
            "–" if not whole else "100 %" if explained == whole else percent(min(explained / whole, 0.9999), 2),
            f"{whole:,} captured, {count(drops, 'packet')} dropped",
            "good" if whole and explained == whole and not drops else "open",
        ),
        _tile(
            "sessions decrypted",
            f"{opened} of {len(seen.sessions)}",
            f"{count(len(seen.blind_spots), 'blind spot')}",
            "good" if seen.sessions and opened == len(seen.sessions) and not seen.blind_spots else "open",
        ),
        _tile(
            "findings", f"{len(seen.findings):,}", "that must not cross the wire", "bad" if seen.findings else "good"
        ),
        _tile(
            "controls behaved",
            f"{behaved} of {len(seen.controls)}",
            "sent by the audit itself",
            "good" if seen.controlled else "open",
        ),
        _privacy_tile(document),
    ]


def _privacy_tile(document: Document) -> Markup:
    privacy = document.privacy
    lower = max((each.lower for each in privacy.bounds if each.lower is not None), default=None)
    proved = "not tested" if lower is None else f"proved to be spent: ≥ {epsilon(lower)}"
    if not privacy.spent:
        return _tile("differential privacy", "none", proved if lower else "claimed", "")
    worst = None if any(s.epsilon is None for s in privacy.spent) else max(s.epsilon or 0.0 for s in privacy.spent)
    broken = any(each.outcome is Outcome.VIOLATED for each in privacy.bounds)
    return _tile("ε claimed, at most", epsilon(worst), proved, "bad" if broken else "")


def _tile(title: str, value: str, below: str, kind: str) -> Markup:
    strong = element("strong", {"class": kind} if kind else None, value)
    return element("div", {"class": "tile"}, element("span", None, title), strong, element("span", None, below))
