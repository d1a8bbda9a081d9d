"""The page's sections around the evidence: limits, robustness, model and data, environment, law, and how to verify."""

from __future__ import annotations

from collections.abc import Mapping

from audit.report.document import Document
from audit.report.markup import Markup, element, hashed, joined, table
from audit.report.provisions import provisions
from audit.report.sections import Environment, Model, Robustness, Scope
from audit.report.words import size

__all__ = ["environment_parts", "limit_parts", "model_parts", "provision_parts", "robustness_parts", "verify_parts"]


def limit_parts(scope: Scope) -> list[Markup]:
    """Section 1: before any number."""
    first = element(
        "div", {"class": "limits"}, element("h3", None, "What this audit does not prove"), _list(scope.not_proven)
    )
    others = [
        element("div", None, element("h3", None, title), _list(said))
        for title, said in (("What was audited", scope.audited), ("Against whom", scope.threat_model))
        if said
    ]
    return [first, element("div", {"class": "columns"}, *others)]


def robustness_parts(robustness: Robustness) -> list[Markup]:
    """Section 8."""
    parts = [
        _terms(
            {
                "Aggregation": element("code", None, robustness.aggregator),
                "Tolerates": robustness.tolerates,
                "Each update is checked for": ", ".join(robustness.checks) or "nothing",
            }
        )
    ]
    if not robustness.refusals:
        return [*parts, element("p", {"class": "soft"}, "The guard refused no update.")]
    rows = [(each.site, ", ".join(each.rounds), each.reason) for each in robustness.refusals]
    return [*parts, table("Updates that the guard refused", ("site", "rounds", "reason"), rows, "words")]


def model_parts(model: Model) -> list[Markup]:
    """Section 9, which serves as a model card."""
    terms: dict[str, str] = {
        "Model": f"{model.name}: {model.architecture}; {model.parameters:,} parameters",
        "Intended use": model.intended_use or "not stated",
        "Limitations": _list(model.limitations) if model.limitations else "none stated",
        "Measured": "; ".join(f"{each.name} {each.value}" for each in model.measures) or "nothing",
        "Data": f"{model.dataset}, {model.classes} classes",
        "Specification": hashed(model.spec_sha256),
        "SHA-256 before": hashed(model.sha256_before),
        "SHA-256 after": hashed(model.sha256_after),
    }
    rows = [(each.site, f"{each.images:,}", hashed(each.fingerprint), hashed(each.merkle_root)) for each in model.data]
    head = ("site", "#images", "fingerprint", "Merkle root of the images")
    return [_terms(terms), *([table("Data by site; the images stay there", head, rows)] if rows else [])]


def environment_parts(environment: Environment) -> list[Markup]:
    """Section 10."""
    state = " with uncommitted changes" if environment.dirty else ""
    terms: dict[str, str] = {
        "Code": joined(element("code", None, environment.commit or "unknown commit"), state),
        "Installed pins": joined("SHA-256 ", hashed(environment.lock_sha256)),
        "Machine": environment.platform or "unknown",
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(environment.versions.items()))
        or "unknown",
    }
    rows = [(element("code", None, each.name), each.value, each.origin) for each in environment.settings]
    settings = table("Settings of the run", ("setting", "value", "from"), rows)
    folded = element("details", None, element("summary", None, "All settings"), settings)
    return [_terms(terms), *([folded] if rows else [])]


def provision_parts(document: Document) -> list[Markup]:
    """Section 11."""
    rows = [
        (
            each.name, each.asks, each.evidence,
            joined(*(joined(element("a", {"href": f"#{anchor}"}, anchor), " ") for anchor in each.sections)),
        )
        for each in provisions(document)
    ]  # fmt: skip
    text = (
        "Evidence that can be cited in a data protection impact assessment or a security evaluation. It is neither of "
        "them, and no legal advice."
    )
    head = ("provision", "concerns", "evidence here", "section")
    return [element("p", None, text), table("What this audit contributes", head, rows, "words")]


def verify_parts(document: Document) -> list[Markup]:
    """Section 12."""
    commands = (
        "secure-fl audit verify BUNDLE --key auditor.pub             # every byte is the auditor's",
        Markup("\n"),  # a line break is the one control character that a page of ours writes itself
        "secure-fl audit verify BUNDLE --key auditor.pub --recheck   # decrypt and search again, same verdict",
    )
    text = (
        "The first needs this folder and the auditor's public key, and neither the federation nor a network. Get the "
        "key by another way than the bundle. It fails on any byte altered, removed, cut off or added, and draws this "
        "page, findings.sarif and model.cdx.json again from document.json to see that they say the same."
    )
    rows = [
        (element("code", None, each.name), size(each.bytes), hashed(each.sha256), each.note)
        for each in document.attachments
    ]
    parts = [element("p", None, text), element("pre", {"tabindex": 0}, element("code", None, *commands))]
    if rows:
        parts.append(table("Evidence in this bundle", ("file", "#size", "SHA-256", "note"), rows))
    digests = {
        "Examination": joined(hashed(document.examination_sha256), " over all that a recheck derives"),
        "Signature": "statement.dsse.json: an in-toto statement over every file, this page too, in a DSSE envelope",
        "Log of audits": "log-proof.json: this audit's place in a log that can only grow",
    }
    return [*parts, _terms(digests)]


def _terms(terms: Mapping[str, str]) -> Markup:
    return element(
        "dl", None, *(joined(element("dt", None, term), element("dd", None, text)) for term, text in terms.items())
    )


def _list(said: tuple[str, ...]) -> Markup:
    return element("ul", None, *(element("li", None, each) for each in said))
