"""The parts of the page that its script fills: header, table of classes, gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx_gapmil.show.html.formatting import count
from onnx_gapmil.show.html.markup import Child, Markup, join, tag

_COLUMNS = (
    ("name", "Class", "text"),
    ("images", "Images", "number"),
    ("top1", "Top-1", "number"),
    ("top5", "Top-5", "number"),
    ("any_top1", "Wins a cell", "number"),
    ("cell_share", "Cells on object", "number"),
    ("confused", "Most confused with", "text"),
)
_FILTERS = (
    ("all", "All"),
    ("recoverable", "Recoverable"),
    ("dilution", "Dilution"),
    ("distraction", "Distraction"),
    ("absent", "Absent"),
    ("wrong", "All wrong"),
    ("right", "Right"),
)
_COLOURED = frozenset({"dilution", "distraction", "absent", "recoverable"})
_NO_SCRIPT = "This part needs JavaScript, which this browser does not run here."


def header(payload: dict[str, Any]) -> Markup:
    """What the page is about, and the switch of the theme, which stays hidden without the script."""
    summary = payload["summary"]
    model = summary.get("model")
    name = model.get("name") or model.get("path") if isinstance(model, dict) else model
    return join(
        tag(
            "div",
            tag("a", tag("b", "onnx-gapmil"), " audit", href="#main", class_="brand"),
            tag("span", Path(str(name or "model")).name, class_="model", title=str(name or "")),
            class_="title",
        ),
        tag("button", "Theme: system", type="button", id="theme", class_="quiet", hidden=True),
    )


def navigation(*, findings: bool, classes: bool, gallery: bool) -> Markup:
    """Links to the sections."""
    links = [("summary", "Summary"), ("measured", "Measured")]
    links += [("findings", "Findings")] if findings else []
    links += [("classes", "Classes")] if classes else []
    links += [("images", "Images")] if gallery else []
    return tag(
        "nav",
        [tag("a", text, href=f"#{name}") for name, text in links],
        aria_label="Sections",
    )


def classes_section(classes: list[dict[str, Any]]) -> Markup | None:
    """The table of classes, without its rows."""
    if not classes:
        return None
    heads = [
        tag(
            "th",
            tag("button", title, tag("span", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            data_key=key,
            data_kind=kind,
            class_="num" if kind == "number" else None,
            aria_sort="none",
        )
        for key, title, kind in _COLUMNS
    ]
    return tag(
        "section",
        tag("h2", "Classes"),
        tag(
            "div",
            tag("label", "Find a class ", tag("input", type="search", id="class-filter", autocomplete="off")),
            tag("p", "", id="class-count", class_="soft", role="status"),
            class_="bar controls",
        ),
        tag("noscript", tag("p", _NO_SCRIPT)),
        tag(
            "div",
            tag(
                "table",
                tag("caption", "Accuracy and recovery by class", class_="unseen"),
                tag("thead", tag("tr", heads)),
                tag("tbody", id="class-rows"),
                id="class-table",
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Table of classes",
        ),
        tag("button", "Show more", type="button", id="class-more", class_="quiet controls", hidden=True),
        tag(
            "details",
            tag("summary", "What the columns say"),
            tag(
                "p",
                "Top-1 and top-5: share of the class's images where it is the best, or among the five best, at image "
                "level. Wins a cell: share of its images where it is the best class of a cell on the object. Cells on "
                "object: share of the object's cells that it wins, on average. Most confused with: what the model "
                "answered instead, with how often. A class's name shows its images below.",
            ),
        ),
        id="classes",
        aria_label="Classes",
    )


def gallery_section(gallery: dict[str, Any]) -> Markup | None:
    """The gallery's controls and an empty list."""
    images = gallery.get("images") or []
    if not images:
        return None
    return tag(
        "section",
        tag("h2", "Images"),
        tag("p", _gallery_note(gallery), class_="soft"),
        tag(
            "p",
            "Point at a cell, tap it, or use the arrow keys to see its classes; click to keep it. A class's name "
            "switches its map on: how strongly each cell speaks for it.",
            class_="hint",
        ),
        tag("noscript", tag("p", _NO_SCRIPT)),
        _controls(images),
        tag("p", "", id="gallery-count", class_="soft", role="status"),
        tag("ul", id="gallery", class_="cards"),
        tag("button", "Show more", type="button", id="gallery-more", class_="quiet controls", hidden=True),
        tag("dialog", id="viewer", aria_label="One image"),
        id="images",
        aria_label="Images",
    )


def _gallery_note(gallery: dict[str, Any]) -> str:
    shown, total = int(gallery.get("shown") or len(gallery["images"])), int(gallery.get("total") or 0)
    if gallery.get("note"):
        return str(gallery["note"])
    text = f"{shown:,} of {count(total, 'image')}" if total > shown else f"All {count(shown, 'image')}"
    return f"{text}, the most telling first."


def _controls(images: list[dict[str, Any]]) -> Markup:
    counts = {
        "all": len(images),
        "right": sum(bool(image.get("right")) for image in images),
        "wrong": sum(not image.get("right") for image in images),
        "recoverable": sum(bool(image.get("recoverable")) for image in images),
    }
    for cause in ("dilution", "distraction", "absent"):
        counts[cause] = sum(image.get("cause") == cause for image in images)
    filters = [
        tag(
            "button",
            tag("span", class_=f"swatch {key}") if key in _COLOURED else None,
            title,
            tag("span", f"{counts[key]:,}", class_="soft"),
            type="button",
            data_filter=key,
            aria_pressed="true" if key == "all" else "false",
        )
        for key, title in _FILTERS
        if counts[key] or key == "all"
    ]
    has_boxes = any(image.get("boxes") for image in images)
    has_foreground = any(image.get("foreground") for image in images)
    switches: list[Child] = [
        _switch("grid", "Cells", on=True),
        _switch("boxes", "Boxes", on=True) if has_boxes else None,
        _switch("foreground", "Cells on object", on=False) if has_foreground else None,
        tag(
            "label",
            "Map of ",
            tag(
                "select",
                tag("option", "no class", value="none"),
                tag("option", "the right class", value="truth"),
                tag("option", "the class answered", value="answer"),
                id="map-of",
            ),
        ),
    ]
    return tag(
        "div",
        tag("div", filters, class_="filters", role="group", aria_label="Images by outcome"),
        tag(
            "div",
            tag("label", "Class or file ", tag("input", type="search", id="image-filter", autocomplete="off")),
            tag("button", "", type="button", id="class-chip", class_="chip", hidden=True),
            switches,
            class_="bar",
        ),
        class_="gallery-controls controls",
    )


def _switch(name: str, text: str, *, on: bool) -> Markup:
    return tag("label", tag("input", type="checkbox", data_layer=name, checked=on), text, class_="switch")
