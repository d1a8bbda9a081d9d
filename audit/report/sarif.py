"""Findings and blind spots as SARIF 2.1.0 (OASIS), for code hosts and CI: errors and warnings.

The wire has no source files: the artifact is the capture in the bundle, and site, round, message and path are a logical
location. An offset counts in a decoded unit and not in the capture's bytes, so it stands in the properties, not in a
region that a viewer would misread.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from audit.findings import BlindSpot, Finding, Verdict
from audit.report.document import Document
from audit.report.shape import digest, to_mapping
from audit.report.words import place, visible

__all__ = ["sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(document: Document) -> dict[str, Any]:
    """The log, with one run. `executionSuccessful` is false for an incomplete audit."""
    seen = document.examination
    said: list[Finding | BlindSpot] = [*seen.findings, *seen.blind_spots]
    rules = sorted({_rule_id(each) for each in said})
    captures = [each.file for each in seen.captures]
    run = {
        "tool": {
            "driver": {
                "name": "secure-fl audit",
                "version": document.environment.versions.get("secure-fl", "unknown"),
                "rules": [_rule(each) for each in rules],
            }
        },
        "automationDetails": {"id": f"secure-fl/audit/{visible(document.run.id)}"},
        "invocations": [{"executionSuccessful": document.verdict is not Verdict.INCOMPLETE}],
        "artifacts": [{"location": {"uri": quote(name)}} for name in captures],
        "results": [_result(each, rules, captures) for each in said],
        "properties": {"verdict": document.verdict.value, "examinationSha256": document.examination_sha256},
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: str) -> dict[str, Any]:
    blind = rule.startswith("blind-spot/")
    what = rule.removeprefix("blind-spot/")
    text = f"Could not be seen: {what}" if blind else f"Must not cross the wire: {what}"
    return {
        "id": rule,
        "shortDescription": {"text": text},
        "defaultConfiguration": {"level": "warning" if blind else "error"},
    }


def _result(said: Finding | BlindSpot, rules: list[str], captures: list[str]) -> dict[str, Any]:
    rule = _rule_id(said)
    details: dict[str, Any] = {"place": to_mapping(said.place), "length": said.length}
    if isinstance(said, Finding):
        details |= {"evidenceSha256": said.evidence_sha256, "via": list(said.via)}
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": visible(place(said.place)), "kind": "message"}]
    }
    if captures:
        location["physicalLocation"] = {"artifactLocation": {"uri": quote(captures[0]), "index": 0}}
    return {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "level": "error" if isinstance(said, Finding) else "warning",
        "message": {"text": visible(said.message)},
        "locations": [location],
        "partialFingerprints": {"said/v1": digest(said)},
        "properties": details,
    }


def _rule_id(said: Finding | BlindSpot) -> str:
    return visible(said.rule if isinstance(said, Finding) else f"blind-spot/{said.rule}")
