"""What Python writes: sentences, sections that are left out, escaping, size."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnx_gapmil.auditing.page import render_report, write_report
from onnx_gapmil.errors import InputError
from onnx_gapmil.show.html.charts import Axis
from onnx_gapmil.show.html.formatting import aggregator_name, count, interval, percent
from onnx_gapmil.show.html.markup import Markup, join, tag
from tests.helpers import report_payloads
from tests.helpers.report_pages import EVIL, hostile


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.words: list[str] = []
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = (dict(attrs).get("id") or tag) if tag in {"script", "style"} else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.words.append(data)
        else:
            self.texts[self._inside] = data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def summary(**changes: Any) -> dict[str, Any]:
    """The figures of the README of the shared photos, as a summary."""
    return {
        "model": "vendor/net.onnx",
        "images": 400,
        "failed": 0,
        "verdict": "exact",
        "top1": 0.775,
        "top5": 0.935,
        "intervals": {"top1": [0.731, 0.814]},
        "aggregators": {"mean": {"top1": 0.775}, "max": {"top1": 0.73}, "prob_mean": {"top1": 0.755}},
        "foreground": {
            "right": {"images": 310, "any_top1": 0.977, "cell_share": 0.703, "background_share": 0.262},
            "wrong": {"images": 90, "any_top1": 0.611, "cell_share": 0.152, "background_share": 0.04},
        },
        "recoverable": {"images": 55, "share": 55 / 90},
        "error_causes": {"dilution": 40, "distraction": 15, "absent": 35},
        "background_reliance": 0.32,
        "pointing_game": 0.9325,
        "pointing_game_centre": 0.9,
        **changes,
    }


def words(**changes: Any) -> str:
    return Elements(render_report({"version": "9.9", "summary": summary(**changes)})).text.replace("\u00a0", " ")


def test_headline_says_what_a_release_manager_asks() -> None:
    text = words()
    assert "The model names the right class for 310 of 400 images (77.5 %, 95 % interval 73 to 81)" in text
    assert (
        "In 55 of the 90 it gets wrong , the right class still wins a cell on the object: "
        "the evidence is there, and averaging loses it." in text
    )
    assert "No other fixed way of pooling the cells helps" in text
    assert "is right for 8 images fewer (75.5 %)" in text  # 302 against 310


def test_another_aggregator_that_is_better_is_named_with_its_gain() -> None:
    text = words(aggregators={"mean": {"top1": 0.775}, "lse=10": {"top1": 0.8}})
    assert "Pooling the same cells by log-sum-exp (10) instead would be right for 10 images more (80 %)" in text
    assert "Log-sum-exp (10) gains 2.5 points over the model's own mean." in text


def test_a_gain_within_the_interval_may_be_chance() -> None:
    text = words(aggregators={"mean": {"top1": 0.775, "interval": [0.73, 0.81]}, "max": {"top1": 0.78}})
    assert "2 images more (78 %), which may be chance." in text
    assert "Maximum gains 0.5 points over the model's own mean, which may be chance." in text
    text = words(aggregators={"mean": {"top1": 0.775, "interval": [0.73, 0.81]}, "max": {"top1": 0.82}})
    assert "18 images more (82 %), with no training." in text
    assert "chance" not in text


def test_edges_are_compared_with_their_share_of_cells() -> None:
    edges = {"ring_cells": 0.4, "evidence": 0.3, "winners": 0.35, "energy": None, "padding": 0.05}
    text = words(edges=edges)
    assert "The outermost cells are 40 % of all and hold 30 % of the evidence." in text
    assert "Energy" not in text.split("Edges and padding")[1].split("How this is measured")[0]
    assert "The edges speak loudly." not in text
    assert "The edges speak loudly." in words(edges=edges | {"evidence": 0.51})
    assert "Edges and padding" not in words(edges={"ring_cells": 0.4, "evidence": None})


def test_localization_takes_thresholds_and_baselines_one_by_one() -> None:
    detail = {
        "iou_0.3": 0.9,
        "iou_0.5": 0.6,
        "iou_0.7": 0.3,
        "mean": 0.6,
        "threshold": 0.4,
        "halves": {"objects": [5, 4], "thresholds": [0.35, 0.4]},
        "oracle": {"mean": 0.62},
        "centre_box": {"iou_0.3": 0.8, "iou_0.5": 0.5, "iou_0.7": 0.2, "mean": 0.5},
    }
    text = words(localization=detail, maxboxacc_v2=0.6)
    assert "MaxBoxAccV2: boxes cut from the grid 60.0 % 50.0 %" in text
    assert "IoU of 0.7 or more 30.0 % 20.0 %" in text
    assert "at the threshold that is best on the other half (0.35 and 0.40); the best threshold in hindsight" in text
    assert "would give 62 %" in text


def test_several_objects_are_counts() -> None:
    text = words(several_objects={"images": 6, "objects": 13, "grid": 10, "top1": 5, "top5": 9})
    assert "6 images hold 13 objects; the cells find 77 % of them." in text
    assert "From the image's best class 38.5 %" in text


def test_all_errors_recoverable_and_none() -> None:
    assert "In all 90 it gets wrong" in words(recoverable={"images": 90, "share": 1.0})
    assert "In none of the 90 it gets wrong does the right class win a cell" in words(
        recoverable={"images": 0, "share": 0.0}
    )


def test_errors_without_a_known_place_are_counted_apart() -> None:
    wrong = {"images": 60, "any_top1": 0.5}
    text = words(foreground={"right": None, "wrong": wrong}, recoverable={"images": 30, "share": 0.5})
    assert "In 30 of the 60 errors with a known place of the object" in text
    assert "30 Wrong, the object's place unknown 7.5 %" in text


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"failed": 3}, "3 images could not be measured."),
        ({"preprocess_assumed": True}, "Preprocessing was guessed."),
        ({"preprocess": {"assumed": True}}, "Preprocessing was guessed."),
        ({"verdict": "conditional"}, "The head is conditional."),
        ({"head": {"quantized": True}}, "The head computes in integers."),
        ({"head": {"position_dependent": True}}, "The head is position-dependent."),
        ({"verdict": "exact; position-dependent"}, "The head is position-dependent."),
        ({"background_reliance": 0.7, "background": {"random_box": 0.8}}, "Much of the evidence is background."),
        ({"background_reliance": 0.4, "background": {"random_box": 0.39}}, "no better than a random box"),
        ({"pointing_game": 0.92}, "The pointing game shows little here."),
        ({"calibration": {"ece": 0.2}}, "Confidence is not probability."),
        ({"foreground": None}, "No boxes or masks."),
        ({"images": 20}, "Only 20 images."),
    ],
)
def test_a_warning_appears_when_it_is_due_and_not_before(changes: dict[str, Any], warning: str) -> None:
    calm = {"pointing_game": 0.99, "background": {"random_box": 0.6}, "calibration": {"ece": 0.02}}
    assert warning not in words(**calm)
    assert "Before you rely on this" not in words(**calm)
    assert warning in words(**calm | changes)


def test_sections_without_values_are_left_out() -> None:
    page = Elements(render_report({"summary": {"images": 4, "top1": 0.5}}))
    ids = {attributes.get("id") for _name, attributes in page.found}
    assert "summary" in ids
    assert "measured" in ids
    assert not ids & {
        "findings",
        "recovery",
        "causes",
        "background",
        "localization",
        "calibration",
        "classes",
        "images",
    }
    links = [attributes["href"] for name, attributes in page.found if name == "a"]
    assert {link.removeprefix("#") for link in links if link} <= ids
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


def test_nulls_of_the_summary_are_no_values() -> None:
    nothing = dict.fromkeys(
        [
            "foreground",
            "recoverable",
            "background",
            "background_reliance",
            "edges",
            "pointing_game",
            "maxboxacc_v2",
            "localization",
            "pxap",
            "calibration",
            "several_objects",
            "intervals",
            "aggregators",
            "error_causes",
            "macro",
            "provider",
            "class_map",
            "preprocess",
            "data",
            "verdict",
            "model",
            "head",
            "top5",
        ]
    )
    page = Elements(
        render_report({"summary": {"images": 10, "top1": 0.5, **nothing}, "classes": None, "gallery": None})
    )
    assert "5 of 10 images" in page.text.replace("\u00a0", " ")
    assert "None" not in page.text


def test_no_images_at_all() -> None:
    assert "No image could be measured." in words(images=0, top1=None, failed=3)


def test_every_number_of_a_payload_may_be_nan() -> None:
    nan = float("nan")
    text = render_report({"summary": {"images": 4, "top1": 0.5, "top5": nan, "pointing_game": nan}})
    assert "NaN" not in Elements(text).texts["summary-json"]
    assert json.loads(Elements(text).texts["summary-json"])["top5"] is None


def test_page_is_one_file_that_asks_for_nothing(digits: dict[str, Any]) -> None:
    text = render_report(digits)
    page = Elements(text)
    for name, attributes in page.found:
        assert name not in {"iframe", "object", "embed", "base", "form"}
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        for key in ("src", "href", "action", "data", "srcset", "poster"):
            address = attributes.get(key)
            assert address is None or address.startswith(("#", "data:")), (name, key, address)
    outside = re.findall(r"(?:https?:)?//[a-z0-9.-]+", page.texts["style"] + page.texts["script"], re.IGNORECASE)
    assert set(outside) <= {"http://www.w3.org"}  # SVG's name space, which is no address
    assert "url(" not in page.texts["style"]
    assert "@import" not in page.texts["style"]


def test_policy_names_the_hashes_of_style_and_script(digits: dict[str, Any]) -> None:
    import base64
    import hashlib

    page = Elements(render_report(digits))
    policy = next(a["content"] for name, a in page.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for text in (page.texts["style"], page.texts["script"]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_300_images_with_small_thumbnails_are_a_small_file(tmp_path: Path) -> None:
    payload = report_payloads.synthetic_payload(classes=40, images=300)
    path = tmp_path / "report.html"
    write_report(path, payload)
    thumbs = sum(len(image["thumb"]) for image in payload["gallery"]["images"])
    assert path.stat().st_size < thumbs + 300 * 3000 + 150_000


def test_hostile_names_are_text_everywhere(digits: dict[str, Any]) -> None:
    payload = hostile(digits)
    page = Elements(render_report(payload))
    plain = Elements(render_report(digits))
    assert [name for name, _ in page.found] == [name for name, _ in plain.found]
    data = json.loads(page.texts["data"])
    assert data["names"]["3"] == EVIL
    assert data["gallery"]["images"][0]["name"] == EVIL
    assert EVIL in page.text


def test_names_that_are_no_unicode_do_not_stop_the_page(tmp_path: Path, digits: dict[str, Any]) -> None:
    payload = copy.deepcopy(digits)
    payload["gallery"]["images"][0]["name"] = "caf\udce9.jpg"
    payload["summary"]["failures"] = [{"image": "caf\udce9.jpg", "error": "is empty."}]
    write_report(tmp_path / "report.html", payload)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "absent" / "report.html", {"summary": {}})


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


def test_words() -> None:
    assert percent(0.775) == "77.5\u00a0%"
    assert percent(1.0) == "100\u00a0%"
    assert percent(None) == "–"
    assert interval([0.731, 0.814]) == "73 to 81"
    assert interval([None, 1.0]) is None
    assert count(1, "image") == "1 image"
    assert count(1300, "class", "classes") == "1,300 classes"
    assert aggregator_name("lse=10") == "log-sum-exp (10)"
    assert aggregator_name("new_one") == "new one"


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
