"""The audit in ten lines of plain text, for a terminal; a hostile name cannot move its cursor."""

from __future__ import annotations

from audit.report.document import Document
from audit.report.measurements import Outcome
from audit.report.words import count, epsilon, percent, place, size, visible

__all__ = ["summary_lines"]

_SHOWN = 1


def summary_lines(document: Document) -> list[str]:
    """At most ten lines, verdict first; no colours, no control characters."""
    seen, ledger = document.examination, document.examination.ledger
    explained = ledger.captured_bytes - ledger.unaccounted_bytes
    share = percent(explained / ledger.captured_bytes, 2) if ledger.captured_bytes else "none"
    opened = sum(each.decrypted for each in seen.sessions)
    drops = sum(each.kernel_drops for each in seen.captures)
    behaved = sum(each.behaved for each in seen.controls)
    lines = [
        f"{document.verdict.value}  {document.reason}",
        f"  run         {document.run.id} · {document.run.title}",
        f"  bytes       {size(ledger.captured_bytes)}, {share} accounted for, {count(drops, 'packet')} dropped",
        f"  sessions    {opened} of {len(seen.sessions)} decrypted, {count(len(seen.blind_spots), 'blind spot')}",
        f"  controls    {behaved} of {len(seen.controls)} behaved",
        f"  findings    {len(seen.findings)}{_first(document)}",
        f"  privacy     {_privacy(document)}",
        f"  membership  {_membership(document)}",
        f"  evidence    {count(len(document.attachments), 'file')}, examination {document.examination_sha256[:16]}",
        f"  not proven  {count(len(document.scope.not_proven), 'limit')} stated; see the report",
    ]
    return [visible(line.replace("\N{NO-BREAK SPACE}", " ")) for line in lines]


def _first(document: Document) -> str:
    found = document.examination.findings
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ": " + "; ".join(f"{each.rule} from {place(each.place)}" for each in found[:_SHOWN]) + more


def _privacy(document: Document) -> str:
    privacy = document.privacy
    outcomes = [each.outcome for each in privacy.bounds]
    tested = ", ".join(f"{outcomes.count(kind)} {kind.value}" for kind in Outcome if kind in outcomes) or "not tested"
    if not privacy.spent:
        return f"none claimed; tests: {tested}"
    worst = None if any(s.epsilon is None for s in privacy.spent) else max(s.epsilon or 0.0 for s in privacy.spent)
    return f"ε ≤ {epsilon(worst)} claimed; tests: {tested}"


def _membership(document: Document) -> str:
    attacks = document.leakage.memberships
    return "; ".join(f"{each.attack} AUC {each.auc:.3f}" for each in attacks) or "not tested"
