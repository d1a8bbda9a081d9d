"""A document cannot be built with a verdict that its own parts contradict, or with a part missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audit.findings import BlindSpot, Finding, Place, Verdict
from audit.report.document import Document, differences
from audit.report.examination import Control, Ledger, LedgerLine, Polarity
from audit.report.measurements import Bound, Outcome, Picture, RocPoint
from audit.report.sections import Scope
from audit.report.shape import ShapeError
from tests.audit.report import example

DOCUMENT = example.document()


def test_a_document_survives_its_bytes() -> None:
    for each in (DOCUMENT, example.leaking(), example.small()):
        again = Document.from_bytes(each.to_bytes())
        assert again == each
        assert again.to_bytes() == each.to_bytes()
        assert again.examination_sha256 == each.examination_sha256


@pytest.mark.parametrize("name", DOCUMENT.to_mapping())
def test_no_section_may_be_missing(name: str) -> None:
    raw = DOCUMENT.to_mapping()
    del raw[name]
    with pytest.raises(ShapeError, match=f"document.{name} is missing"):
        Document.from_mapping(raw)


def test_another_format_is_refused() -> None:
    with pytest.raises(ShapeError, match="this version reads"):
        Document.from_mapping({**DOCUMENT.to_mapping(), "format": "secure-fl-audit/2"})


def without_pass(**changes: Any) -> Verdict:
    return example.replaced(DOCUMENT.examination, **changes).verdict


def test_the_example_passes_and_says_why() -> None:
    assert DOCUMENT.verdict is Verdict.PASS
    assert DOCUMENT.reason == (
        "Every session (6) was decrypted, every byte (495,010,870) is accounted for, nothing was found, and every "
        "control (8) behaved as it must."
    )


def test_whatever_is_not_seen_prevents_a_pass() -> None:
    seen = DOCUMENT.examination
    positive = [each for each in seen.controls if each.polarity is Polarity.POSITIVE]
    negative = [each for each in seen.controls if each.polarity is Polarity.NEGATIVE]
    silent = replace(positive[0], fired=False)
    ledger = Ledger(seen.ledger.captured_bytes + 1, 1, seen.ledger.lines)
    for changes, why in (
        ({"captures": ()}, "Nothing was captured."),
        ({"captures": (replace(seen.captures[0], kernel_drops=1),)}, "The kernel dropped 1 packet."),
        ({"sessions": ()}, "No session was seen at all."),
        ({"sessions": (replace(seen.sessions[0], decrypted=False),)}, "1 session could not be decrypted."),
        ({"ledger": ledger}, "1 byte without an account."),
        ({"blind_spots": (BlindSpot("tcp/gap", "a gap"),)}, "1 thing could not be seen."),
        ({"controls": ()}, "The controls did not all run."),
        ({"controls": positive}, "The controls did not all run."),
        ({"controls": negative}, "The controls did not all run."),
        ({"controls": (silent, *positive[1:], *negative)}, "1 control did not behave."),
        ({"controls": (*positive, replace(negative[0], fired=True))}, "1 control did not behave."),
    ):
        found = example.replaced(seen, **changes)
        assert found.verdict is Verdict.INCOMPLETE, changes
        assert example.document(examination=found).reason == why
        with pytest.raises(ValueError, match="the verdict is PASS"):
            replace(found, verdict=Verdict.PASS)


def test_a_finding_outranks_what_was_not_seen() -> None:
    finding = Finding("image/jpeg", "a JPEG", Place(site="a"))
    assert without_pass(findings=(finding,), blind_spots=(BlindSpot("x", "y"),)) is Verdict.FAIL


def test_a_violated_bound_or_another_model_fails_the_audit() -> None:
    violated = example.document(privacy=example.privacy(violated=True))
    assert violated.verdict is Verdict.FAIL
    assert violated.reason == "More privacy was spent than claimed (Gaussian mechanism)."
    leakage = example.leakage()
    other = example.document(leakage=replace(leakage, manifest=replace(leakage.manifest, outcome=Outcome.VIOLATED)))
    assert other.verdict is Verdict.FAIL
    assert "manifest" in other.reason
    with pytest.raises(ValueError, match="makes it FAIL"):
        replace(violated, verdict=Verdict.PASS)


def test_a_ledger_that_does_not_add_up_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="explains 5 and leaves 1 of 7"):
        Ledger(7, 1, (LedgerLine("a", "to-site", "http/head", 5),))


def test_an_audit_without_limits_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="does not prove"):
        Scope(("everything",), (), ())


def test_a_picture_is_as_large_as_it_says() -> None:
    assert Picture.of(2, 1, 3, bytes(6)).bytes() == bytes(6)
    for wrong in ((2, 1, 3, bytes(5)), (2, 1, 2, bytes(4)), (0, 1, 1, b""), (513, 1, 1, bytes(513))):
        with pytest.raises(ValueError, match=r"pictur|bytes"):
            Picture.of(*wrong)
    with pytest.raises(ValueError, match="no base64"):
        Picture(1, 1, 1, "?")


def test_a_roc_curve_lies_in_order_and_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="pair of rates"):
        RocPoint(0.5, 1.1)
    curve = example.membership("a", 0.6, "")
    with pytest.raises(ValueError, match="in order"):
        replace(curve, points=curve.points[::-1])


def test_equal_examinations_do_not_differ_in_whatever_order_they_came() -> None:
    seen = example.leaking().examination
    again = example.replaced(
        seen, sessions=seen.sessions[::-1], findings=seen.findings[::-1], blind_spots=seen.blind_spots[::-1]
    )
    assert differences(seen, again) == ()
    assert again == seen


def test_each_difference_is_named_with_its_place() -> None:
    seen = example.leaking().examination
    moved = replace(seen.findings[0], place=replace(seen.findings[0].place, offset=99))
    other = example.replaced(
        seen,
        findings=(moved, *seen.findings[1:]),
        ledger=Ledger(seen.ledger.captured_bytes + 7, 7, seen.ledger.lines),
    )
    found = differences(seen, other)
    assert len(found) == 4
    assert any(line.startswith("ledger.unaccounted_bytes: recorded 0, derived 7") for line in found)
    assert any(line.startswith("findings: only derived") and '"offset":99' in line for line in found)
    assert differences(seen, example.examination())[0] == 'verdict: recorded "FAIL", derived "PASS"'
    swapped = replace(seen, controls=(*seen.controls[1:], seen.controls[0]))
    assert differences(seen, swapped) == ("controls: in another order",)


def test_a_control_behaves_as_its_polarity_says() -> None:
    for polarity, fired, behaved in (
        (Polarity.POSITIVE, True, True), (Polarity.POSITIVE, False, False),
        (Polarity.NEGATIVE, True, False), (Polarity.NEGATIVE, False, True),
    ):  # fmt: skip
        assert Control("c", polarity, "", "", fired, "").behaved is behaved


def test_what_was_not_tested_is_no_violation() -> None:
    privacy = example.privacy()
    untested = Bound("t", "all", 1.0, None, None, None, Outcome.NOT_TESTED, "", "")
    assert example.document(privacy=replace(privacy, bounds=(untested,))).verdict is Verdict.PASS
