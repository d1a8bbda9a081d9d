"""What secure aggregation refuses: one named class a reason, each with a `code` of its own, made of its name.

`sites` are the roster indexes of those whose messages or secrets an error is about. Raised by the coordinator's side it
convicts them, since each message came over its site's own channel. Raised by a site it convicts nobody alone: all that
a site sees has passed through the coordinator's hands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from secure_fl.errors import SecureFLError

__all__ = [
    "AlreadyAgreed",
    "AlreadyOpened",
    "BothShares",
    "BudgetTooSmall",
    "ClipRefused",
    "CommitmentChanged",
    "DuplicateIndex",
    "DuplicateKeys",
    "DuplicateMessage",
    "FalseSecrets",
    "ForeignSite",
    "ForgedAdvert",
    "ForgedAgreement",
    "ForgedOpening",
    "ForgedShares",
    "GraphRefused",
    "IncompleteOpening",
    "InvalidTerms",
    "Malformed",
    "NonFinite",
    "NotAMember",
    "NotASurvivor",
    "NotAgreed",
    "NotOnRoster",
    "OtherSurvivors",
    "OtherTerms",
    "OutOfRange",
    "OwnAdvertAltered",
    "OwnCommitmentAltered",
    "RevealMismatch",
    "RevealMissing",
    "RingRefused",
    "SecAggError",
    "SecondGrouping",
    "SlotMismatch",
    "SlotReused",
    "ThresholdTooLow",
    "TooFewMembers",
    "TooFewSites",
    "TooFewToGroup",
    "UnexpectedSender",
    "UnknownSurvivor",
    "WeakKey",
    "WrongGroup",
    "WrongOrder",
    "WrongRecipients",
    "WrongVector",
]


class SecAggError(SecureFLError):
    """Secure aggregation cannot go on, or will not; `sites` are the roster indexes of those it is about."""

    code = "SECAGG_REFUSED"

    def __init_subclass__(cls) -> None:
        cls.code = "SECAGG_" + re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, what: str, *, sites: Iterable[int] = (), why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.sites = tuple(sites)


# The numbers


class BudgetTooSmall(SecAggError):
    """The ring has too few values for so many members: sums would wrap, or steps would be too coarse."""

    exit_code = 2


class NonFinite(SecAggError):
    """An update holds NaN or an infinity, or is so large that its norm is."""


class OutOfRange(SecAggError):
    """A weight or a counter is outside of the range that the bit budget was made for."""


class WrongVector(SecAggError):
    """A vector has another length or type than the terms say."""


# The terms, and a site's own policy


class InvalidTerms(SecAggError):
    """Terms contradict themselves."""


class DuplicateIndex(SecAggError):
    """A site is listed twice."""


class NotAMember(SecAggError):
    """The terms are for a group that we are not in."""


class NotOnRoster(SecAggError):
    """A member is listed whom our roster does not know, or two members have one identity."""


class TooFewMembers(SecAggError):
    """The group is smaller than we accept."""


class ThresholdTooLow(SecAggError):
    """So few sites could open a sum that two different sets of survivors could both be signed."""


class GraphRefused(SecAggError):
    """Fewer or other neighbours than the size of the group demands."""


class RingRefused(SecAggError):
    """The ring is not one of those that we accept."""


class ClipRefused(SecAggError):
    """Updates would be clipped to more than we accept, or weights be larger."""


# The order of things


class WrongOrder(SecAggError):
    """A step of the protocol was asked for out of order."""


class AlreadyAgreed(WrongOrder):
    """A second set of survivors was presented for signing."""


class AlreadyOpened(WrongOrder):
    """A second opening of one slot was asked for."""


class SlotReused(SecAggError):
    """A slot does not come after the last round that we opened."""


class SlotMismatch(SecAggError):
    """The terms are for another slot than our keys."""


# Messages


class Malformed(SecAggError):
    """Bytes that are not a message, or a field of the wrong length."""


class UnexpectedSender(SecAggError):
    """A message from, or in the name of, somebody who has no part in this trip."""


class DuplicateMessage(SecAggError):
    """A second message of one site in one trip."""


class ForgedAdvert(SecAggError):
    """Keys are not signed by their site for this slot: substituted, altered, or of another slot."""


class OwnAdvertAltered(SecAggError):
    """The keys shown as our own are not ours, or are left out."""


class DuplicateKeys(SecAggError):
    """Two sites show one key."""


class WeakKey(SecAggError):
    """A key is a point of low order: every secret agreed on with it would be zero."""


class ForgedShares(SecAggError):
    """Sealed shares are not signed by their sender as they stand."""


class WrongRecipients(SecAggError):
    """Shares are sealed to others than the sender's neighbours."""


class OtherTerms(SecAggError):
    """A site took part under other terms, another model, or other keys of the members."""


class ForgedAgreement(SecAggError):
    """A signature over survivors is not that of its site."""


class OtherSurvivors(SecAggError):
    """A site signed another set of survivors than the one that was shown to us."""


class ForgedOpening(SecAggError):
    """Opened shares are not signed by their holder as they stand."""


class BothShares(SecAggError):
    """An opening reveals a share that the survivors do not call for: with it, one owner's both secrets."""


class IncompleteOpening(SecAggError):
    """An opening leaves out shares that its holder has to account for, or invents some."""


# Sets of sites


class TooFewSites(SecAggError):
    """Fewer sites than the threshold are left."""


class NotASurvivor(SecAggError):
    """We are not among the survivors: our masks would be opened as those of a site that dropped out."""


class UnknownSurvivor(SecAggError):
    """A survivor whose shares we never held."""


class NotAgreed(SecAggError):
    """Fewer sites than the threshold have signed the survivors."""


# Lies


class FalseSecrets(SecAggError):
    """A site's shares cannot be opened to what it committed itself to; the sum cannot be had with it."""


# Grouping


class CommitmentChanged(SecAggError):
    """A commitment is not the one that its site signed."""


class ForeignSite(SecAggError):
    """A site takes part that the roster does not know, or that has not committed itself."""


class OwnCommitmentAltered(SecAggError):
    """The commitment that is shown as our own is not ours, or is left out."""


class RevealMismatch(SecAggError):
    """A number does not open its site's commitment, or was revealed over other commitments."""


class RevealMissing(SecAggError):
    """A site has committed itself and its number is not shown."""


class SecondGrouping(SecAggError):
    """A site is asked to take part in another grouping of the same run."""


class TooFewToGroup(SecAggError):
    """So few sites take part that whoever chose them could have chosen the groups."""


class WrongGroup(SecAggError):
    """The members that are shown are not those of the group that we computed."""
