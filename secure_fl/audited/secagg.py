"""What may cross the wire of a run under secure aggregation: the counterpart of `secure_fl.app.secagg.wire`.

Every message of the protocol has a length that follows from the number of sites, so each is declared with the longest;
a masked vector with its words, which the audit tests for being uniform. An update in the clear is not declared, and nor
is anything that a single site measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audit.controls.plan import Saying
from audit.decode.conversation import TO_COORDINATOR, TO_SITE
from audit.detect.rules import Blob, Blobs, Masked, Number, Numbers, Rule, Text
from audit.detect.schema import MessageRule
from secure_fl.app.secagg import wire
from secure_fl.app.secagg.groups import COMMIT, REVEAL
from secure_fl.app.secagg.layout import Layout
from secure_fl.config import RunConfig
from secure_fl.secagg.encoding import DIGEST
from secure_fl.secagg.keys import KEY, SIGNATURE
from secure_fl.secagg.messages import CIPHERTEXT, COMMITMENTS, Advert, Agreement, Opening, Sealed, SealedForMe
from secure_fl.secagg.shamir import SHARE
from secure_fl.secagg.terms import Slot, Terms

__all__ = ["AUDITED", "NOT_PROVEN", "SEEN", "clean_saying", "sum_messages"]

AUDITED = (
    "Each masked vector of each site: that its words are uniform, and that the difference of any two of one site is. "
    "What was sent without a mask, or under a mask that had served before, is a finding.",
)
NOT_PROVEN = (
    "That masks were secret. Words under a mask whose seed somebody knows, or of a guessable generator, are as "
    "uniform as others. Secrecy follows from the protocol and from the identity keys in the sites' rosters; `secure-fl "
    "runs verify` checks every signature of it. Uniform words prove no security.",
    "Anything about what a sum over several sites gives away, except where a bound on privacy is stated.",
)
SEEN = {
    "full": "The coordinator saw the sum of the updates of all sites that took part in a round, and of what they "
    "measured, and no single site's. What a bare update shows, below, is what it would have seen without.",
    "grouped": "The coordinator saw the sum of the updates of each group of sites, and of what they measured, and no "
    "single site's. What a bare update shows, below, is what it would have seen without.",
}
"""By mode: what the section on leakage has to say first."""

_DRAWN = 256  # bytes of a site's commitment or number, at most


def sum_messages(
    config: RunConfig, parameters: int, order: Mapping[str, Rule], settings: Mapping[str, Rule]
) -> list[MessageRule]:
    """The trips of each sum. order: what is declared of an order to train; settings: of the run's settings."""
    advert, agreement = _at_most(_ADVERT), _at_most(_AGREEMENT)
    slot, survivors = _at_most(_SLOT), Numbers(config.sites, 0, config.sites)
    share: dict[str, Rule] = {
        "secagg/terms": _at_most(_terms(config.sites)),
        "secagg/declared": Numbers(config.sites, 0, config.sample_cap),
        "secagg/groups": Blob(1, 512 + 256 * config.sites),
    }
    told = {path.replace("config/", "secagg/config."): rule for path, rule in settings.items()}
    inbox = _by_site("inbox", config, _at_most(_sealed_for_one(config.sites)))
    following = _by_site("agreements", config, agreement) | {"secagg/following": slot}
    to_site: Mapping[str, Mapping[str, Rule]] = {
        wire.ADVERTISE: {},
        wire.SHARE: {**share, **told, **_by_site("adverts", config, advert)},
        wire.MASKED: {**order, **inbox},
        wire.AGREE: {"secagg/survivors": survivors},
        wire.OPEN: following,
        wire.FORGET: {},
    }
    masked: dict[str, Rule] = {"masked/y": Masked(f"u{_bytes(config)}", (_words(config, parameters),))}
    if config.dp_at_sites or config.dp_distributed:  # what the run has cost a site so far
        masked["secagg/epsilon"] = Number(0, 1e9, any_float=True)
    to_coordinator: Mapping[str, Mapping[str, Rule]] = {
        wire.ADVERTISE: {"secagg/advert": advert},
        wire.SHARE: {"secagg/sealed": _at_most(_sealed(config.sites))},
        wire.MASKED: masked,
        wire.AGREE: {"secagg/agreement": agreement},
        wire.OPEN: {"secagg/opening": _at_most(_opening(config.sites)), "secagg/advert": advert},
        wire.FORGET: {},
    }
    return [
        *(_draw(config) if config.secagg == "grouped" else ()),
        *(MessageRule(kind, {"secagg/slot": slot, **values}, TO_SITE) for kind, values in to_site.items()),
        *(MessageRule(kind, values, TO_COORDINATOR) for kind, values in to_coordinator.items()),
    ]


def _draw(config: RunConfig) -> list[MessageRule]:
    """The two queries in which the sites draw their groups (`secure_fl.app.secagg.groups`)."""
    run, whole, said = Text(64, "[A-Za-z0-9._-]+"), Number(0, config.sites, whole=True), Blob(1, _DRAWN)
    return [
        MessageRule(COMMIT, {"secagg/run": run, "secagg/size": whole, "secagg/sites": whole}, TO_SITE),
        MessageRule(COMMIT, {"secagg/commitment": said}, TO_COORDINATOR),
        MessageRule(REVEAL, {"secagg/run": run, "secagg/commitments": Blobs(config.sites, _DRAWN)}, TO_SITE),
        MessageRule(REVEAL, {"secagg/reveal": said}, TO_COORDINATOR),
    ]


def clean_saying(config: RunConfig, parameters: int, rng: np.random.Generator) -> Saying:
    """What an honest site says after a round: words that look uniform."""
    words = rng.integers(0, 1 << 8 * _bytes(config), _words(config, parameters), np.dtype(f"u{_bytes(config)}"))
    return Saying({"y": words}, kind=wire.MASKED, record="masked")


def _words(config: RunConfig, parameters: int) -> int:
    members = config.secagg_group_size if config.secagg == "grouped" else config.sites
    return Layout.of(config, size=parameters, members=members, max_weight=1, model_sha256="0" * 64).words


def _bytes(config: RunConfig) -> int:
    return int(config.secagg_bits) // 8


def _by_site(table: str, config: RunConfig, rule: Rule) -> dict[str, Rule]:
    """A table by roster index."""
    return {f"secagg/{table}.{index}": rule for index in range(config.sites)}


# The longest message of each kind, with zeros in place of what it says: of all sites, and the run with a long name.

_SLOT = Slot("-" * 64, 0, 0, 0)
_ADVERT = Advert(bytes(KEY), bytes(KEY), bytes(SIGNATURE))
_AGREEMENT = Agreement(bytes(DIGEST), bytes(SIGNATURE))


def _terms(sites: int) -> Terms:
    zero = bytes(DIGEST).hex()
    return Terms(_SLOT, tuple(range(sites)), 1, sites - 1, 1, 32, 1.0, 1, zero, zero)


def _sealed(sites: int) -> Sealed:
    ciphertexts = dict.fromkeys(range(sites - 1), bytes(CIPHERTEXT))
    commitments = dict.fromkeys(range(sites), bytes(COMMITMENTS))
    return Sealed(bytes(DIGEST), bytes(DIGEST), ciphertexts, commitments, bytes(SIGNATURE))


def _sealed_for_one(sites: int) -> SealedForMe:
    leaves = dict.fromkeys(range(sites - 1), bytes(DIGEST))
    zero = bytes(DIGEST)
    return SealedForMe(zero, zero, bytes(CIPHERTEXT), bytes(COMMITMENTS), leaves, bytes(SIGNATURE))


def _opening(sites: int) -> Opening:
    return Opening(dict.fromkeys(range(sites), bytes(SHARE)), {}, (), bytes(SIGNATURE))


def _at_most(message: Slot | Terms | Advert | Sealed | SealedForMe | Agreement | Opening) -> Blob:
    """As many bytes as this message, or fewer."""
    return Blob(1, len(message.to_bytes()))
