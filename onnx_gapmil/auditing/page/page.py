"""`report.html`: style, script, data and text put together into one file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from onnx_gapmil.auditing.page.conditions import facts_section
from onnx_gapmil.auditing.page.findings import findings_section
from onnx_gapmil.auditing.page.headline import headline_section
from onnx_gapmil.auditing.page.interactive import classes_section, gallery_section, header, navigation
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.show.drawing.palette import sequential
from onnx_gapmil.show.html.markup import join, tag

_STYLES = ("base.css", "plots.css", "classes.css", "gallery.css", "print.css")
_SCRIPTS = ("core.js", "theme.js", "classes.js", "stage.js", "panel.js", "gallery.js", "viewer.js")


def write_report(path: Path, payload: dict[str, Any]) -> None:
    """Write the page of an audit, whole or not at all.

    Args:
        path: of the file.
        payload: see `render_report`.

    Raises:
        InputError: the file cannot be written.
        KeyError: the payload lacks ``summary``.
    """
    write_whole(path, render_report(payload).encode("utf-8", "replace"))


def render_report(payload: dict[str, Any]) -> str:
    """The page of an audit: one file of HTML that loads nothing and sends nothing.

    Its content security policy allows the page's own style and script by their hashes, pictures as ``data:`` and
    nothing else, so that a hostile name in the data could not do anything even if it were not escaped.

    Args:
        payload: JSON types (NumPy scalars are understood, NaN becomes null). Anything but ``summary`` may be missing or
            null, and its section is left out.

            - ``version``: of onnx-gapmil; ``summary``: the content of ``summary.json``; ``names``: {"397": "puffer"}
              of the classes that occur; ``activation``: "softmax" (default) or "sigmoid", what the cells'
              probabilities are made with.
            - ``classes``: [{"index", "name", "images", "top1", "top5", "any_top1", "cell_share",
              "most_confused": [[index, count], ...]}], shares or null.
            - ``reliability``: [{"low", "high", "images", "confidence", "accuracy"}], confidence bins.
            - ``gallery``: {"total", "shown", "note", "images": [...]}, most telling first. An image: ``name``,
              ``labels`` [int], ``prediction`` [[class, probability], ...], ``right``, ``cause`` (null, "dilution",
              "distraction", "absent"), ``recoverable``, ``thumb`` (a ``data:image/...`` address of the whole photo) and
              its ``size`` [width, height]; ``window`` [x0, y0, x1, y1], what the network sees, in fractions of the
              photo (below 0 or above 1 where the photo was padded); ``boxes`` in the same fractions, and perhaps
              ``box_classes`` [[int], ...], what each shows (boxes that show no label are dashed); ``foreground``: flat
              indices of the cells on the object; and what `encode_maps` gives: ``grid`` [rows, columns], ``classes``,
              ``maps``, ``depth`` (8 if missing), ``low``, ``high``, ``lse``. With ``grid`` null the photo is shown
              without cells.

    Raises:
        KeyError: the payload lacks ``summary``.
    """
    payload = _plain(payload)
    summary = payload["summary"]
    style = "".join(_asset(name) for name in _STYLES)
    script = '"use strict";\n(() => {\n' + "".join(_asset(name) for name in _SCRIPTS) + "})();\n"
    findings = findings_section(payload)
    classes, gallery = payload.get("classes") or [], payload.get("gallery") or {}
    data = {
        "activation": payload.get("activation") or "softmax",
        "names": payload.get("names") or {},
        "classes": classes,
        "gallery": gallery,
        "scale": _scale(),
    }
    parts = {
        "title": join(f"{_title(summary)} · onnx-gapmil audit"),
        "policy": _policy(style, script),
        "header": header(payload),
        "navigation": navigation(findings=bool(findings), classes=bool(classes), gallery=bool(gallery.get("images"))),
        "main": join(
            headline_section(summary),
            facts_section(payload),
            findings,
            classes_section(classes),
            gallery_section(gallery),
        ),
        "footer": tag("p", "Made by onnx-gapmil ", payload.get("version") or "", ". One file; it loads nothing."),
        "style": style,
        "script": script,
        "summary": _json(summary),
        "data": _json(data),
    }
    # In one pass, because what is put in may look like a place-holder.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("template.html"))


def _asset(name: str) -> str:
    return resources.files("onnx_gapmil.show.html").joinpath("assets", name).read_text(encoding="utf-8")


def _title(summary: dict[str, Any]) -> str:
    model = summary.get("model")
    return Path(str(model)).name if model else "model"


def _policy(style: str, script: str) -> str:
    """A content security policy that knows this page's style and script by their SHA-256."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or open a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _scale() -> str:
    """The sequential scale of the pictures: 256 colours of six hexadecimal digits."""
    return sequential(np.linspace(0.0, 1.0, 256)).tobytes().hex()


def _plain(value: Any) -> Any:
    """JSON types only: NumPy numbers as Python's, NaN and infinities as None, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
