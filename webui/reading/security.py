"""Events of a run that bear on security, worded for people: who was refused, and whose update did not count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from secure_fl.runs import Event
from webui.reading.records import Run

__all__ = ["Guard", "Incident", "guards_of", "incidents_of"]

_REASONS = {
    "not-finite": "the update held NaN or infinity",
    "wrong-shape": "an array had the wrong shape",
    "wrong-dtype": "an array had the wrong type of number",
    "missing-array": "an array was missing",
    "spec-mismatch": "the update was for another model",
    "stale-round": "the reply was for another round",
    "sample-count": "it claimed an impossible number of images",
    "norm-cap": "the update was longer than is allowed",
    "too-large": "the message was larger than is allowed",
    "bad-signature": "the signature was not the site's",
    "malformed": "the message could not be read",
    "site-error": "the site reported an error of its own",
    "timeout": "no answer before the round's time was up",
    "unreachable": "the site could not be reached",
}


@dataclass(frozen=True)
class Incident:
    """One line. level: bad (somebody tried, or something was altered), warn (something did not count) or info."""

    seq: int
    time: str
    level: str
    round: int | None
    site: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Guard:
    """A protection of the run: whether it is on, and in which form."""

    name: str
    on: bool
    words: str


def incidents_of(run: Run) -> tuple[Incident, ...]:
    """All of them, newest first."""
    return tuple(incident for event in reversed(run.events) for incident in _read(event))


def guards_of(run: Run) -> tuple[Guard, ...]:
    """What protected this run, from what it recorded when it started."""
    start, config = run.summary.start, run.config
    tls = start.get("tls")
    deployed = run.config.grid == "deployment"
    mutual = bool(start.get("mutual_tls"))
    promises = start.get("privacy") or ()
    privacy = "; ".join(
        f"ε = {each['epsilon']:.2f}, δ = {each['delta']:g} for each {each['unit']}" for each in promises
    )
    is_mean = config.defense == "fedavg"
    return (
        Guard(
            "Transport",
            bool(tls),
            _transport(tls, mutual) if deployed else f"none crossed: {config.grid} grid in one process",
        ),
        Guard(
            "Site identities",
            bool(start.get("site_identities")),
            "updates signed by enrolled sites" if start.get("site_identities") else "updates are not signed",
        ),
        Guard("Aggregation", not is_mean, str(start.get("rule") or config.defense)),
        Guard("Differential privacy", bool(promises), privacy or "none: the model may remember single images"),
        Guard(
            "Secure aggregation",
            config.secagg != "none",
            config.secagg if config.secagg != "none" else "none: the coordinator sees each update",
        ),
        Guard("Audit", config.audit, "packets captured and accounted for" if config.audit else "not audited"),
    )


def _transport(tls: Any, mutual: bool) -> str:
    if not tls:
        return "no TLS was recorded"
    version = f"TLS {tls}" if isinstance(tls, str) else "TLS"
    return f"{version}, both sides with certificates" if mutual else f"{version}, sites without certificates"


def _read(event: Event) -> list[Incident]:
    make = _READERS.get(event.kind)
    return make(event) if make else []


def _incident(event: Event, level: str, what: str, *, site: str = "", detail: str = "") -> Incident:
    return Incident(event.seq, event.time, level, event.get("round"), site or str(event.get("site", "")), what, detail)


def _refused(event: Event) -> list[Incident]:
    return [_incident(event, "bad", "refused at the door", site=str(event["who"]), detail=str(event["reason"]))]


def _rejected(event: Event) -> list[Incident]:
    reason = str(event["reason"])
    words = _REASONS.get(reason, reason)
    level = "bad" if reason in ("bad-signature", "stale-round", "sample-count", "norm-cap") else "warn"
    return [_incident(event, level, f"update turned away: {words}", detail=str(event.get("detail") or ""))]


def _missing(event: Event) -> list[Incident]:
    reason = str(event["reason"])
    return [
        _incident(event, "warn", f"no reply: {_REASONS.get(reason, reason)}", detail=str(event.get("detail") or ""))
    ]


def _late(event: Event) -> list[Incident]:
    return [_incident(event, "warn", "reply came after its round and was dropped")]


def _finished(event: Event) -> list[Incident]:
    """Whom the aggregation rule did not let in."""
    kept, masked = event.get("kept"), event.get("masked") or ()
    found = [
        _incident(event, "bad", "update held NaN or infinity; masked by the defense", site=name) for name in masked
    ]
    if kept is not None:
        away = [name for name in event.get("accepted") or () if name not in kept and name not in masked]
        found += [_incident(event, "warn", "left out of the model by the defense", site=name) for name in away]
    return found


def _started(event: Event) -> list[Incident]:
    told = event.get("simulation")
    if not told:
        return []
    names = ", ".join(told["attackers"])
    return [
        _incident(
            event, "info", f"simulated attack: {told['attack']}", site=names, detail="the model is for study only"
        )
    ]


def _repaired(event: Event) -> list[Incident]:
    return [
        _incident(
            event, "warn", "a line torn by a crash was set aside", detail=f"{event['bytes']} bytes in {event['file']}"
        )
    ]


def _audited(event: Event) -> list[Incident]:
    level = {"PASS": "info", "FAIL": "bad"}.get(event["verdict"], "warn")
    return [_incident(event, level, f"audit: {event['verdict']}", detail=str(event["reason"]))]


_READERS: Mapping[str, Callable[[Event], list[Incident]]] = {
    "run-started": _started,
    "site-refused": _refused,
    "reply-rejected": _rejected,
    "reply-missing": _missing,
    "reply-late": _late,
    "round-finished": _finished,
    "record-repaired": _repaired,
    "audit-finished": _audited,
}
