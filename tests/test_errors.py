"""The error tree: every class says what, why and fix, and has a code and a documented exit code."""

from __future__ import annotations

import pytest

from secure_fl import errors
from secure_fl.cli.output import EXIT_CODES
from secure_fl.errors import ConfigError, SecureFLError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_one_of_ours_with_a_documented_exit_code(kind: type[SecureFLError]) -> None:
    assert issubclass(kind, SecureFLError)
    assert kind.exit_code in EXIT_CODES
    assert kind.exit_code != 0
    assert kind.code == kind.code.upper()
    assert kind.__doc__


def test_codes_are_not_shared() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)


def test_the_tree_in_the_module_docstring_names_every_class_with_its_exit_code() -> None:
    drawn = errors.__doc__ or ""
    for kind in CLASSES[:-1]:
        if kind is not SecureFLError:
            (line,) = [line for line in drawn.splitlines() if f" {kind.__name__} " in line]
            assert line.split()[-1] == str(kind.exit_code)


def test_an_error_reads_as_what_and_why() -> None:
    assert str(ConfigError("`lr` is 0")) == "`lr` is 0"
    error = ConfigError("`lr` is 0", why="it must be above zero", fix="give 0.1")
    assert str(error) == "`lr` is 0 (it must be above zero)"
    assert (error.what, error.why, error.fix) == ("`lr` is 0", "it must be above zero", "give 0.1")
