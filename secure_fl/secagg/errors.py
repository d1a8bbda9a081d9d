"""What secure aggregation refuses, one named class a reason; every one has a `code` of its own."""

from __future__ import annotations

from secure_fl.errors import SecureFLError

__all__ = ["BudgetTooSmall", "NonFinite", "OutOfRange", "SecAggError"]


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
