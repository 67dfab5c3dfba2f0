"""``report.html``: the audit's sections, and the data that its scripts read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnx_gapmil.auditing.gallery import Gallery
from onnx_gapmil.auditing.page.class_table import classes_section
from onnx_gapmil.auditing.page.conditions import conditions_section
from onnx_gapmil.auditing.page.findings import findings_section
from onnx_gapmil.auditing.page.gallery import gallery_section
from onnx_gapmil.auditing.page.header import header
from onnx_gapmil.auditing.page.headline import headline_section
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.show.html.document import Document, render_document
from onnx_gapmil.show.html.maps import colour_scale
from onnx_gapmil.show.html.markup import join, tag

_STYLES = ("base.css", "plots.css", "classes.css", "gallery.css", "print.css")
_SCRIPTS = ("elements.js", "theme.js", "classes.js", "photo_grid.js", "panel.js", "gallery.js", "viewer.js")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page of an audit is made of.

    Attributes:
        summary: what was found.
        names: of the classes that occur.
        activation: what turns the logits of cells into probabilities.
        gallery: the images to show.
    """

    summary: AuditSummary
    names: Mapping[int, str]
    activation: Literal["softmax", "sigmoid"]
    gallery: Gallery


def write_report(path: Path, report: Report) -> None:
    """Write the page of an audit, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, render_report(report).encode("utf-8", "replace"))


def render_report(report: Report) -> str:
    """The page of an audit: one file of HTML that loads nothing and sends nothing; see `render_document`."""
    summary, gallery = report.summary, report.gallery
    data = {
        "activation": report.activation,
        "names": report.names,
        "classes": summary.classes,
        "gallery": gallery,
        "scale": colour_scale(),
    }
    return render_document(
        Document(
            title=f"{Path(summary.model).name} · onnx-gapmil audit",
            skip=tag("a", "Skip to the summary", class_="skip", href="#summary"),
            header=header(summary, gallery),
            main=join(
                headline_section(summary),
                conditions_section(summary),
                findings_section(summary),
                classes_section(),
                gallery_section(gallery),
            ),
            footer=tag("p", "Made by onnx-gapmil ", summary.versions["onnx-gapmil"], ". One file; it loads nothing."),
            data={"summary-json": summary.to_json(), "data": to_json(data)},
            styles=_STYLES,
            scripts=_SCRIPTS,
        )
    )
