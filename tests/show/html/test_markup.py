"""HTML from Python: what is no markup is escaped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.show.html.markup import Markup, join, number, percent_of, tag
from tests.helpers.html_elements import Elements


@given(st.text())
def test_markup_escapes_whatever_is_no_markup(text: str) -> None:
    made = tag("p", text, title=text)
    parsed = Elements(made)
    assert [name for name, _ in parsed.found] == ["p"]
    assert join(made) == made
    assert "<" not in made[3:-4].replace("<p", "")


def test_markup_of_attributes() -> None:
    assert tag(
        "a", Markup("<b>x</b>"), " & ", 3, None, [1, "<"], class_="q", data_key="k", hidden=True, title=None
    ) == ('<a class="q" data-key="k" hidden><b>x</b> &amp; 31&lt;</a>')
    assert tag("line", x1=0.123456, y1=2.0) == '<line x1="0.12" y1="2"></line>'


def test_empty_elements_are_not_closed() -> None:
    assert tag("input", type="checkbox", checked=False) == '<input type="checkbox">'


def test_coordinates_have_two_decimals_at_most() -> None:
    assert [number(value) for value in (2.0, 0.125, 100.0, 1 / 3)] == ["2", "0.12", "100", "0.33"]
    assert (percent_of(0.5), percent_of(1 / 3)) == ("50%", "33.33%")
