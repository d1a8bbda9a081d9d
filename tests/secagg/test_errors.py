"""Each refusal has a class, and each class a code that says the same."""

from __future__ import annotations

from secure_fl.cli.output import EXIT_CODES
from secure_fl.secagg import errors
from secure_fl.secagg.errors import NotASurvivor, SecAggError

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_every_refusal_has_a_code_of_its_own_a_description_and_an_exit_code() -> None:
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)
    for kind in CLASSES:
        assert issubclass(kind, SecAggError)
        assert kind.code.startswith("SECAGG_")
        assert kind.exit_code in EXIT_CODES
        assert kind.__doc__


def test_a_code_is_the_name_of_its_class() -> None:
    assert NotASurvivor.code == "SECAGG_NOT_A_SURVIVOR"
    assert SecAggError.code == "SECAGG_REFUSED"


def test_an_error_says_what_why_and_about_whom() -> None:
    error = NotASurvivor("what", sites=[2, 1], why="why", fix="fix")
    assert (str(error), error.fix, error.sites) == ("what (why)", "fix", (2, 1))
    assert NotASurvivor("what").sites == ()
