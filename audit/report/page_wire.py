"""The page's sections on what crossed the wire: bytes and sessions, findings, controls, and the paper's search."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from audit.findings import BlindSpot, Finding
from audit.report.examination import Examination, Flow, Polarity
from audit.report.figures import COLORS, legend, round_chart, round_order, session_chart, share_strip
from audit.report.markup import Markup, element, hashed, joined, table
from audit.report.sections import Searches
from audit.report.words import clock, count, percent, place, short, size

__all__ = ["control_parts", "finding_parts", "search_parts", "wire_parts"]

_WAYS = {"to-coordinator": "sites → coordinator", "to-site": "coordinator → sites"}
_ARROWS = {"to-coordinator": "\N{NO-BREAK SPACE}→", "to-site": "\N{NO-BREAK SPACE}←"}
_FOLDED = 20  # findings of one rule from which on they are folded away
_SHOWN = 500  # and from which on they are not shown: a page of a million lines helps nobody but the leaking site


def wire_parts(seen: Examination) -> list[Markup]:
    """Section 2."""
    return [*_ledger(seen), *_rounds(seen), *_sessions(seen), *_captures(seen), *_blind_spots(seen.blind_spots)]


def finding_parts(findings: Sequence[Finding]) -> list[Markup]:
    """Section 3: an overview of rule by site, then each rule's findings."""
    if not findings:
        return [_said("✓", "good", "Nothing was found that must not cross the wire.")]
    groups: dict[str, list[Finding]] = defaultdict(list)
    for each in findings:
        groups[each.rule].append(each)
    parts = [_overview(groups)] if len(groups) > 1 or len(findings) > 3 else []
    for rule, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        shown: dict[str, object] = {} if len(members) > _FOLDED else {"open": ""}
        many = element("span", {"class": "many"}, f" · {count(len(members), 'finding')}, {size(_bytes(members))}")
        parts.append(
            element(
                "details", shown, element("summary", None, element("code", None, rule), many), _details(rule, members)
            )
        )
    return [*parts, element("p", {"class": "soft"}, "The bytes themselves are not kept; their SHA-256 is.")]


def control_parts(seen: Examination) -> list[Markup]:
    """Section 4."""
    if not seen.controls:
        return [_said("!", "open", "No controls ran, so this audit cannot say that a leak would have been found.")]
    rows = []
    for each in seen.controls:
        mark = _mark("✓", "good", "as it must") if each.behaved else _mark("✕", "bad", "NOT as it must")
        kind = "must be found" if each.polarity is Polarity.POSITIVE else "must be silent"
        fired = "found" if each.fired else "silent"
        rows.append((each.name, each.sends, kind, element("code", None, each.expected), fired, each.seen, mark))
    head = ("control", "sends", "kind", "rule", "was", "seen as", "behaved")
    intro = (
        "The audit sent these itself, through the same port, capture and detectors as everything else. Had one of them "
        "gone unnoticed, the verdict could not be PASS."
    )
    return [element("p", None, intro), table("Controls of this audit", head, rows, "words")]


def search_parts(searches: Searches) -> list[Markup]:
    """Section 5."""
    rows = [
        (row.sent, _hits(row.paper_hits), row.paper_said, _hits(row.ours_hits), row.ours_said) for row in searches.rows
    ]
    head = ("what was sent", "#paper's hits", "paper's search", "#our hits", "this audit")
    said = [element("p", None, element("b", None, "The paper's procedure. "), searches.procedure)]
    if not rows:
        return [*said, element("p", {"class": "soft"}, "Not carried out in this audit.")]
    digest = element("p", {"class": "soft wide"}, "Both on the capture with SHA-256 ", hashed(searches.capture_sha256))
    return [*said, table("The same bytes, searched twice", head, rows, "words"), digest]


def _ledger(seen: Examination) -> list[Markup]:
    ledger = seen.ledger
    totals: Counter[str] = Counter()
    by_way: Counter[tuple[str, str]] = Counter()
    for line in ledger.lines:
        totals[line.category] += line.bytes
        by_way[line.category, line.direction] += line.bytes
    explained = ledger.captured_bytes - ledger.unaccounted_bytes
    share = percent(explained / ledger.captured_bytes, 2) if ledger.captured_bytes else "nothing"
    top = [name for name, _ in totals.most_common(COLORS - 1)]
    strip = {name: totals[name] for name in top}
    if rest := sum(totals.values()) - sum(strip.values()):
        strip["all others"] = rest
    rows: list[tuple[str, ...]] = [
        (_code(name), *(f"{by_way[name, way]:,}" for way in _WAYS), f"{total:,}")
        for name, total in totals.most_common()
    ]
    rows.append(("unaccounted for", "", "", f"{ledger.unaccounted_bytes:,}"))
    rows.append(("captured", *(f"{sum(x.bytes for x in ledger.lines if x.direction == way):,}" for way in _WAYS),
                 f"{ledger.captured_bytes:,}"))  # fmt: skip
    head = ("category", *(f"#{name}" for name in _WAYS.values()), "#bytes")
    text = f"{share} of {ledger.captured_bytes:,} bytes of TCP payload are explained by a rule that names them."
    return [
        element("h3", None, "Where every byte went"),
        element("p", None, text),
        share_strip(strip, ledger.unaccounted_bytes),
        legend([f"{name} {_share(part, ledger.captured_bytes)}" for name, part in strip.items()]),
        table("Captured bytes of TCP payload by category", head, rows),
    ]


def _rounds(seen: Examination) -> list[Markup]:
    if not seen.flows:
        return []
    sites = sorted({flow.site for flow in seen.flows})
    named = sites if len(sites) <= COLORS else [*sites[: COLORS - 1], f"{len(sites) - COLORS + 1} more sites"]
    charts = [
        round_chart(f"Bytes by round, {title}", [flow for flow in seen.flows if flow.direction == way], sites)
        for way, title in _WAYS.items()
    ]
    own: dict[tuple[str, str], list[Flow]] = defaultdict(list)
    for flow in seen.flows:
        own[flow.round, flow.site].append(flow)
    rows = []
    for name, site in sorted(own, key=lambda each: (round_order(each[0]), each[1])):
        flows = own[name, site]
        sent = (f"{sum(flow.bytes for flow in flows if flow.direction == way):,}" for way in _WAYS)
        rows.append((name or "–", site, *sent, f"{sum(flow.messages for flow in flows):,}"))
    head = ("round", "site", *(f"#{name}" for name in _WAYS.values()), "#messages")
    numbers = table("Decrypted bytes by round, site and direction", head, rows)
    return [
        element("h3", None, "Rounds"),
        element("div", {"class": "figures"}, *charts),
        legend([name or "no site" for name in named]),
        element("details", None, element("summary", None, "The numbers"), numbers),
    ]


def _sessions(seen: Examination) -> list[Markup]:
    if not seen.sessions:
        return [_said("!", "open", "No session was seen.")]
    rows = [
        (
            _code(each.id), joined(each.site or "unknown", _small("control") if each.control else ""),
            _code(each.client), joined(each.version or "–", _small(each.suite)),
            joined(_digest(each.client_certificates), element("br"), _digest(each.server_certificates)),
            _mark("✓", "good", "yes") if each.decrypted else _mark("✕", "bad", "no"),
            f"{each.client_bytes:,}", f"{each.server_bytes:,}",
            joined(clock(each.opened_s), element("br"), clock(each.closed_s)),
        )
        for each in seen.sessions
    ]  # fmt: skip
    head = ("session", "site", "peer", "TLS and suite", "certificates", "decrypted", "#sent",
            "#received", "#from, to (UTC)")  # fmt: skip
    drawn = [session_chart(seen.sessions)] if len(seen.sessions) <= 40 else []
    return [
        element("h3", None, "Sessions"),
        *drawn,
        table("TCP sessions on the audited port; certificates: the client's, below it the server's", head, rows),
    ]


def _captures(seen: Examination) -> list[Markup]:
    rows = [
        (
            _code(each.file), f"{each.interface}, port {each.port}", f"{each.packets:,}", size(each.bytes),
            element("span", {"class": "bad" if each.kernel_drops else ""}, f"{each.kernel_drops:,}"),
            f"{each.freezes:,}", f"{clock(each.started_s)} – {clock(each.ended_s)}", hashed(each.sha256),
        )
        for each in seen.captures
    ]  # fmt: skip
    head = (
        "file",
        "interface",
        "#packets",
        "#size",
        "#dropped by the kernel",
        "#freezes",
        "from – to (UTC)",
        "SHA-256",
    )
    if not rows:
        return [_said("!", "open", "Nothing was captured.")]
    return [element("h3", None, "Capture"), table("What was captured, and what the kernel says it lost", head, rows)]


def _blind_spots(spots: Sequence[BlindSpot]) -> list[Markup]:
    title = element("h3", None, "Blind spots")
    if not spots:
        return [title, _said("✓", "good", "None: nothing on the audited port stayed unseen.")]
    rows = [(_code(each.rule), each.message, place(each.place), f"{each.length:,}") for each in spots]
    return [title, table("What could not be seen", ("rule", "what", "where", "#bytes"), rows, "findings")]


def _overview(groups: dict[str, list[Finding]]) -> Markup:
    sites = sorted({each.place.site for members in groups.values() for each in members})
    rows = [
        (
            _code(rule),
            *(f"{n:,}" if (n := sum(each.place.site == site for each in members)) else "" for site in sites),
            f"{len(members):,}",
        )
        for rule, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    head = ("rule", *(f"#{site or 'unknown'}" for site in sites), "#all")
    return table("Findings by rule and site", head, rows)


def _details(rule: str, members: Sequence[Finding]) -> Markup:
    rows = []
    for each in members[:_SHOWN]:
        at = each.place
        where = joined(at.path or "–", _small(_offset(each)))
        rows.append(
            (
                f"{at.site or 'unknown'}{_ARROWS.get(at.direction, '')}",
                each.message, at.round or "–", _code(at.message or "–"), where, f"{each.length:,}",
                " → ".join(each.via) or "plain", _code(short(each.evidence_sha256) or "–"),
            )
        )  # fmt: skip
    head = ("site", "what", "#round", "message", "place", "#bytes", "through", "evidence")
    first = f", the first {_SHOWN} of them; document.json has all" if len(members) > _SHOWN else ""
    return table(f"{rule}: {count(len(members), 'finding')}{first}", head, rows, "findings")


def _offset(finding: Finding) -> str:
    at = finding.place
    return f"byte {at.offset:,} of the {at.unit or 'stream'}" + (f", {at.session}" if at.session else "")


def _bytes(findings: Sequence[Finding]) -> int:
    return sum(each.length for each in findings)


def _hits(many: int) -> Markup:
    return element("span", {"class": "bad" if many else "soft"}, f"{many:,}")


def _digest(chain: Sequence[str]) -> Markup:
    return element("code", {"title": " · ".join(chain)}, short(chain[0])) if chain else Markup("–")


def _share(part: int, whole: int) -> str:
    return "< 0.1 %" if 0 < part < whole / 1000 else percent(part / max(whole, 1))


def _small(text: str) -> Markup:
    """A second, softer line of a cell."""
    return joined(element("br"), element("small", {"class": "soft"}, text))


def _code(text: str) -> Markup:
    return element("code", None, text)


def _mark(sign: str, kind: str, word: str) -> Markup:
    return element("span", {"class": kind}, f"{sign} {word}")


def _said(sign: str, kind: str, text: str) -> Markup:
    return element("p", None, element("span", {"class": f"mark {kind}", "aria-hidden": "true"}, f"{sign} "), text)
