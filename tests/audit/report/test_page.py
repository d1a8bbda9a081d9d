"""The page says what the document says, loads nothing, and lets no name become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.findings import BlindSpot, Finding, Place
from audit.report.document import Document
from audit.report.page import page
from audit.report.shape import from_mapping
from tests.audit.report import example


class Tree(HTMLParser):
    """Checks that tags close in order, and collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


CLEAN, LEAKING, MANY, SMALL = example.document(), example.leaking(), example.leaking(200), example.small()


@pytest.mark.parametrize("document", [CLEAN, LEAKING, MANY, SMALL], ids=["clean", "leaking", "many", "small"])
def test_a_page_is_well_formed_and_loads_nothing(document: Document) -> None:
    tree = Tree(page(document))
    names = {tag for tag, _ in tree.tags}
    assert not names & {"script", "link", "iframe", "object", "form", "base"}
    for _, attributes in tree.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert all(
            (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")) for name in ("href", "src")
        )
    policy = next(each["content"] for _, each in tree.tags if "http-equiv" in each)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "url(" not in page(document)


@pytest.mark.parametrize("document", [CLEAN, LEAKING, SMALL], ids=["clean", "leaking", "small"])
def test_a_page_can_be_heard(document: Document) -> None:
    tree = Tree(page(document))
    count = [tag for tag, _ in tree.tags].count
    assert count("h1") == count("main") == count("nav") == 1
    assert count("h2") == 12
    assert count("caption") == count("table")
    assert all(each.get("scope") in ("row", "col") for tag, each in tree.tags if tag == "th")
    assert all(each.get("alt") for tag, each in tree.tags if tag == "img")
    assert all(each.get("aria-label") or "aria-hidden" in each for tag, each in tree.tags if tag == "svg")
    anchors = {str(each["id"]) for _, each in tree.tags if "id" in each}
    assert {str(each["href"])[1:] for tag, each in tree.tags if tag == "a"} <= anchors


def test_commands_stand_on_lines_of_their_own() -> None:
    tree = Tree(page(CLEAN))
    (commands,) = [words for words in tree.words if "--recheck" in words]
    assert [line.split(" #")[0].rstrip() for line in commands.splitlines()] == [
        "secure-fl audit verify BUNDLE --key auditor.pub",
        "secure-fl audit verify BUNDLE --key auditor.pub --recheck",
    ]
    assert "\\u0" not in tree.text


def test_limits_come_before_results() -> None:
    text = Tree(page(CLEAN)).text
    assert text.index("What this audit does not prove") < text.index("Where every byte went")
    assert all(limit in text for limit in CLEAN.scope.not_proven)


def test_the_same_document_gives_the_same_bytes() -> None:
    assert page(Document.from_bytes(LEAKING.to_bytes())) == page(LEAKING)


def test_every_value_that_a_reader_needs_is_on_the_page() -> None:
    text = Tree(page(LEAKING)).text
    assert LEAKING.reason in text
    seen = LEAKING.examination
    for finding in seen.findings:
        assert finding.message in text
        assert f"byte {finding.place.offset:,} of the {finding.place.unit}, {finding.place.session}" in text
        assert finding.place.message in text
        assert finding.evidence_sha256[:12] in text
    for session in seen.sessions:
        assert session.client in text
        assert session.suite in text
    assert all(each.message in text for each in seen.blind_spots)
    assert all(each.sends in text for each in seen.controls)
    assert all(row.sent in text for row in LEAKING.searches.rows)
    assert all(bound.assumes in text for bound in LEAKING.privacy.bounds)
    assert all(part.merkle_root in text for part in LEAKING.model.data)
    for provision in ("Art. 5(1)(c)", "Art. 25", "Art. 30", "Art. 32", "Art. 35",
                      "164.308(a)(8)", "164.312(b)", "164.312(c)", "164.312(e)"):  # fmt: skip
        assert provision in text
    assert "no legal advice" in text


def test_each_verdict_is_told_by_word_and_not_by_colour_alone() -> None:
    for document in (CLEAN, LEAKING, SMALL):
        text = page(document)
        assert f'class="verdict {document.verdict.value}"' in text
        assert re.search(rf"</span>{document.verdict.value}</span>", text)
        assert f"<title>{document.verdict.value}: audit of " in text


def test_many_findings_of_one_rule_are_folded_and_few_are_not() -> None:
    assert '<details><summary><code>image/jpeg</code><span class="many"> · 40 findings' in page(MANY)
    assert '<details open=""><summary><code>image/jpeg</code><span class="many"> · 2 findings' in page(LEAKING)
    assert page(MANY).count("byte ") > 200


def test_a_page_stays_readable_when_a_site_floods_it() -> None:
    flood = [Finding("image/jpeg", "a JPEG", Place(offset=at)) for at in range(3_000)]
    text = page(replace_examination(example.replaced(SMALL.examination, findings=flood)))
    assert "the first 500 of them; document.json has all" in text
    assert len(text) < 600_000


def test_a_hole_in_the_ledger_is_never_rounded_away() -> None:
    seen = CLEAN.examination
    ledger = replace(seen.ledger, captured_bytes=seen.ledger.captured_bytes + 1, unaccounted_bytes=1)
    text = page(example.document(examination=example.replaced(seen, ledger=ledger)))
    assert "99.99\N{NO-BREAK SPACE}%" in text
    assert "<strong" in text
    assert ">100 %<" not in text
    assert "unaccounted for: 1 B" in text


def hostile(value: Any, key: str = "") -> Any:
    """The same document with every free text replaced."""
    if isinstance(value, dict):
        return {key: hostile(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, key) for each in value]
    fixed = {"format", "verdict", "polarity", "outcome", "pixels", "started"}
    return example.HOSTILE if isinstance(value, str) and key not in fixed else value


def test_no_text_of_a_document_becomes_markup() -> None:
    plain, text = page(LEAKING), page(from_mapping(Document, hostile(LEAKING.to_mapping())))
    tree = Tree(text)
    tags = {tag for tag, _ in tree.tags}
    assert tags <= {tag for tag, _ in Tree(plain).tags}
    assert "<script" not in text
    assert "onerror" not in {name for _, attributes in tree.tags for name in attributes}
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\\u202egnp.exe\\u001b[31m\\u0000" in text


TEXT = st.text(max_size=20)
PLACE = st.builds(
    Place, TEXT, TEXT, st.sampled_from(["", "to-site", "to-coordinator", "?"]), TEXT, TEXT, TEXT, TEXT,
    st.integers(0, 2**40),
)  # fmt: skip
FINDINGS = st.lists(st.builds(Finding, TEXT, TEXT, PLACE, st.integers(0, 9), TEXT, st.just(("gzip",))), max_size=5)


@settings(max_examples=40, deadline=None)
@given(FINDINGS, st.lists(st.builds(BlindSpot, TEXT, TEXT, PLACE), max_size=3))
def test_any_findings_make_a_page(findings: list[Finding], spots: list[BlindSpot]) -> None:
    seen = example.replaced(SMALL.examination, findings=findings, blind_spots=spots)
    Tree(page(Document.from_bytes(replace_examination(seen).to_bytes())))


def replace_examination(seen: Any) -> Document:
    return replace(SMALL, examination=seen, verdict=seen.verdict)
