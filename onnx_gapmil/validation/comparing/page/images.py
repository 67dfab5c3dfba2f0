"""The gallery's controls; the page's script makes its rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from onnx_gapmil.show.html.formatting import count
from onnx_gapmil.show.html.markup import Child, Markup, tag

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.gallery import Gallery

NO_SCRIPT = "This part needs JavaScript, which this browser does not run here."
_KINDS = (("broken", "Broken"), ("fixed", "Fixed"), ("changed", "Another answer"), ("same", "The same answer"))


def images_section(gallery: Gallery) -> Markup | None:
    """The gallery's controls and an empty list; None without images."""
    if not gallery.images:
        return None
    shown = len(gallery.images)
    said = f"All {count(shown, 'image')}" if shown == gallery.total else f"{shown:,} of {count(gallery.total, 'image')}"
    return tag(
        "section",
        tag("h2", "The images that changed most"),
        tag("p", f"{said}, those that changed most first.", class_="soft"),
        tag(
            "p",
            "Point at a cell: the same place lights up in both models and in the change, each with its classes there. "
            "Click to open the photo at large with that cell kept, and all that can be touched. A class's name shows "
            "its map.",
            class_="hint",
        ),
        tag("noscript", tag("p", NO_SCRIPT)),
        _controls(gallery),
        tag("p", "", id="pairs-count", class_="soft", role="status"),
        tag("ul", id="pairs", class_="pairs"),
        tag("button", "Show more", type="button", id="pairs-more", class_="quiet controls", hidden=True),
        tag("dialog", id="viewer", aria_label="One image"),
        id="images",
        aria_label="Images",
    )


def _controls(gallery: Gallery) -> Markup:
    labelled = any(image.labels for image in gallery.images)
    options = [("label", "the label")] if labelled else []
    options += [("old", "the old answer"), ("new", "the new answer"), ("none", "no class")]
    switches: list[Child] = [
        tag(
            "label", "Map of ", tag("select", [tag("option", text, value=key) for key, text in options], id="pairs-map")
        ),
        _switch("grid", "Cells"),
        _switch("boxes", "Boxes of objects") if any(image.boxes for image in gallery.images) else None,
    ]
    return tag(
        "div",
        tag("div", _filters(gallery), class_="filters", role="group", aria_label="Images by outcome"),
        tag(
            "div",
            tag("label", "Class, file or slice ", tag("input", type="search", id="pairs-filter", autocomplete="off")),
            switches,
            class_="bar",
        ),
        class_="gallery-controls controls",
    )


def _filters(gallery: Gallery) -> list[Markup]:
    """A button for each outcome that occurs, with how many images have it."""
    counts = Counter(image.kind for image in gallery.images)
    entries = [
        ("all", "All", len(gallery.images)),
        *((key, title, counts[key]) for key, title in _KINDS if counts[key]),
    ]
    return [
        tag(
            "button",
            tag("span", class_=f"swatch {key}") if key != "all" else None,
            title,
            tag("span", f"{number:,}", class_="soft"),
            type="button",
            data_kind=key,
            aria_pressed="true" if key == "all" else "false",
        )
        for key, title, number in entries
    ]


def _switch(name: str, text: str) -> Markup:
    return tag("label", tag("input", type="checkbox", data_layer=name, checked=True), text, class_="switch")
