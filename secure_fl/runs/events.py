"""What happened in a run, as a chain of events that cannot be altered unnoticed. No I/O in here.

An event is one JSON object: `seq`, `time` (ISO 8601, UTC), `kind`, the kind's own fields, `prev` and
`hash`. With `canonical` = JSON with sorted keys, no spaces, UTF-8:

    hash(e) = SHA-256(canonical(e without `hash`)),   prev(e) = hash of the event before, or 64 zeros

**What the chain proves.** Given the hash of the last event, every earlier byte is fixed: an edit, a
removal, an insertion or an exchange anywhere before it breaks the chain at a line that is named.
**What it does not prove.** Whoever can rewrite the whole file can rewrite the whole chain, and cutting
lines off the end leaves a shorter chain that is still valid. Only a signature over the last hash, kept
elsewhere, closes that; signatures come with the audit.

**How kinds evolve.** A kind's meaning never changes and no field of it is removed; kinds and fields are
added. Readers skip kinds that they do not know.

**Values.** Standard JSON has no NaN or infinity, yet a diverging model has both. Such a number is stored
as null, and `non_finite` maps its dotted path to "nan", "inf" or "-inf": `{"loss":null,"non_finite":
{"loss":"nan"}}`. Text longer than MAX_TEXT is cut (a hostile site may word its own error), and says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any

from secure_fl.errors import IntegrityError

__all__ = ["ENDINGS", "GENESIS", "KINDS", "MAX_TEXT", "Event", "canonical", "check_link", "parse_event", "seal"]

GENESIS = "0" * 64
MAX_TEXT = 4000
_FRAME = ("seq", "time", "kind", "prev", "hash", "non_finite")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_KIND = re.compile(r"[a-z]+(-[a-z0-9]+)*")

# Fields without which a reader could not use an event of that kind; writers add more.
KINDS: Mapping[str, tuple[str, ...]] = {
    "run-created": ("run_id", "config_digest"),
    "data-described": ("file", "sha256"),
    "run-started": ("pid", "resumed_from_round"),
    "site-joined": ("site",),
    "site-left": ("site",),
    "site-refused": ("who", "reason"),
    "round-started": ("round", "sites"),
    "reply-accepted": ("round", "site"),
    "reply-rejected": ("round", "site", "reason"),
    "reply-missing": ("round", "site", "reason"),
    "reply-late": ("round", "site"),
    "groups-formed": ("groups", "transcript_sha256"),
    "group-rejected": ("round", "group", "sites", "reason"),
    "group-missing": ("round", "group", "sites", "reason"),
    "round-rolled-back": ("round", "reason"),
    "round-finished": ("round", "loss", "accuracy"),
    "secagg-slot": ("round", "attempt", "group", "outcome"),
    "site-evaluated": ("round", "site"),
    "audit-started": ("bytes",),
    "audit-finished": ("verdict", "reason", "bundle", "statement_sha256"),
    "run-finished": ("status",),
    # In a site's privacy ledger, not in a run's record.
    "privacy-spent": ("mechanism", "noise_multiplier", "sample_rate", "steps", "unit", "adjacency", "data", "run"),
    # In a site's log of the sums that it has helped to open.
    "sum-opened": ("run", "round", "group", "model_sha256", "survivors"),
    "record-repaired": ("file", "bytes", "sha256"),
}


# How a run may end, as `run-finished` says it.
ENDINGS = ("succeeded", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class Event:
    """One link of the chain. `event["loss"]` and `event.get("loss")` read the kind's own fields."""

    seq: int
    time: str
    kind: str
    fields: Mapping[str, Any]
    prev: str
    hash: str

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)

    @property
    def epoch_s(self) -> float:
        """The time of the event in seconds since 1970, UTC."""
        return datetime.fromisoformat(self.time).timestamp()

    def to_mapping(self) -> dict[str, Any]:
        """The event as it stands in the file."""
        return {**self._hashed(), "hash": self.hash}

    def line(self) -> bytes:
        """The event's line in the file, with its newline."""
        return canonical(self.to_mapping()) + b"\n"

    def expected_hash(self) -> str:
        return hashlib.sha256(canonical(self._hashed())).hexdigest()

    def _hashed(self) -> dict[str, Any]:
        return {"seq": self.seq, "time": self.time, "kind": self.kind, **self.fields, "prev": self.prev}


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one spelling of a JSON document: sorted keys, no spaces, UTF-8, standard numbers only."""
    return _CANONICAL.encode(document).encode("utf-8")


def seal(after: Event | None, *, time_s: float, kind: str, fields: Mapping[str, object]) -> Event:
    """The next event of a chain whose last event is `after` (None: the first).

    Raises:
        ValueError: the kind is misspelt, lacks a field that readers need, or uses a reserved name.
        TypeError: a value has no JSON form.
    """
    _check_fields(kind, fields)
    non_finite: dict[str, str] = {}
    cleaned = {name: _clean(value, name, non_finite) for name, value in fields.items()}
    if non_finite:
        cleaned["non_finite"] = non_finite
    moment = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    seq, prev = (0, GENESIS) if after is None else (after.seq + 1, after.hash)
    unsealed = Event(seq, moment, kind, cleaned, prev, "")
    return Event(seq, moment, kind, cleaned, prev, unsealed.expected_hash())


def parse_event(line: bytes) -> Event:
    """Read one line (without its newline); the chain itself is for `check_link`.

    Raises:
        IntegrityError: not JSON, not canonical (so no byte can differ), or not shaped like an event.
    """
    try:
        raw = json.loads(line)
        exact = isinstance(raw, dict) and canonical(raw) == line
    except (ValueError, RecursionError):
        raise IntegrityError("it is not one standard JSON object") from None
    if not exact:
        raise IntegrityError("it is not in canonical form")
    frame = {name: raw.pop(name, None) for name in ("seq", "time", "kind", "prev", "hash")}
    texts = all(isinstance(frame[name], str) for name in ("time", "kind", "prev", "hash"))
    if not texts or type(frame["seq"]) is not int or not _HEX64.fullmatch(frame["prev"]):
        raise IntegrityError("it is not an event")
    try:
        datetime.fromisoformat(frame["time"])
    except ValueError:
        raise IntegrityError("its time cannot be read") from None
    missing = [name for name in KINDS.get(frame["kind"], ()) if name not in raw]
    if missing:
        raise IntegrityError(f"it lacks `{missing[0]}`")
    if frame["kind"] == "run-finished" and raw["status"] not in ENDINGS:
        raise IntegrityError(f"it ends in `{raw['status']}`")
    return Event(frame["seq"], frame["time"], frame["kind"], raw, frame["prev"], frame["hash"])


def check_link(event: Event, after: Event | None) -> None:
    """Refuse an event that does not follow `after` (None: the chain begins).

    Raises:
        IntegrityError: its number, its link or its own hash is wrong.
    """
    seq, prev = (0, GENESIS) if after is None else (after.seq + 1, after.hash)
    if event.hash != event.expected_hash():
        raise IntegrityError("its content does not match its hash")
    if event.seq != seq:
        raise IntegrityError(f"its number is {event.seq}, not {seq}")
    if event.prev != prev:
        raise IntegrityError("it does not continue the event before it")


def _check_fields(kind: str, fields: Mapping[str, object]) -> None:
    if not _KIND.fullmatch(kind):
        raise ValueError(f"event kind {kind!r} is not kebab-case")
    for name in _FRAME:
        if name in fields:
            raise ValueError(f"`{name}` is reserved and cannot be a field of {kind}")
    for name in KINDS.get(kind, ()):
        if name not in fields:
            raise ValueError(f"{kind} needs the field `{name}`")
    if kind == "run-finished" and fields["status"] not in ENDINGS:
        raise ValueError(f"run-finished has status {fields['status']!r}, not one of {', '.join(ENDINGS)}")


def _clean(value: object, path: str, non_finite: dict[str, str]) -> Any:
    """`value` in plain JSON types; numpy's scalars count as the numbers that they are."""
    match value:
        case None | bool():
            return value
        case str():
            return _clean_text(value)
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            if math.isfinite(number):
                return number
            non_finite[path] = "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
            return None
        case Mapping():
            return {_clean_text(str(key)): _clean(each, f"{path}.{key}", non_finite) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each, f"{path}.{index}", non_finite) for index, each in enumerate(value)]
        case _:
            raise TypeError(f"`{path}` is a {type(value).__name__}, which has no JSON form")


def _clean_text(text: str) -> str:
    """Text that UTF-8 can hold and that no site can make endless."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters cut)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
