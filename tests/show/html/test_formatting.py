"""Numbers and names as a reader wants them."""

from __future__ import annotations

from onnx_gapmil.show.html.formatting import aggregator_name, count, interval, of_images, percent, table_percent


def test_words() -> None:
    assert percent(0.775) == "77.5\u00a0%"
    assert percent(1.0) == "100\u00a0%"
    assert percent(None) == "–"
    assert interval((0.731, 0.814)) == "73 to 81"
    assert count(1, "image") == "1 image"
    assert count(1300, "class", "classes") == "1,300 classes"
    assert aggregator_name("lse=10") == "log-sum-exp (10)"
    assert aggregator_name("new_one") == "new one"
    assert table_percent(1.0) == "100.0\u00a0%"
    assert table_percent(None) == "–"
    assert of_images(0.775, 400) == 310
