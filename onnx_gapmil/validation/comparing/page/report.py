"""``report.html`` of a comparison: its sections, and the data that its script reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.show.html.document import Document, render_document
from onnx_gapmil.show.html.markup import Markup, join, tag
from onnx_gapmil.show.html.touch import PHOTO_SCRIPTS, TOUCH_SCRIPTS, TOUCH_STYLES, WITHIN_ADDRESS, touch_colours
from onnx_gapmil.validation.comparing.page.conditions import conditions_section
from onnx_gapmil.validation.comparing.page.headline import headline_section
from onnx_gapmil.validation.comparing.page.images import images_section
from onnx_gapmil.validation.comparing.page.shared import shared_comparison
from onnx_gapmil.validation.comparing.page.slices import classes_section, slices_section

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.gallery import Gallery
    from onnx_gapmil.validation.comparing.result import Comparison

_STYLES = (
    "base.css",
    "plots.css",
    "classes.css",
    "tables.css",
    "gallery.css",
    *TOUCH_STYLES,
    "viewer.css",
    "compare.css",
    "print.css",
)
_SCRIPTS = (*PHOTO_SCRIPTS, *TOUCH_SCRIPTS, "panel.js", "explorer.js", "viewer.js", "compare.js")
#: What the address may say after the #, and what holds where it says nothing.
_ADDRESS = {"outcome": "all", "find": "", "image": None, **WITHIN_ADDRESS}
_CENTRED = "New less old, of each class's evidence: its logit less the mean of the cell over classes."
_LOGITS = "New less old, of each class's logit."


@dataclass(frozen=True)
class Report:
    """What the page of a comparison is made of.

    Attributes:
        found: what was found.
        gallery: the images to show.
    """

    found: Comparison
    gallery: Gallery


def write_report(path: Path, report: Report) -> None:
    """Write the page of a comparison, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, render_report(report).encode("utf-8", "replace"))


def render_report(report: Report) -> str:
    """The page of a comparison: one file of HTML that loads nothing and sends nothing; see `render_document`."""
    found, gallery = shared_comparison(report.found), report.gallery
    data = {
        "activation": "softmax",
        "activations": gallery.activations,
        "names": gallery.names,
        "pairs": gallery.images,
        "models": gallery.models,
        "joint": gallery.joint,
        "evidence": _CENTRED if gallery.centred else _LOGITS,
        "address": _ADDRESS,
        **touch_colours(),
    }
    new = Path(found.models.new.path).name
    return render_document(
        Document(
            title=f"{new} · onnx-gapmil compare",
            skip=tag("a", "Skip to the summary", class_="skip", href="#summary"),
            header=_header(found, gallery),
            main=join(
                headline_section(found),
                images_section(gallery),
                classes_section(found),
                slices_section(found),
                conditions_section(found),
            ),
            footer=tag("p", "Made by onnx-gapmil ", found.versions["onnx-gapmil"], ". One file; it loads nothing."),
            data={"compare-json": found.to_json(), "data": to_json(data)},
            styles=_STYLES,
            scripts=_SCRIPTS,
        )
    )


def _header(found: Comparison, gallery: Gallery) -> Markup:
    links = [("summary", "Summary")]
    links += [("images", "Images")] if gallery.images else []
    links += [("classes", "Classes")] if found.classes else []
    links += [("slices", "Slices")] if set(found.slices) - {"class"} else []
    links.append(("conditions", "Conditions"))
    old, new = Path(found.models.old.path).name, Path(found.models.new.path).name
    return join(
        tag(
            "div",
            tag("a", tag("b", "onnx-gapmil"), " compare", href="#main", class_="brand"),
            tag("span", f"{old} → {new}" if old != new else new, class_="model", title=found.models.new.path),
            class_="title",
        ),
        tag("button", "Theme: system", type="button", id="theme", class_="quiet", hidden=True),
        tag("nav", [tag("a", text, href=f"#{name}") for name, text in links], aria_label="Sections"),
    )
