"""What secure aggregation refuses, one named class a reason; every one has a `code` of its own."""

from __future__ import annotations

from secure_fl.errors import SecureFLError

__all__ = [
    "BudgetTooSmall",
    "CommitmentChanged",
    "ForeignSite",
    "NonFinite",
    "OutOfRange",
    "OwnCommitmentAltered",
    "RevealMismatch",
    "RevealMissing",
    "SecAggError",
    "SecondGrouping",
    "TooFewToGroup",
    "WrongGroup",
]


class SecAggError(SecureFLError):
    """Secure aggregation cannot go on, or will not."""

    code = "SECAGG_FAILED"


class BudgetTooSmall(SecAggError):
    """The ring has too few values for so many members: sums would wrap, or steps would be too coarse."""

    code = "SECAGG_BUDGET_TOO_SMALL"
    exit_code = 2


class NonFinite(SecAggError):
    """An update holds NaN or an infinity, or is so large that its norm is."""

    code = "SECAGG_NON_FINITE"


class OutOfRange(SecAggError):
    """A weight or a counter is outside of the range that the bit budget was made for."""

    code = "SECAGG_OUT_OF_RANGE"


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
