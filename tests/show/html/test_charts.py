"""Plots: an axis that holds its values, and marks where their values are."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from onnx_gapmil.show.html.charts import Axis, Row, bar, dot, finding, marker, plot, stacked_bar, whisker
from tests.helpers.html_elements import Elements


@example(values=[1.0], zero=False)
@example(values=[0.0], zero=True)
@given(st.lists(st.floats(0, 1), min_size=1), st.booleans())
def test_an_axis_holds_all_of_its_values(values: list[float], zero: bool) -> None:
    axis = Axis.of(values, zero=zero)
    assert axis.low <= min(values) + 1e-6
    assert axis.high >= max(values) - 1e-6
    assert 2 <= len(axis.ticks) <= 7
    assert axis.ticks[0] == axis.low
    assert axis.high <= 1.0 + 1e-9
    if zero:
        assert axis.low == 0


AXIS = Axis(0.2, 0.6, (0.2, 0.4, 0.6))


def test_marks_lie_where_their_values_are() -> None:
    assert bar(AXIS, 0.5, "own", y=4, height=10) == '<rect x="0" y="4" width="75%" height="10" class="own"></rect>'
    assert 'x1="50%" x2="50%"' in marker(AXIS, 0.4, "reference")
    assert 'cx="25%"' in dot(AXIS, 0.3, "point")
    assert 'x1="25%" x2="100%"' in whisker(AXIS, 0.3, 0.6)


def test_a_plot_is_a_table_that_is_read_without_its_picture() -> None:
    text = plot([Row("mean", [], ["77.5 %", "93 %"], "own")], AXIS, columns=("by", "top-1", "top-5"), what="Accuracy")
    page = Elements(text)
    assert page.text == "Accuracy by top-1 top-5 mean 77.5 % 93 % 20 40 60\u00a0%".replace("\u00a0", " ")
    hidden = [attributes for name, attributes in page.found if name == "svg"]
    assert hidden
    assert all(attributes["aria-hidden"] == "true" for attributes in hidden)


def test_a_stacked_bar_has_its_counts_side_by_side() -> None:
    text = stacked_bar([("right", "Right", 3), ("wrong", "Wrong", 1)], "Images", {"right": "good", "wrong": "bad"})
    widths = re.findall(r'<rect x="([^"]+)" y="0" width="([^"]+)"', text)
    assert widths == [("0%", "75%"), ("75%", "25%")]
    assert Elements(text).text.replace("\u00a0", " ") == "3 Right 75 % good 1 Wrong 25 % bad"


def test_a_finding_has_its_reading_above_and_its_definition_folded() -> None:
    text = finding("name", "Title", "It is so.", "picture", "Because <1>.", None)
    assert text.index("It is so.") < text.index("picture") < text.index("<details>")
    assert "Because &lt;1&gt;." in text
