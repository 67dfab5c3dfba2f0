"""The gallery's controls; the page's script makes its cards."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_gapmil.auditing.gallery import Gallery, GalleryImage
from onnx_gapmil.auditing.page.class_table import NO_SCRIPT
from onnx_gapmil.show.html.formatting import count
from onnx_gapmil.show.html.markup import Child, Markup, tag

_FILTERS = (
    ("all", "All"),
    ("recoverable", "Label wins a cell on the object"),
    ("dilution", "Dilution"),
    ("distraction", "Distraction"),
    ("absent", "Absent"),
    ("wrong", "All wrong"),
    ("right", "Right"),
    ("suspect", "Suspect label"),
)
_MAPS = (
    ("label", "the label"),
    ("answer", "the answer"),
    ("difference", "the difference: label less answer"),
    ("none", "no class"),
)
#: Of a head whose classes are present each by itself.
_SEVERAL_FILTERS = (
    ("all", "All"),
    ("exact", "Exactly the labels"),
    ("missed", "A label is missed"),
    ("extra", "A class too many"),
    ("suspect", "Suspect label"),
)
_COLOURED = frozenset({"suspect", "dilution", "distraction", "absent", "recoverable"})


def gallery_section(gallery: Gallery, *, multi_label: bool = False, beside: Markup | None = None) -> Markup | None:
    """The gallery's controls and an empty list; None without images.

    Args:
        gallery: its images.
        multi_label: whether classes are present each by itself.
        beside: what stands beside the maps, where there are maps.
    """
    if not gallery.images:
        return None
    return tag(
        "section",
        tag("h2", "Images"),
        tag("p", gallery.note or f"All {count(gallery.shown, 'image')}, the most telling first.", class_="soft"),
        _hint(gallery),
        beside if _mapped(gallery.images) else None,
        tag("noscript", tag("p", NO_SCRIPT)),
        _controls(gallery.images, multi_label),
        tag(
            "div",
            tag("p", "", id="gallery-count", class_="soft", role="status"),
            tag("div", id="gallery-tools", class_="tools controls"),
            class_="bar",
        ),
        tag("p", "", id="gallery-paper", class_="soft paper"),
        tag("ul", id="gallery", class_="cards"),
        tag("dialog", id="viewer", aria_label="One image"),
        id="images",
        aria_label="Images",
    )


def _hint(gallery: Gallery) -> Markup:
    if not _mapped(gallery.images):
        text = "Where the cells of this model look is not known, so no maps are shown."
    else:
        text = (
            "On each photo lies the map of its label: how strongly each cell speaks for it. Point at a cell "
            "or use the arrow keys to see its classes; click to open the photo at large with that cell kept, and all "
            "that can be touched. A class's name shows its map instead."
        )
    return tag("p", text, class_="hint")


def _mapped(images: Sequence[GalleryImage]) -> bool:
    return any(image.maps.grid for image in images)


def _controls(images: Sequence[GalleryImage], multi_label: bool) -> Markup:
    mapped = _mapped(images)
    switches: list[Child] = [
        _switch("grid", "Cells", on=True) if mapped else None,
        _switch("boxes", "Boxes of objects", on=True) if any(image.boxes for image in images) else None,
        _switch("foreground", "Cells on object", on=False) if any(image.foreground for image in images) else None,
        tag(
            "label",
            "Map of ",
            tag(
                "select",
                [tag("option", text, value=key) for key, text in _MAPS],
                id="map-of",
                disabled=not mapped,
            ),
        ),
    ]
    return tag(
        "div",
        tag("div", _filters(images, multi_label), class_="filters", role="group", aria_label="Images by outcome"),
        tag(
            "div",
            tag("label", "Class or file ", tag("input", type="search", id="image-filter", autocomplete="off")),
            tag("span", id="gallery-chips", class_="chips"),
            switches,
            id="gallery-bar",
            class_="bar",
        ),
        class_="gallery-controls controls",
    )


def _filters(images: Sequence[GalleryImage], multi_label: bool) -> list[Markup]:
    """A button for each outcome that occurs, with how many images have it."""
    causes = [image.cause for image in images]
    counts = {
        "all": len(images),
        "recoverable": sum(image.recoverable for image in images),
        "dilution": causes.count("dilution"),
        "distraction": causes.count("distraction"),
        "absent": causes.count("absent"),
        "wrong": sum(not image.right for image in images),
        "right": sum(image.right for image in images),
        "suspect": sum(image.suspect for image in images),
        "exact": sum(set(image.present or ()) == set(image.labels) for image in images),
        "missed": sum(not set(image.labels) <= set(image.present or ()) for image in images),
        "extra": sum(not set(image.present or ()) <= set(image.labels) for image in images),
    }
    return [
        tag(
            "button",
            tag("span", class_=f"swatch {key}") if key in _COLOURED else None,
            title,
            tag("span", f"{counts[key]:,}", class_="soft"),
            type="button",
            data_filter=key,
            aria_pressed="true" if key == "all" else "false",
        )
        for key, title in (_SEVERAL_FILTERS if multi_label else _FILTERS)
        if counts[key] or key == "all"
    ]


def _switch(name: str, text: str, *, on: bool) -> Markup:
    return tag("label", tag("input", type="checkbox", data_layer=name, checked=on), text, class_="switch")
