"""What was measured: model, data, preprocessing, versions; compact."""

from __future__ import annotations

from typing import Any

from onnx_gapmil.show.html.formatting import count, one_of
from onnx_gapmil.show.html.markup import Child, Markup, join, tag

_SHOWN_FAILURES = 100


def facts_section(payload: dict[str, Any]) -> Markup:
    """A list of terms, and the images that failed."""
    summary = payload["summary"]
    rows: list[tuple[str, Child]] = [
        ("Model", _model(summary)),
        ("Head", _head(summary)),
        ("Data", _described(summary.get("data"), "source", "path", "root")),
        ("Images", _images(summary)),
        ("Preprocessing", _preprocess(summary)),
        ("Classes", _classes(summary)),
        ("Ran on", _provider(summary.get("provider"))),
        ("Written by", f"onnx-gapmil {payload['version']}" if payload.get("version") else None),
        ("Versions", _versions(summary.get("versions"))),
    ]
    return tag(
        "section",
        tag("h2", "What was measured"),
        tag("dl", [tag("div", tag("dt", term), tag("dd", text)) for term, text in rows if text], class_="facts"),
        _failures(summary),
        id="measured",
        aria_label="What was measured",
    )


def _model(summary: dict[str, Any]) -> Child:
    model = summary.get("model")
    name = one_of(model, "path", "name") if isinstance(model, dict) else model
    digest = one_of(model, "sha256") or summary.get("model_sha256")
    return join(tag("code", str(name)), tag("small", f"SHA-256 {digest}") if digest else None) if name else None


def _head(summary: dict[str, Any]) -> Child:
    """Verdict, output and the size of the grid; notes such as "position-dependent" below."""
    head = summary.get("head") or {}
    shape = head.get("grid_shape") or []
    parts = [
        str(summary.get("verdict") or ""),
        f"output {head['output']!r}" if head.get("output") else "",
        f"{shape[-2]}×{shape[-1]} cells, {count(shape[1], 'class', 'classes')}"
        if len(shape) == 4 and isinstance(shape[1], int)
        else "",
        "up to rounding" if head.get("quantized") else "",
    ]
    return join("; ".join(part for part in parts if part), _small(head.get("note")))


def _classes(summary: dict[str, Any]) -> Child:
    class_map = _described(summary.get("class_map"), "source")
    return join(class_map, _small(summary.get("names_source"))) if class_map else summary.get("names_source")


def _small(text: Any) -> Child:
    return tag("small", str(text)) if text else None


def _described(value: Any, *keys: str) -> Child:
    """A dictionary's own sentence, or its plain values; or the text itself."""
    if not isinstance(value, dict):
        return str(value) if value else None
    first = one_of(value, *keys)
    notes = [str(note) for note in value.get("notes") or []]
    return join(str(first) if first else _pairs(value), [tag("small", note) for note in notes])


def _pairs(value: dict[str, Any]) -> str:
    plain = {key: item for key, item in value.items() if isinstance(item, str | int | float) and item != ""}
    return "; ".join(f"{key.replace('_', ' ')} {item}" for key, item in plain.items())


def _images(summary: dict[str, Any]) -> Child:
    failed = int(summary.get("failed") or 0)
    measured = f"{count(int(summary.get('images') or 0), 'image')} measured"
    return f"{measured}; {failed:,} failed" if failed else measured


def _preprocess(summary: dict[str, Any]) -> Child:
    value = summary.get("preprocess")
    inner = one_of(value, "preprocess") or value
    text = one_of(value, "text", "description") or one_of(inner, "text", "description")
    if text is None and isinstance(inner, dict):
        text = _recipe(inner)
    source = one_of(value, "source") or summary.get("preprocess_source")
    return join(str(text or inner or ""), tag("small", str(source)) if source else None)


def _recipe(value: dict[str, Any]) -> str:
    """The fields of a `Preprocess`, in the order in which they are applied."""
    size = "×".join(str(side) for side in reversed(value.get("size") or []))
    crop = value.get("crop")
    steps = [
        f"{value.get('resize', '')} to {size}" if size else None,
        f"crop {crop:g}" if isinstance(crop, int | float) and crop != 1 else None,
        value.get("interpolation"),
        " ".join(str(value[key]) for key in ("layout", "color", "dtype") if value.get(key)),
        f"(pixel × {value['scale']:g} − {_numbers(value.get('mean'))}) / {_numbers(value.get('std'))}"
        if isinstance(value.get("scale"), int | float)
        else None,
    ]
    return "; ".join(str(step) for step in steps if step)


def _numbers(values: Any) -> str:
    if not isinstance(values, list):
        return "0" if values is None else str(values)
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _provider(value: Any) -> Child:
    if not isinstance(value, dict):
        return str(value) if value else None
    nodes = value.get("nodes")
    by_provider = ", ".join(f"{name} {number}" for name, number in nodes.items()) if isinstance(nodes, dict) else ""
    return join(
        ", ".join(str(part) for part in (value.get("used"), value.get("device")) if part),
        tag("small", str(value["reason"])) if value.get("reason") else None,
        tag("small", f"nodes: {by_provider}") if by_provider else None,
    )


def _versions(value: Any) -> Child:
    return ", ".join(f"{name} {version}" for name, version in value.items()) if isinstance(value, dict) else None


def _failures(summary: dict[str, Any]) -> Markup | None:
    failures = [item for item in summary.get("failures") or [] if isinstance(item, dict)]
    if not failures:
        return None
    more = len(failures) - _SHOWN_FAILURES
    return tag(
        "details",
        tag("summary", f"The {count(len(failures), 'image')} that could not be measured"),
        tag(
            "ul",
            [
                tag("li", tag("code", str(item.get("image", ""))), " ", str(item.get("error", "")))
                for item in failures[:_SHOWN_FAILURES]
            ],
            tag("li", f"and {more:,} more, in summary.json") if more > 0 else None,
        ),
        class_="failures",
    )
