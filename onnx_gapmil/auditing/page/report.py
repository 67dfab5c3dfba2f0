"""``report.html``: the audit's sections, and the data that its scripts read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnx_gapmil.auditing.confusions import Confusions
from onnx_gapmil.auditing.gallery import Gallery
from onnx_gapmil.auditing.page.class_table import classes_section
from onnx_gapmil.auditing.page.conditions import conditions_section
from onnx_gapmil.auditing.page.confusions import confusions_section
from onnx_gapmil.auditing.page.findings import findings_section
from onnx_gapmil.auditing.page.gallery import gallery_section
from onnx_gapmil.auditing.page.header import header
from onnx_gapmil.auditing.page.headline import headline_section
from onnx_gapmil.auditing.page.multi_label import with_label_figures
from onnx_gapmil.auditing.page.pool_weights import pool_weights_figures
from onnx_gapmil.auditing.page.shared import shared_summary
from onnx_gapmil.auditing.page.sizes import sizes_section
from onnx_gapmil.auditing.page.slices import slices_section
from onnx_gapmil.auditing.page.suspects import suspects_section
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.prediction.page.content import PageModel
from onnx_gapmil.show.html.document import Document, render_document
from onnx_gapmil.show.html.formatting import short_names
from onnx_gapmil.show.html.markup import Markup, join, tag
from onnx_gapmil.show.html.touch import PHOTO_SCRIPTS, TOUCH_SCRIPTS, TOUCH_STYLES, WITHIN_ADDRESS, touch_colours

_STYLES = (
    "base.css",
    "plots.css",
    "classes.css",
    "tables.css",
    "confusions.css",
    "gallery.css",
    *TOUCH_STYLES,
    "viewer.css",
    "print.css",
)
_SCRIPTS = (
    *PHOTO_SCRIPTS,
    *TOUCH_SCRIPTS,
    "panel.js",
    "explorer.js",
    "recycler.js",
    "selection.js",
    "gallery.js",
    "viewer.js",
    "gallery_viewer.js",
    "classes.js",
    "start.js",
)
#: What the address may say after the #, and what holds where it says nothing.
_ADDRESS = {
    "outcome": "all",
    "class": None,
    "pair": None,
    "slice": None,
    "find": "",
    "map": None,
    "image": None,
    **WITHIN_ADDRESS,
}
#: Where the slider of boxes begins if no audit has chosen a threshold.
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page of an audit is made of.

    Attributes:
        summary: what was found.
        names: of the classes that occur.
        activation: what turns the logits of cells into probabilities.
        gallery: the images to show.
        model: what is said of the model where an image is touched.
        confusions: labels against answers.
    """

    summary: AuditSummary
    names: Mapping[int, str]
    activation: Literal["softmax", "sigmoid"]
    gallery: Gallery
    confusions: Confusions
    model: PageModel


def write_report(path: Path, report: Report) -> None:
    """Write the page of an audit, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, render_report(report).encode("utf-8", "replace"))


def render_report(report: Report) -> str:
    """The page of an audit: one file of HTML that loads nothing and sends nothing; see `render_document`."""
    summary, gallery = shared_summary(report.summary), report.gallery
    short = short_names(report.names)
    data = {
        "activation": report.activation,
        "reading": summary.head.reading,
        "names": report.names,
        "short": {index: name for index, name in short.items() if name != report.names[index]},
        "classes": with_label_figures(summary.classes, summary.multi_label),
        "gallery": gallery,
        "models": [report.model],
        "confusions": report.confusions,
        "cuts": _cuts(report),
        "address": _ADDRESS,
        **touch_colours(),
    }
    confusions = confusions_section(report.confusions, short, gallery=bool(gallery.images))
    suspects = suspects_section(summary, {image.name for image in gallery.images})
    # What a model mixes up, loses or doubts is a finding only of one that does more than guess.
    guesses = summary.is_at_chance
    sections = {
        "summary": ("Summary", headline_section(summary, short)),
        "images": ("Images", _gallery(summary, gallery)),
        "confusions": ("Confusions", None if guesses else confusions),
        "suspects": ("Suspects", None if guesses else suspects),
        "findings": ("Findings", None if guesses else findings_section(summary)),
        "classes": ("Classes", classes_section(summary)),
        "sizes": ("Sizes", None if guesses else sizes_section(summary)),
        "slices": ("Slices", slices_section(summary, gallery=bool(gallery.images))),
        "measured": ("Measured", conditions_section(summary)),
    }
    return render_document(
        Document(
            title=f"{Path(summary.model).name} · onnx-gapmil audit",
            skip=tag("a", "Skip to the summary", class_="skip", href="#summary"),
            header=header(summary, {key: title for key, (title, section) in sections.items() if section is not None}),
            main=join(*(section for _title, section in sections.values())),
            footer=tag("p", "Made by onnx-gapmil ", summary.versions["onnx-gapmil"], ". One file; it loads nothing."),
            data={"summary-json": summary.to_json(), "data": to_json(data)},
            styles=_STYLES,
            scripts=_SCRIPTS,
        )
    )


def _gallery(summary: AuditSummary, gallery: Gallery) -> Markup | None:
    return gallery_section(
        gallery, multi_label=summary.multi_label is not None, beside=pool_weights_figures(summary.head)
    )


def _cuts(report: Report) -> dict[str, float] | None:
    """Where boxes are cut from maps: the audit's own threshold; None where the cells' places are not known."""
    if not any(image.maps.grid for image in report.gallery.images):
        return None
    found = report.summary.localization
    return {"threshold": found.grid.threshold if found is not None else _HALF}
