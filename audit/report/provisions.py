"""Which provisions of GDPR and HIPAA the evidence bears on: for an assessment, not one, and no legal advice."""

from __future__ import annotations

from dataclasses import dataclass

from audit.report.document import Document
from audit.report.measurements import Outcome
from audit.report.words import count, epsilon

__all__ = ["Provision", "provisions"]


@dataclass(frozen=True)
class Provision:
    """One provision, what it asks in a few words, what this audit has to say on it, and in which sections."""

    name: str
    asks: str
    evidence: str
    sections: tuple[str, ...]  # anchors of the page


def provisions(document: Document) -> tuple[Provision, ...]:
    """In the order GDPR, HIPAA. The words follow the document, so that a failed audit reads as one."""
    seen, model = document.examination, document.model
    found = count(len(seen.findings), "finding") if seen.findings else "no image or undeclared field found"
    versions = sorted({each.version for each in seen.sessions if each.version}) or ["no TLS session seen"]
    opened = sum(each.decrypted for each in seen.sessions)
    wire = f"{found} in {opened} of {count(len(seen.sessions), 'session')} that were opened and searched"
    behaved = sum(each.behaved for each in seen.controls)
    tested = sum(each.outcome is not Outcome.NOT_TESTED for each in document.privacy.bounds)
    worst = max((each.epsilon or float("inf") for each in document.privacy.spent), default=None)
    claim = "No differential privacy is claimed"
    if worst is not None:
        bound = epsilon(None if worst == float("inf") else worst)
        claim = f"The sites' ledgers claim ε ≤ {bound}; {count(tested, 'test')} of that claim"
    return (
        Provision("GDPR Art. 5(1)(c)", "data minimisation", f"What left each site: updates and metrics; {wire}.",
                  ("wire", "findings")),
        Provision("GDPR Art. 25", "data protection by design and by default",
                  f"{claim}. The schema of what may be sent is declared before the run.", ("privacy", "findings")),
        Provision("GDPR Art. 30", "records of processing", "Sites, numbers of images, digests of data and models, "
                  "settings and times of this run.", ("model", "environment")),
        Provision("GDPR Art. 32", "security of processing; regular testing of it",
                  f"Encryption in transit: {', '.join(versions)}. This audit is such a test; {behaved} of "
                  f"{count(len(seen.controls), 'control')} behaved.", ("wire", "controls")),
        Provision("GDPR Art. 35", "data protection impact assessment", "Measured risk that a model reveals who was in "
                  "its training data, and stated limits: input for the assessment, not the assessment.",
                  ("limits", "leakage")),
        Provision("HIPAA 164.308(a)(8)", "periodic technical evaluation",
                  f"Evaluation of {document.run.started[:10]}: {document.verdict}.", ("verdict",)),
        Provision("HIPAA 164.312(b)", "audit controls", f"{count(len(seen.captures), 'capture account')}, a ledger of "
                  f"{seen.ledger.captured_bytes:,} bytes, an append-only log of audits.", ("wire", "verify")),
        Provision("HIPAA 164.312(c)", "integrity", f"Digests of the model before and after ({model.name}), objects "
                  "checked by SHA-256, the bundle signed with Ed25519.", ("model", "verify")),
        Provision("HIPAA 164.312(e)", "transmission security", f"{', '.join(versions)}; suites and certificates by "
                  "session.", ("wire",)),
    )  # fmt: skip
