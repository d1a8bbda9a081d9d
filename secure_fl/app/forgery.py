"""A wire attack carried out: the forged reply as a message, and how often and how late it is delivered.

Honest sites build their replies with `messages.update_reply`, which cannot say anything wrong. An attacker writes the
records itself; a reply that it signs is signed over exactly what it sends, so that the guard's other checks are put to
the test and not the signature alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message

from attacks.wire import Reply
from secure_fl.app.adversary import Adversary, Metrics
from secure_fl.app.identity import update_statement, vector_sha256
from secure_fl.app.messages import Order, written_reply

__all__ = ["DELIVERY", "Honest", "forged_reply"]

Vector = np.ndarray[Any, Any]

DELIVERY = "delivery"
"""Where in the context's state a site finds how its reply is to be delivered; this never leaves the site."""

_EARLIER = "earlier-reply"


@dataclass(frozen=True)
class Honest:
    """What the site would have sent, its means to sign, and training pictures of its own that a leak would take."""

    site: str
    samples: int
    update: Vector
    metrics: Metrics
    sign: Callable[[bytes], bytes]
    pictures: tuple[Vector, ...] = ()


def forged_reply(
    message: Message,
    context: Context,
    order: Order,
    adversary: Adversary,
    honest: Honest,
    *,
    seed: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Message:
    """The attacker's answer to a train message, after its delay; how often to send it is left in the context."""
    true = Reply({"u": honest.update}, float(honest.samples), order.round, order.spec_digest, pictures=honest.pictures)
    forgery = adversary.forged(true, earlier=_earlier(context, order, honest.samples), seed=seed)
    context.state[_EARLIER] = ArrayRecord({str(order.round): Array(honest.update)})
    context.state[DELIVERY] = ConfigRecord(
        {"copies": forgery.copies, "joins": forgery.joins, "persona": str(forgery.persona)}
    )
    sleep(forgery.delay_s)
    sent = forgery.reply
    claim: dict[str, str | int | float | bytes] = {
        "site": honest.site,
        "run": order.run,
        "round": sent.round,
        "spec": sent.spec,
        "samples": _count(sent.samples),
        **sent.notes,
    }
    claim["signature"] = honest.sign(_statement(order, honest, sent if forgery.sign else true))
    return written_reply(message, arrays=sent.arrays, claim=claim, metrics={**honest.metrics, **sent.metrics})


def _earlier(context: Context, order: Order, samples: int) -> Reply | None:
    """What this site would honestly have sent in the round before, if it was there."""
    kept = context.state.get(_EARLIER)
    if not isinstance(kept, ArrayRecord):
        return None
    ((round_, array),) = kept.items()
    return Reply({"u": array.numpy()}, float(samples), int(round_), order.spec_digest)


def _statement(order: Order, honest: Honest, reply: Reply) -> bytes:
    """The statement that fits `reply`, so that a signature over it is the one thing that is not wrong."""
    return update_statement(
        run=order.run,
        round=reply.round,
        site=honest.site,
        samples=_count(reply.samples),
        model_sha256=order.model_sha256,
        update_sha256=vector_sha256(reply.arrays.get("u", np.zeros(0, np.float32))),
    )


def _count(samples: float) -> Any:
    """A sample count as the wire writes it: whole numbers of 64 bits as such, other lies as they are."""
    return int(samples) if abs(samples) < 2**63 and samples == int(samples) else samples
