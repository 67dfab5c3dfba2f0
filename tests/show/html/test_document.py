"""One file of HTML: its policy, its data, and nothing that a text of others could open or close."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.files.printable import visible_lines
from onnx_gapmil.show.html.document import Document, render_document, script_json
from onnx_gapmil.show.html.markup import Markup, join, tag
from tests.helpers.html_elements import Elements
from tests.helpers.report_pages import EVIL


def document(**changes: object) -> Document:
    parts: dict[str, object] = {
        "title": "A page",
        "skip": tag("a", "Skip", href="#main"),
        "header": tag("b", "head"),
        "main": tag("p", "main"),
        "footer": tag("p", "foot"),
        "data": {"first": {"a": 1}, "data": {"images": []}},
        "styles": ("base.css",),
        "scripts": ("elements.js",),
    }
    return Document(**parts | changes)  # type: ignore[arg-type]


def test_a_document_has_its_parts_in_order() -> None:
    text = render_document(document())
    page = Elements(text)
    assert text.startswith("<!doctype html>")
    assert [name for name, _ in page.found if name in {"title", "a", "header", "main", "footer"}] == [
        *("title", "a", "header", "main", "footer")
    ]
    assert json.loads(page.texts["first"]) == {"a": 1}
    assert json.loads(page.texts["data"]) == {"images": []}
    assert "{{" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)


def test_scripts_share_a_scope_of_their_own_in_the_order_that_is_given() -> None:
    script = Elements(render_document(document(scripts=("elements.js", "theme.js")))).texts["script"]
    assert script.startswith('"use strict";\n(() => {\n')
    assert script.endswith("})();\n")
    assert script.index("function fullName(") < script.index("onnx-gapmil-theme")


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    page = Elements(render_document(document()))
    (policy,) = [a["content"] for _, a in page.found if a.get("http-equiv") == "Content-Security-Policy"]
    digests = {
        name: base64.b64encode(hashlib.sha256(page.texts[name].encode()).digest()).decode()
        for name in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'; base-uri 'none'; form-action 'none'"
    )


def test_texts_that_look_like_place_holders_stay_as_they_are() -> None:
    text = render_document(document(title="{{script}}", main=join("{{policy}} {{nothing}}")))
    assert "<title>{{script}}</title>" in text
    assert "{{policy}} {{nothing}}" in text


def test_a_hostile_title_is_text() -> None:
    page = Elements(render_document(document(title=EVIL)))
    assert [name for name, _ in page.found] == [name for name, _ in Elements(render_document(document())).found]


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), st.lists(inner))))
def test_json_in_a_script_has_no_bracket_and_says_the_same(value: object) -> None:
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == shown(value)


def shown(value: object) -> object:
    """What a reader sees of it: control, format and separator characters that would steer a page are spelled out."""
    if isinstance(value, str):
        return "".join(visible_lines(letter) for letter in value)
    if isinstance(value, dict):
        return {key: shown(entry) for key, entry in value.items()}
    return [shown(entry) for entry in value] if isinstance(value, list) else value


def test_a_number_that_is_not_finite_is_null_in_a_script() -> None:
    assert script_json({"a": float("nan"), "b": [float("inf"), 1.5]}) == '{"a":null,"b":[null,1.5]}'


def test_markup_is_not_escaped_twice() -> None:
    assert "<p>a &amp; b</p>" in render_document(document(main=Markup("<p>a &amp; b</p>")))
