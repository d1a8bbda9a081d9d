"""The five trips of a secure sum as Flower messages.

    query.secagg_advertise  slot                                 ←  advert
    query.secagg_share      terms, adverts, settings             ←  sealed shares
    train.secagg_masked     model, order, settings, inbox        ←  masked words
    query.secagg_agree      slot, survivors                      ←  agreement
    query.secagg_open       slot, agreements, next slot          ←  opening, advert for the next slot
    query.secagg_forget     —                                    ←  —

The advert for the next round rides on the opening of this one, so that a round in its stride makes four trips. Each
message of the protocol travels as the bytes that `secure_fl.secagg.messages` defines; here they only get names. Tables
by site have a key a row, `adverts.3` for the site of roster index 3. All of it is in one record, since each record
costs Flower requests of its own. What arrives is untrusted at either end: readers raise `Malformed`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, ConfigRecordValues, Message, RecordDict

from defenses.guard import Refusal
from secure_fl.app.messages import Order, order_content, read_order, record_of
from secure_fl.app.untrusted import decoded
from secure_fl.config import RunConfig
from secure_fl.secagg.errors import Malformed, WrongVector
from secure_fl.secagg.messages import Advert, Agreement, SealedForMe
from secure_fl.secagg.ring import Words
from secure_fl.secagg.terms import Slot, Terms

__all__ = [
    "ADVERTISE",
    "AGREE",
    "FORGET",
    "MASKED",
    "OPEN",
    "SHARE",
    "MaskedOrder",
    "OpenOrder",
    "ShareOrder",
    "answer",
    "content_of_masked",
    "content_of_open",
    "content_of_share",
    "content_of_slot",
    "masked_answer",
    "read_bytes",
    "read_epsilon",
    "read_masked_order",
    "read_open_order",
    "read_share_order",
    "read_slot",
    "read_survivors",
    "read_words",
]

ADVERTISE, SHARE, MASKED = "query.secagg_advertise", "query.secagg_share", "train.secagg_masked"
AGREE, OPEN, FORGET = "query.secagg_agree", "query.secagg_open", "query.secagg_forget"

_SECAGG, _MASKED = "secagg", "masked"
_ADVERTS, _INBOX, _AGREEMENTS, _CONFIG = "adverts", "inbox", "agreements", "config"


@dataclass(frozen=True)
class ShareOrder:
    """Terms, and what it takes to judge them: all adverts, and what the settings' digest in the terms is a digest of.

    declared: the weight of each member in the order of `terms.members`, 0 where it is the site's own to say. groups:
    how the groups came about, in bytes of `secure_fl.secagg.grouping`; empty where all sites are in one.
    """

    terms: Terms
    adverts: Mapping[int, Advert]
    config: RunConfig
    declared: tuple[int, ...]
    groups: bytes = b""


@dataclass(frozen=True)
class MaskedOrder:
    """What to train, and the shares that others have sealed to us."""

    order: Order
    slot: Slot
    inbox: Mapping[int, SealedForMe]


@dataclass(frozen=True)
class OpenOrder:
    """Signatures over the survivors; following: the slot whose advert is to come with the opening, if there is one."""

    slot: Slot
    agreements: Mapping[int, Agreement] = field(default_factory=dict)
    following: Slot | None = None


def content_of_slot(slot: Slot, survivors: Sequence[int] = ()) -> RecordDict:
    """Of an order to advertise for a slot, or to agree on its survivors."""
    fields: dict[str, ConfigRecordValues] = {"slot": slot.to_bytes()}
    if survivors:
        fields["survivors"] = list(survivors)
    return RecordDict({_SECAGG: ConfigRecord(fields)})


def content_of_share(order: ShareOrder) -> RecordDict:
    """Of an order to share: the same for all members, so that it is encoded once."""
    fields: dict[str, ConfigRecordValues] = {"terms": order.terms.to_bytes(), "declared": list(order.declared)}
    if order.groups:
        fields["groups"] = order.groups
    fields |= _table(_ADVERTS, _in_bytes(order.adverts))
    fields |= {f"{_CONFIG}.{key}": value for key, value in order.config.to_mapping().items()}
    return RecordDict({_SECAGG: ConfigRecord(fields)})


def content_of_masked(order: Order, slot: Slot, inbox: Mapping[int, bytes]) -> RecordDict:
    """Of an order to train, and to mask what comes of it; inbox: by sender, the bytes of a SealedForMe."""
    content = order_content(order)
    content[_SECAGG] = ConfigRecord({"slot": slot.to_bytes(), **_table(_INBOX, inbox)})
    return content


def content_of_open(order: OpenOrder) -> RecordDict:
    """Of an order to open shares."""
    fields: dict[str, ConfigRecordValues] = {"slot": order.slot.to_bytes()}
    if order.following is not None:
        fields["following"] = order.following.to_bytes()
    return RecordDict({_SECAGG: ConfigRecord(fields | _table(_AGREEMENTS, _in_bytes(order.agreements)))})


def answer(message: Message, **fields: bytes) -> Message:
    """A site's answer: messages of the protocol by name; empty ones are left out."""
    said: dict[str, ConfigRecordValues] = {name: value for name, value in fields.items() if value}
    return Message(RecordDict({_SECAGG: ConfigRecord(said)}), reply_to=message)


def masked_answer(message: Message, words: Words, *, epsilon: float | None) -> Message:
    """A site's masked vector; what it measured is in it. In the clear goes only what the round has cost in privacy (ε),
    where it trains under DP-SGD: that depends on the settings and on attempts, and on no image."""
    content = RecordDict({_MASKED: ArrayRecord({"y": Array(words)})})
    if epsilon is not None:
        content[_SECAGG] = ConfigRecord({"epsilon": epsilon})
    return Message(content, reply_to=message)


def read_slot(message: Message) -> Slot:
    """Raises Malformed, InvalidTerms."""
    return Slot.from_bytes(read_bytes(message, "slot"))


def read_survivors(message: Message) -> list[int]:
    """Raises Malformed."""
    return _whole_numbers(message, "survivors")


def read_share_order(message: Message) -> ShareOrder:
    """Raises Malformed, InvalidTerms, DuplicateIndex; ConfigError for settings that this version refuses."""
    adverts = {index: Advert.from_bytes(each) for index, each in _rows(message, _ADVERTS).items()}
    return ShareOrder(
        terms=Terms.from_bytes(read_bytes(message, "terms")),
        adverts=adverts,
        config=RunConfig.from_mapping(_under(message, _CONFIG)),
        declared=tuple(_whole_numbers(message, "declared")),
        groups=read_bytes(message, "groups", default=b""),
    )


def read_masked_order(message: Message) -> MaskedOrder:
    """Raises Malformed, InvalidTerms; FederationError, ConfigError as `read_order`."""
    inbox = SealedForMe.inbox(_rows(message, _INBOX))
    return MaskedOrder(read_order(message), read_slot(message), inbox)


def read_open_order(message: Message) -> OpenOrder:
    """Raises Malformed, InvalidTerms."""
    agreements = {index: Agreement.from_bytes(each) for index, each in _rows(message, _AGREEMENTS).items()}
    following = read_bytes(message, "following", default=b"")
    return OpenOrder(read_slot(message), agreements, Slot.from_bytes(following) if following else None)


def read_bytes(message: Message, name: str, *, default: bytes | None = None) -> bytes:
    """The named message of the protocol; raises Malformed where it is missing and has no default."""
    value = record_of(message, _SECAGG, ConfigRecord).get(name, default)
    if not isinstance(value, bytes):
        raise Malformed(f"a message without `{name}`")
    return value


def read_epsilon(message: Message) -> float | None:
    """What a site says that the run has cost it; None without differential privacy, or where it is no number."""
    value = record_of(message, _SECAGG, ConfigRecord).get("epsilon")
    return value if isinstance(value, float) and math.isfinite(value) else None


def read_words(message: Message, *, words: int, dtype: np.dtype[Any]) -> Words:
    """A masked vector, of exactly this length and type; raises Malformed, WrongVector."""
    arrays = record_of(message, _MASKED, ArrayRecord)
    if set(arrays) != {"y"}:
        raise Malformed("a masked vector is the array `y` and nothing else")
    read = decoded(arrays["y"].data, words)
    if isinstance(read, Refusal):
        raise Malformed(f"{read.reason}: {read.detail}")
    if read.shape != (words,) or read.dtype != dtype:
        raise WrongVector(f"{read.dtype} of {read.shape}", why=f"{dtype} of ({words},) was agreed on")
    return read


def _in_bytes(rows: Mapping[int, Advert] | Mapping[int, Agreement]) -> dict[int, bytes]:
    return {index: each.to_bytes() for index, each in rows.items()}


def _table(name: str, rows: Mapping[int, bytes]) -> dict[str, ConfigRecordValues]:
    return {f"{name}.{index}": rows[index] for index in sorted(rows)}


def _rows(message: Message, name: str) -> dict[int, bytes]:
    """A table by roster index; indexes are written in one way only."""
    rows = {}
    for key, value in _under(message, name).items():
        if not key.isdecimal() or str(int(key)) != key or not isinstance(value, bytes):
            raise Malformed(f"the table `{name}` has the row {key[:20]!r}")
        rows[int(key)] = value
    return rows


def _under(message: Message, name: str) -> dict[str, Any]:
    """The fields whose names begin with `name` and a dot, without it."""
    record, prefix = record_of(message, _SECAGG, ConfigRecord), f"{name}."
    return {key.removeprefix(prefix): value for key, value in record.items() if key.startswith(prefix)}


def _whole_numbers(message: Message, name: str) -> list[int]:
    values = record_of(message, _SECAGG, ConfigRecord).get(name)
    if not isinstance(values, list) or any(type(each) is not int or each < 0 for each in values):
        raise Malformed(f"`{name}` is not a list of whole numbers")
    return [each for each in values if isinstance(each, int)]
