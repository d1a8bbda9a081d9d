"""Complaints are kept to a bound, and none is lost from the count."""

from __future__ import annotations

import pytest

from audit.decode.ledger import Ledger
from audit.decode.notes import LIMIT, Notes
from audit.findings import BlindSpot, Finding


def test_of_each_rule_so_many_are_kept_and_the_rest_are_counted() -> None:
    notes = Notes()
    for number in range(LIMIT + 7):
        notes.add(BlindSpot("tcp/gap", str(number), length=2))
    notes.add(BlindSpot("tls/no-secret", "one"))
    notes.add(Finding("tcp/gap", "a finding of the same name"))
    assert len(notes.blind_spots()) == LIMIT + 2
    assert notes.blind_spots()[-1] == BlindSpot("tcp/gap", "7 more of this kind", length=14)
    assert [each.message for each in notes.findings()] == ["a finding of the same name"]


def test_bytes_in_no_readable_category_are_unaccounted_and_pages_do_not_make_up_for_one_another() -> None:
    ledger = Ledger()
    one, other = ledger.page("s1", "to-site"), ledger.page("s2", "to-site")
    one.captured, other.captured = 10, 10
    one.parts["http/head"], one.parts["blind/gap"], other.parts["http/head"] = 7, 3, 12
    assert ledger.captured_bytes == 20
    assert ledger.unaccounted_bytes == 3 + 2
    assert ledger.by_category() == {"http/head": 19, "blind/gap": 3}


def test_sessions_beyond_the_bound_share_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.decode.ledger.MAX_PAGES", 5)
    ledger = Ledger()
    for number in range(5):
        ledger.page(str(number), "to-site")
    assert ledger.page("one more", "to-site") is ledger.page("and one more", "to-site")
    assert ledger.page("0", "to-site") is not ledger.page("1", "to-site")
