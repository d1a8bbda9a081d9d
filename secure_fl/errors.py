"""One tree for everything that can go wrong in a way we foresaw.

    SecureFLError
    ├── ConfigError        a setting is unknown, out of range or contradicts another   exit 2
    ├── DataError          images or labels cannot be used                             exit 2
    ├── ModelFileError     a model or checkpoint file cannot be used                   exit 2
    ├── BudgetError        a privacy budget or an audit gate refuses                   exit 3
    ├── NotFoundError      a run, file or site does not exist, or may not be read      exit 4
    ├── QuorumError        too few sites answered in time                              exit 5
    ├── FederationError    the coordinator or a site could not do its part             exit 1
    ├── IntegrityError     a record was altered, or a chain does not close             exit 1
    └── InterruptedRunError   a person stopped it; what was finished is saved          exit 130

Each error says *what* happened, *why*, and what *fix* to try. The command line and the web page map
them through `code` and `exit_code`, in one place each; nothing else needs to know the classes.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "ConfigError",
    "DataError",
    "FederationError",
    "IntegrityError",
    "InterruptedRunError",
    "ModelFileError",
    "NotFoundError",
    "QuorumError",
    "SecureFLError",
]


class SecureFLError(Exception):
    """An error that we foresaw: `what` happened, `why`, and the `fix` to try (both optional)."""

    code = "FAILED"
    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return self.what if not self.why else f"{self.what} ({self.why})"


class ConfigError(SecureFLError):
    """A setting is unknown, out of range, or contradicts another."""

    code = "CONFIG_INVALID"
    exit_code = 2


class DataError(SecureFLError):
    """Images or labels cannot be used; the message names the file."""

    code = "DATA_INVALID"
    exit_code = 2


class ModelFileError(SecureFLError):
    """A model or checkpoint file is damaged, or does not fit the architecture."""

    code = "MODEL_FILE_INVALID"
    exit_code = 2


class BudgetError(SecureFLError):
    """A privacy budget or an audit gate refuses to go on."""

    code = "BUDGET_EXCEEDED"
    exit_code = 3


class NotFoundError(SecureFLError):
    """A run, file or site does not exist, or may not be read."""

    code = "NOT_FOUND"
    exit_code = 4


class QuorumError(SecureFLError):
    """Too few sites gave a usable reply within the time limit."""

    code = "QUORUM_LOST"
    exit_code = 5


class FederationError(SecureFLError):
    """The coordinator or a site could not do its part."""

    code = "FEDERATION_FAILED"
    exit_code = 1


class IntegrityError(SecureFLError):
    """A record was altered, truncated or does not match its hash."""

    code = "INTEGRITY_BROKEN"
    exit_code = 1


class InterruptedRunError(SecureFLError):
    """A person stopped the run; every finished round is saved and it can be resumed."""

    code = "INTERRUPTED"
    exit_code = 130
