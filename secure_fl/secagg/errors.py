"""Refusals of secure aggregation, each with its own name."""

from __future__ import annotations

from secure_fl.errors import SecureFLError

__all__ = [
    "CommitmentChanged",
    "ForeignSite",
    "OwnCommitmentAltered",
    "RevealMismatch",
    "RevealMissing",
    "SecAggError",
    "SecondGrouping",
    "TooFewToGroup",
    "WrongGroup",
]


class SecAggError(SecureFLError):
    """Secure aggregation refuses to go on."""

    code = "SECAGG_REFUSED"


# Grouping


class CommitmentChanged(SecAggError):
    """A commitment is not the one that its site signed."""

    code = "SECAGG_COMMITMENT_CHANGED"


class OwnCommitmentAltered(SecAggError):
    """The commitment that is shown as our own is not ours, or is left out."""

    code = "SECAGG_OWN_COMMITMENT_ALTERED"


class ForeignSite(SecAggError):
    """A site takes part that the roster does not know, or that has not committed itself."""

    code = "SECAGG_FOREIGN_SITE"


class RevealMissing(SecAggError):
    """A site has committed itself and its number is not shown."""

    code = "SECAGG_REVEAL_MISSING"


class RevealMismatch(SecAggError):
    """A number does not open its site's commitment, or was revealed over other commitments."""

    code = "SECAGG_REVEAL_MISMATCH"


class SecondGrouping(SecAggError):
    """A site is asked to take part in another grouping of the same run."""

    code = "SECAGG_SECOND_GROUPING"


class TooFewToGroup(SecAggError):
    """So few sites take part that whoever chose them could have chosen the groups."""

    code = "SECAGG_TOO_FEW_TO_GROUP"


class WrongGroup(SecAggError):
    """The members that are shown are not those of the group that we computed."""

    code = "SECAGG_WRONG_GROUP"
