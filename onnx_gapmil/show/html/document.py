"""One file of HTML that loads nothing and sends nothing: style, script, data and text put together."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.printable import visible_lines
from onnx_gapmil.show.html.markup import Markup, join, tag


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a page holds.

    Attributes:
        title: plain text.
        skip: the first link, for readers who go by keyboard.
        header: in the bar at the top.
        main: the page itself.
        footer: below.
        data: by the id of its script element, JSON types that the scripts read.
        styles: names of files in ``assets/``, in order.
        scripts: the same; they share one scope.
        connects: whether the page may speak to the server that it comes from; to others never.
    """

    title: str
    skip: Markup
    header: Markup
    main: Markup
    footer: Markup
    data: Mapping[str, Any]
    styles: Sequence[str]
    scripts: Sequence[str]
    connects: bool = False


def render_document(document: Document) -> str:
    """The page as one text.

    Its content security policy allows the page's own style and script by their hashes, pictures as ``data:`` and
    nothing else, so that a hostile name in the data could not do anything even if it were not escaped.
    """
    style, script = _style(document), _script(document)
    data = [
        tag("script", Markup(script_json(value)), type="application/json", id=name)
        for name, value in document.data.items()
    ]
    parts = {
        "title": join(document.title),
        "policy": content_policy(document),
        "skip": document.skip,
        "header": document.header,
        "main": document.main,
        "footer": document.footer,
        "style": style,
        "data": "\n".join(data),
        "script": script,
    }
    # In one pass, because what is put in may look like a place-holder.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("template.html"))


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or open a comment."""
    text = json_text(_visible(value), compact=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _visible(value: Any) -> Any:
    """The value with what would steer a page spelled out in all texts, whose names the page's script shows."""
    if isinstance(value, str):
        return visible_lines(value)
    if isinstance(value, Mapping):
        return {key: _visible(entry) for key, entry in value.items()}
    return [_visible(entry) for entry in value] if isinstance(value, list | tuple) else value


def _asset(name: str) -> str:
    return resources.files("onnx_gapmil.show.html").joinpath("assets", name).read_text(encoding="utf-8")


def content_policy(document: Document) -> str:
    """A content security policy that knows the page's style and script by their SHA-256."""
    texts = (_style(document), _script(document))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    connects = "connect-src 'self'; " if document.connects else ""
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        f"{connects}base-uri 'none'; form-action 'none'"
    )


def _style(document: Document) -> str:
    return "".join(_asset(name) for name in document.styles)


def _script(document: Document) -> str:
    return '"use strict";\n(() => {\n' + "".join(_asset(name) for name in document.scripts) + "})();\n"
