"""Nothing that comes from outside can become markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from secure_fl.lab.report.markup import Markup, breakable, element, joined

NASTY = '<script>alert("1")</script>&\'"'


class Tags(HTMLParser):
    """The tags and attributes of a text, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_children_and_attributes_come_back_as_they_were_and_bring_no_tag(text: str) -> None:
    text = text.replace("\r", "").replace("\0", "")  # which no parser keeps
    tags = Tags(element("p", {"title": text}, text))
    assert tags.found == [("p", {"title": text})]
    assert tags.text == text


def test_markup_inside_markup_is_not_escaped_again() -> None:
    inner = element("b", None, "a & b")
    assert element("p", None, inner, " < ") == "<p><b>a &amp; b</b> &lt; </p>"
    assert isinstance(joined(inner, NASTY), Markup)
    assert Tags(joined(inner, NASTY)).found == [("b", {})]


def test_elements_without_content_are_closed() -> None:
    assert element("path", {"d": "M0 0"}) == '<path d="M0 0"/>'
    assert element("td") == "<td></td>"


@given(st.text())
def test_a_name_may_break_at_its_joints_and_is_otherwise_what_it_was(name: str) -> None:
    name = name.replace("\r", "").replace("\0", "")
    tags = Tags(breakable(name))
    assert {tag for tag, _ in tags.found} <= {"wbr"}
    assert tags.text == name


def test_the_joints_of_a_name() -> None:
    assert breakable("nnm+trimmed_mean") == "nnm+<wbr/>trimmed_<wbr/>mean"
    assert breakable("no defense (mean)") == "no defense (mean)"
